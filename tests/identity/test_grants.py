"""Roles take two people, an authority is replaced knowingly, and who reads personal data is on record."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.identity.models import Person
from app.kernel.actor import Role
from tests.factories import Town, credit_code

SECURITY, SYSTEM, AUDIT = (
    Role.SECURITY_ADMINISTRATOR,
    Role.SYSTEM_ADMINISTRATOR,
    Role.AUDIT_ADMINISTRATOR,
)
CITY = "city_authority"


def roles_of(session: Session, person: Person) -> list[str]:
    session.refresh(person)
    return person.roles


def test_a_role_counts_once_a_second_administrator_confirms_it(
    client: TestClient, session: Session, town: Town
) -> None:
    person = town.person("civil", Role.CLERK)
    asking, second = town.headers(CITY, SECURITY), town.headers(CITY, SYSTEM)
    body = {"roles": ["approver"], "reason": "分管负责人任命"}
    asked = client.post(f"/api/v1/people/{person.id}/roles", json=body, headers=asking).json()
    assert (asked["state"], asked["allowed"]) == ("asked", [])
    assert roles_of(session, person) == ["clerk"]
    url, version = f"/api/v1/role-grants/{asked['id']}", {"If-Match": '"1"'}
    own = client.post(f"{url}/confirm", json={}, headers=asking | version)
    assert (own.status_code, own.json()["type"]) == (403, "/problems/second-person-needed")
    assert roles_of(session, person) == ["clerk"]
    assert client.post(f"{url}/confirm", json={}, headers=second | version).json()["state"] == "granted"
    assert roles_of(session, person) == ["approver", "clerk"]
    acts = [event["act"] for event in client.get(f"{url}/events", headers=second).json()]
    assert acts == ["ask", "confirm"]
    late = client.post(f"{url}/refuse", json={}, headers=second | {"If-Match": '"2"'})
    assert late.status_code == 409


def test_a_refused_role_is_not_given(client: TestClient, session: Session, town: Town) -> None:
    person = town.person("civil", Role.CLERK)
    asking, second = town.headers(CITY, SECURITY), town.headers(CITY, SYSTEM)
    body = {"roles": ["mediator"], "reason": "任命"}
    asked = client.post(f"/api/v1/people/{person.id}/roles", json=body, headers=asking).json()
    url = f"/api/v1/role-grants/{asked['id']}/refuse"
    answer = client.post(url, json={"reason": "非主管部门"}, headers=second | {"If-Match": '"1"'})
    assert answer.json()["state"] == "refused"
    assert roles_of(session, person) == ["clerk"]


def test_a_newcomer_waits_for_the_roles_that_take_two(
    client: TestClient, session: Session, town: Town
) -> None:
    asking = town.headers(CITY, SECURITY)
    town.person(CITY, SYSTEM)
    body = {
        "login": "n.zhao",
        "name": "赵",
        "agency_id": str(town.id("civil")),
        "roles": ["clerk", "approver"],
    }
    made = client.post("/api/v1/people", json=body, headers=asking).json()
    assert made["awaiting"] == ["approver"]
    person = session.query(Person).filter_by(login="n.zhao").one()
    assert person.roles == ["clerk"]
    waiting = client.get("/api/v1/role-grants", params={"state": "asked"}, headers=asking).json()["items"]
    assert [grant["person_id"] for grant in waiting] == [str(person.id)]


def test_the_first_administrator_grants_alone_and_the_history_says_so(
    client: TestClient, session: Session, town: Town
) -> None:
    asking = town.headers(CITY, SECURITY)
    body = {
        "login": "n.qian",
        "name": "钱",
        "agency_id": str(town.id(CITY)),
        "roles": ["audit_administrator"],
    }
    made = client.post("/api/v1/people", json=body, headers=asking).json()
    assert made["awaiting"] == []
    (grant,) = client.get("/api/v1/role-grants", headers=asking).json()["items"]
    events = client.get(f"/api/v1/role-grants/{grant['id']}/events", headers=asking).json()
    assert [(event["act"], event["alone"]) for event in events] == [("ask", False), ("confirm", True)]


def test_two_of_the_three_administrators_cannot_be_asked_for(client: TestClient, town: Town) -> None:
    person = town.person("civil", SYSTEM)
    body = {"roles": ["audit_administrator"], "reason": "兼任"}
    answer = client.post(f"/api/v1/people/{person.id}/roles", json=body, headers=town.headers(CITY, SECURITY))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "/roles")


def test_the_database_refuses_one_person_for_both(session: Session, town: Town) -> None:
    person = town.person("civil", Role.CLERK)
    one = town.person(CITY, SECURITY)
    row = {"person": person.id, "one": one.id}
    statement = "INSERT INTO role_grant VALUES (gen_random_uuid(), now(), 'asked', 1, now(), :person, '{mediator}', :one, :one)"
    with pytest.raises(DBAPIError, match="ck_role_grant_two_people"):
        session.execute(text(statement), row)


def test_an_authority_is_replaced_knowingly(client: TestClient, session: Session, town: Town) -> None:
    headers = town.headers("province_authority", SYSTEM)
    body = {
        "name": "测试市新数据局", "jurisdiction_code": "990100", "credit_code": credit_code(90),
        "responsible_leader": "负责人", "internal_office": "信息中心", "authority": True,
    }  # fmt: skip
    refused = client.post("/api/v1/agencies", json=body, headers=headers)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/authority-stands")
    assert refused.json()["authority_id"] == str(town.id(CITY))
    session.refresh(town.places["city"])
    assert town.places["city"].authority_id == town.id(CITY)
    made = client.post("/api/v1/agencies", json=body | {"replaces": str(town.id(CITY))}, headers=headers)
    assert made.status_code == 201
    session.refresh(town.places["city"])
    assert str(town.places["city"].authority_id) == made.json()["id"]


def test_reading_personal_data_is_on_record_for_auditors(client: TestClient, town: Town) -> None:
    reader = town.person(CITY, SECURITY)
    auditor = town.headers(CITY, AUDIT)
    asked = client.get("/api/v1/people", params={"limit": 2}, headers=town.headers(CITY, SECURITY))
    client.get("/api/v1/agencies", headers=town.headers("civil", Role.CLERK))
    (seen,) = client.get("/api/v1/personal-reads", headers=auditor).json()["items"]
    assert (seen["operation"], seen["path"]) == ("person.list", "/api/v1/people?limit=2")
    assert (seen["actor_id"], seen["request_id"]) == (str(reader.id), asked.headers["request-id"])
    elsewhere = client.get("/api/v1/personal-reads", headers=town.headers("east_authority", AUDIT))
    assert elsewhere.json()["items"] == []
