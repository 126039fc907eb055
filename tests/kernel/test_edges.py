"""The edge: how often somebody may call, what browsers are told, what logs hold and do not hold."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from app.kernel.actor import Role
from app.kernel.errors import TooMany
from app.kernel.keys import ServiceKeys
from app.kernel.limits import Limiter, Rate, Rates
from app.kernel.logs import REQUEST, JsonLines, redacted
from app.main import create_app
from app.settings import Settings
from tests.conftest import PUBLIC_URL, OneTransaction
from tests.factories import Town


def test_a_bucket_empties_and_fills_with_time() -> None:
    at = [0.0]
    limiter, rate = Limiter(clock=lambda: at[0]), Rate(burst=2, per_minute=6)
    limiter.take("a", rate)
    limiter.take("a", rate)
    with pytest.raises(TooMany) as refused:
        limiter.take("a", rate)
    assert refused.value.headers == {"Retry-After": "10"}
    limiter.take("b", rate)
    at[0] = 9.9
    with pytest.raises(TooMany):
        limiter.take("a", rate)
    at[0] = 10.0
    limiter.take("a", rate)


def test_people_agencies_and_strangers_are_each_limited(
    one_transaction: OneTransaction, keys: ServiceKeys, settings: Settings, town: Town
) -> None:
    few = Rates(actor=Rate(3, 1), agency=Rate(4, 1), address=Rate(2, 1), proving=Rate(2, 1))
    app = create_app(replace(settings, rates=few), one_transaction, keys)
    one, two = (town.headers("civil", Role.CLERK, number=n) for n in (1, 2))
    other = town.headers("health", Role.CLERK)

    with TestClient(app, base_url=PUBLIC_URL) as client:

        def statuses(headers: dict[str, str], times: int) -> list[int]:
            return [client.get("/api/v1/me", headers=headers).status_code for _ in range(times)]

        assert statuses(one, 4) == [200, 200, 200, 429], "of one person"
        assert statuses(two, 3) == [200, 429, 429], "of their agency together: four and one"
        assert statuses(other, 1) == [200]
        assert [client.get("/livez").status_code for _ in range(3)] == [200, 200, 429]
        tries = [client.post("/api/v1/sessions", json={"login": "a", "secret": "b"}) for _ in range(3)]
        assert tries[-1].status_code == 429
        assert int(tries[-1].headers["retry-after"]) > 0


def test_browsers_are_told_to_come_by_https_alone(client: TestClient) -> None:
    assert client.get("/livez").headers["strict-transport-security"].startswith("max-age=31536000")


def test_trace_is_not_answered(client: TestClient) -> None:
    assert client.request("TRACE", "/livez").status_code == 405


SECRETS = {
    "Bearer eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl": "eyJ",
    "cookie zts_abcdefghijklmnop": "zts_abc",
    "postgresql://zhengtong:pa55word@db.local/zt": "pa55word",
    "POST /sign-in?password=Yun-Jiang-2026&next=/": "Yun-Jiang",
    "Authorization: Basic dXNlcjpwYXNz": "dXNlcjpwYXNz",
    "身份证 11010519491231002X": "11010519491231002X",
}


@pytest.mark.parametrize("text", SECRETS)
def test_logs_hold_no_credentials(text: str) -> None:
    assert SECRETS[text] in text
    assert SECRETS[text] not in redacted(text)


def test_a_line_of_the_log_is_one_json_object_of_its_request() -> None:
    token = REQUEST.set("r-1")
    record = logging.makeLogRecord(
        {"name": "app", "levelname": "INFO", "msg": "two\nlines\r\n%s", "args": ("x",), "path": "/a"}
    )
    line = JsonLines().format(record)
    REQUEST.reset(token)
    assert "\n" not in line
    read = json.loads(line)
    assert (read["request"], read["path"], read["message"]) == ("r-1", "/a", "two\nlines\r\nx")
    assert read["at"].endswith("+00:00")
