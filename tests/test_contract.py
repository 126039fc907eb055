"""The OpenAPI document against the started service: schemathesis calls every operation as three agencies'
people, who must not get at each other's objects, and what those may not call as the authority's administrators."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select

from app.identity import sessions
from app.identity.models import Agency, Person
from app.identity.permissions import REGISTRY
from app.kernel.actor import Role, system_actor
from app.kernel.db import Database
from app.kernel.postgres import find_running
from tests.estate_calls import ROUTES
from tests.test_recovery import Service, folder

__all__ = ["folder"]

EXAMPLES = int(os.environ.get("ZHENGTONG_CONTRACT_EXAMPLES", "2"))
WITHIN_S = int(os.environ.get("ZHENGTONG_CONTRACT_WITHIN_S", "1500"))
# Its phase `coverage` tries every limit of every field: seventeen thousand calls. Of "3/8" the fourth eighth of the
# operations has it; the others are called with generated input all the same.
SLICE, SLICES = map(int, os.environ.get("ZHENGTONG_CONTRACT_SLICE", "0/1").split("/"))
PASSWORD = "Yun-Jiang-2026!"
EVERYTHING = frozenset({Role.CLERK, Role.APPROVER, Role.CATALOG_ADMINISTRATOR, Role.MEDIATOR})
PEERS = {"civil": "civil.clerk", "housing": "housing.clerk", "dh_edu": "dh_edu.clerk"}
AUTHORITY = "data.catalog"
AUTHORITYS = EVERYTHING | {Role.SECURITY_ADMINISTRATOR}
ADMINISTRATORS = (Role.SYSTEM_ADMINISTRATOR, Role.AUDIT_ADMINISTRATOR)

# What a refusal may be. 409, 412 and 422 answer what the moment, another's change or the law refuses, which no
# schema can say: a credit code that does not add up, a resource that is not shared.
CONFIGURATION = """
seed = 809
workers = 1
[auth.wfc]
path = "{identities}"
user = "{user}"
{peers}
[checks.positive_data_acceptance]
expected-statuses = ["2XX", "401", "403", "404", "409", "412", "422", "428"]
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "409", "412", "413", "415", "422", "428"]
# CKAN answers 400 to an action that it does not know, and takes any name for one.
[[operations]]
include-operation-id = ["ckan.get", "ckan.post"]
checks.positive_data_acceptance.expected-statuses = ["2XX", "400", "401", "403", "404", "409"]
[[operations]]
include-operation-id = {uncovered}
phases.coverage.enabled = false
"""


@pytest.fixture
def service(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("ZHENGTONG_RATES", "off")
    own = Service(folder)
    own.start()
    own.wait_ready()
    yield own
    own.kill()


def enrolled(service: Service) -> list[str]:
    """Logins of people with a password: one of each peer with every role, and the authority's."""
    url = find_running(service.data / "postgres")
    assert url is not None
    database, by, secrets = Database(url, pool_size=1), system_actor("test"), {}
    try:
        with database.transaction() as session:

            def of(login: str) -> Agency:
                person = session.scalars(select(Person).where(Person.login == login)).one()
                return session.get_one(Agency, person.agency_id)

            people = {name: (of(login), EVERYTHING) for name, login in PEERS.items()}
            people["authority"] = (of(AUTHORITY), AUTHORITYS)
            people |= {role.value: (of(AUTHORITY), frozenset({role})) for role in ADMINISTRATORS}
            for name, (agency, roles) in people.items():
                person = sessions.register_person(
                    session, login=f"contract.{name}", name=name, agency_id=agency.id, roles=roles, by=by
                )
                secrets[person.login] = sessions.issue_one_time_secret(session, person, by=by)
    finally:
        database.close()
    for login, secret in secrets.items():
        opened = httpx2.post(f"{service.url}/api/v1/sessions", json={"login": login, "secret": secret})
        headers = {"authorization": f"Bearer {opened.json()['token']}"}
        set_ = httpx2.put(f"{service.url}/api/v1/me/password", json={"password": PASSWORD}, headers=headers)
        assert set_.status_code == 204, set_.text
    return list(secrets)


def identity(login: str) -> dict[str, object]:
    """How schemathesis signs a person in (Web Fuzzing Commons); it does so again where a session has ended."""
    return {
        "name": login,
        "loginEndpointAuth": {
            "endpoint": "/api/v1/sessions", "verb": "POST", "contentType": "application/json",
            "payloadUserPwd": {
                "username": login, "password": PASSWORD, "usernameField": "login", "passwordField": "secret",
            },
            "token": {
                "extractFrom": "body", "extractSelector": "/token", "sendIn": "header",
                "sendName": "Authorization", "sendTemplate": "Bearer {token}",
            },
        },
    }  # fmt: skip


def whose(operation: str) -> str:
    """The login that calls an operation: a peer's, or that of an administrator who alone may."""
    may = REGISTRY[operation]
    if may.anonymous or not may.roles or (may.roles & EVERYTHING and not may.authority):
        return "contract.civil"
    if may.roles & AUTHORITYS:
        return "contract.authority"
    return next(f"contract.{role.value}" for role in ADMINISTRATORS if role in may.roles)


def command_of(service: Service, configuration: Path, operations: Iterable[str]) -> list[str]:
    chosen = [argument for name in operations for argument in ("--include-operation-id", name)]
    return [
        str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(configuration), "run",
        f"{service.url}/openapi.json", "--checks", "all", "--max-examples", str(EXAMPLES), "--no-color",
        "--continue-on-failure", "--request-timeout", "60", *chosen,
    ]  # fmt: skip


@pytest.mark.soak
def test_every_operation_keeps_its_word(service: Service, tmp_path: Path) -> None:
    logins = enrolled(service)
    identities, configuration = tmp_path / "identities.json", tmp_path / "schemathesis.toml"
    identities.write_text(json.dumps({"auth": [identity(login) for login in logins]}))
    names = sorted(map(str, ROUTES))
    uncovered = [name for n, name in enumerate(names) if n % SLICES != SLICE]
    operations: dict[str, list[str]] = defaultdict(list)
    for name in names:
        operations[whose(name)].append(name)
    said = ""
    for user, called in operations.items():
        peers = ", ".join(f'"{login}"' for login in logins[: len(PEERS)])
        configuration.write_text(
            CONFIGURATION.format(
                identities=identities, user=user, peers=f"peers = [{peers}]" if user in peers else "",
                uncovered=json.dumps(uncovered or ["-"]),
            )
        )  # fmt: skip
        done = subprocess.run(
            command_of(service, configuration, called), cwd=tmp_path, capture_output=True, text=True,
            timeout=WITHIN_S, check=False,
        )  # fmt: skip
        said += f"{user}: {len(called)} operations\n{done.stdout}{done.stderr}" if done.returncode else ""
    (tmp_path / "said.txt").write_text(said)
    assert not said, said[-30_000:]
