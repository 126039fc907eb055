"""The story of the demo through the pages alone, in a real Chromium: in both languages, without scripts, and by
keyboard alone, against the whole service; a short one against the application itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fastapi import FastAPI

from app.demo.load import one_time_secrets
from app.identity import sessions
from app.kernel.actor import Role
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from app.main import create_app
from app.serve import open_database
from app.settings import Settings
from tests.console.hands import Hands, Keys, chromium
from tests.console.plot import CAST, ID, Plot
from tests.demo.service import Service
from tests.exchange.world import World
from tests.factories import OPERATOR, Town
from tests.serving import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Service]:
    own = Service(tmp_path_factory.mktemp("service"))
    own.start()
    yield own
    assert own.stop() == 0


@pytest.mark.soak
@pytest.mark.parametrize(
    ("language", "hands", "scripts"),
    [("zh-CN", Hands, True), ("en", Hands, True), ("zh-CN", Hands, False), ("en", Keys, True)],
    ids=["Chinese", "English", "without scripts", "by keyboard alone"],
)
def test_the_whole_story(
    service: Service, browser: Browser, tmp_path: Path, language: str, hands: type[Hands], scripts: bool
) -> None:
    with open_database(service.data) as database_url:
        database = Database(database_url, pool_size=1)
        secrets = one_time_secrets(database, CAST, keep_earlier=True)
        database.close()
    plot = Plot(lambda: hands(browser, service.url, language, scripts=scripts), secrets)
    plot.play(tmp_path)
    assert plot.faults() == []


def test_a_request_is_drafted_and_filed_in_a_real_browser(
    database: Database, keys: ServiceKeys, tmp_path: Path, browser: Browser
) -> None:
    """Short: one page of each sort, in English, with the policy on scripts in force."""

    def make(url: str) -> FastAPI:
        return create_app(Settings(data=tmp_path, database_url="", public_url=url), database, keys)

    with serving(make) as url, database.transaction() as session:
        town = Town(session)
        resource = World(session, town, None).publish()  # type: ignore[arg-type]  # nothing is called
        secrets = {}
        for role in (Role.CLERK, Role.APPROVER):
            person = town.person("health", role)
            secrets[role] = (person.login, sessions.issue_one_time_secret(session, person, by=OPERATOR))
        session.commit()
        faults = []
        at = dict[Role, Hands]()
        for role, (login, secret) in secrets.items():
            hands = at[role] = (
                Keys(browser, url, "en") if role is Role.APPROVER else Hands(browser, url, "en")
            )
            hands.open(f"/sign-in?next=/catalog/{resource}")
            hands.fill("/sign-in", login=login, secret=secret)
            hands.send("/sign-in")
        clerk, approver = at[Role.CLERK], at[Role.APPROVER]
        clerk.open(f"/requests/new?resource={resource}")
        clerk.fill("/requests/new", title="Birth registration")
        clerk.check("/requests/new", f"item.{resource}", "name")
        clerk.fill(
            "/requests/new", purpose_text="birth registration", purpose_business_matter="births", purpose_legal_basis="Art. 8"
        )  # fmt: skip
        clerk.send("/requests/new")
        request = clerk.path
        assert re.fullmatch(f"/requests/{ID}", request), clerk.said()
        approver.open("/")
        approver.follow(request)
        approver.do(f"{request}/file")
        assert approver.link(f"/negotiations/{ID}")
        faults = [fault for hands in at.values() for fault in hands.faults]
        for hands in at.values():
            hands.close()
        assert faults == []
