"""Loads the sample city into a database through the services everything else goes through.

Owns the order and what is there already: a second run changes nothing. Makes up no data of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.demo import provider_api, provider_table, sample_city
from app.identity import agencies, sessions
from app.identity.models import Agency, Jurisdiction, Person
from app.identity.profiles import install_profile, profile_for
from app.kernel.actor import Actor, system_actor
from app.kernel.db import Database, advisory_lock
from app.kernel.keys import ServiceKeys
from app.kernel.seal import Seal
from catalog.resources.importing import Incoming, upsert_imported
from catalog.resources.models import Resource
from exchange.delivery.models import ProviderSource
from exchange.delivery.providers import (
    HttpRegistration,
    TableRegistration,
    connect_source,
    is_connected,
)

SOURCE = "sample-city"  # the name of the catalog that its resources come from
OPERATOR = system_actor("demo")
SUBSISTENCE = "30400101/000001"  # 最低生活保障对象信息, behind the civil affairs bureau's API
ENTERPRISES = "10200801/000001"  # 企业登记信息, in the market supervision bureau's table


@dataclass(frozen=True, slots=True)
class CityReport:
    """How much of each was new or changed in this run."""

    jurisdictions: int
    agencies: int
    people: int
    resources: int
    sources: int


def load_city(
    database: Database,
    keys: ServiceKeys,
    *,
    provider_url: str,
    provider_secret: str,
    table_dsn: str,
    by: Actor = OPERATOR,
) -> CityReport:
    """Register the sample city, publish its catalog and connect its two providers; what stands is kept.

    `provider_url` and `provider_secret` are those of a running `provider_api`. `table_dsn` (libpq URL) is
    the database that gets the enterprise table; gateways read it with the same user, in read-only
    transactions.
    """
    with psycopg.connect(table_dsn) as market:
        provider_table.fill_enterprises(market)
    with database.transaction() as session:
        advisory_lock(session, SOURCE)
        return CityReport(
            jurisdictions=_register_jurisdictions(session, by),
            agencies=_register_agencies(session, by),
            people=_register_people(session, by),
            resources=_publish_resources(session, by),
            sources=(
                _connect(session, keys.seal, SUBSISTENCE, "civil.clerk", _api(provider_url, provider_secret))
                + _connect(session, keys.seal, ENTERPRISES, "market.clerk", _table(table_dsn))
            ),
        )


def one_time_secrets(
    database: Database, logins: Iterable[str], *, keep_earlier: bool = False, by: Actor = OPERATOR
) -> dict[str, str]:
    """A fresh one-time secret for each login; earlier unused ones stop working, unless they are kept: playing
    the story leaves the secrets that were printed for people to try. Errors: NotFound."""
    with database.transaction() as session:
        return {
            login: sessions.issue_one_time_secret(
                session, sessions.person_by_login(session, login), keep_earlier=keep_earlier, by=by
            )
            for login in logins
        }


def _register_jurisdictions(session: Session, by: Actor) -> int:
    """The city's root is whatever root the tree has already."""
    present = set(session.scalars(select(Jurisdiction.code)))
    root = agencies.root_jurisdiction(session).code
    tree = sample_city.jurisdictions()
    stands_for = {place.code: root for place in tree if place.parent_code is None}
    missing = [place for place in tree if place.parent_code is not None and place.code not in present]
    for place in missing:
        assert place.parent_code is not None
        agencies.register_jurisdiction(
            session, code=place.code, name=place.name.zh, name_en=place.name.en,
            parent_code=stands_for.get(place.parent_code, place.parent_code), by=by,
        )  # fmt: skip
    _try_out_rules(session, next(stands_for.get(p.code, p.code) for p in tree if p.parent_code is None))
    return len(missing)


def _try_out_rules(session: Session, code: str) -> None:
    """The rules in force, but that the sample city's people sign in with one factor: their secrets are printed
    for whoever tries the service out."""
    place = agencies.jurisdiction_by_code(session, code)
    rules = profile_for(session, place.id)
    security = rules.security.model_copy(update={"second_factor_roles": ()})
    install_profile(session, rules.model_copy(update={"name": "try-out", "security": security}), place.id)


def _register_agencies(session: Session, by: Actor) -> int:
    present = set(session.scalars(select(Agency.credit_code).where(Agency.credit_code.is_not(None))))
    missing = [agency for agency in sample_city.agencies() if agency.credit_code not in present]
    for agency in missing:
        agencies.register_agency(
            session, name=agency.name.zh, name_en=agency.name.en, credit_code=agency.credit_code,
            jurisdiction_id=agencies.jurisdiction_by_code(session, agency.jurisdiction_code).id,
            responsible_leader=agency.responsible_leader.zh, internal_office=agency.internal_office.zh,
            authority=agency.kind == "authority", by=by,
        )  # fmt: skip
    return len(missing)


def _register_people(session: Session, by: Actor) -> int:
    present = set(session.scalars(select(Person.login)))
    missing = [person for person in sample_city.people() if person.login not in present]
    registered = _agencies_by_credit_code(session)
    for person in missing:
        sessions.register_person(
            session, login=person.login, name=person.name, agency_id=registered[person.agency].id,
            roles=person.roles, by=by,
        )  # fmt: skip
    return len(missing)


def _publish_resources(session: Session, by: Actor) -> int:
    registered = _agencies_by_credit_code(session)
    incoming = [
        Incoming(registered[resource.agency], resource.record) for resource in sample_city.resources()
    ]
    outcomes = upsert_imported(session, incoming, source=SOURCE, as_state="published", by=by)
    return len(outcomes) - outcomes.count("unchanged")


def _agencies_by_credit_code(session: Session) -> dict[str, Agency]:
    wanted = [agency.credit_code for agency in sample_city.agencies()]
    found = session.scalars(select(Agency).where(Agency.credit_code.in_(wanted)))
    return {agency.credit_code: agency for agency in found if agency.credit_code}


def _api(url: str, secret: str) -> HttpRegistration:
    return HttpRegistration(
        url=url.rstrip("/") + provider_api.PATH,
        headers={"Authorization": f"Bearer {secret}"},
        records_path="rows",
        page_parameter="page",
        size_parameter="size",
        page_size=provider_api.PAGE_SIZE_LIMIT,
        parameters={"division_code": "division_code", "id_number": "id_number"},
    )


def _table(dsn: str) -> TableRegistration:
    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    return TableRegistration(
        host=parts.get("host", "localhost"),
        port=int(parts.get("port", "5432")),
        database=parts["dbname"],
        user=parts["user"],
        password=parts.get("password"),
        table=f"{provider_table.SCHEMA}.{provider_table.TABLE}",
        key=("credit_code",),
    )


def _connect(
    session: Session, seal: Seal, code: str, login: str, registration: HttpRegistration | TableRegistration
) -> int:
    """Let the provider's clerk connect the source of a resource, unless just this one is connected."""
    resource = session.scalars(select(Resource).filter_by(source=SOURCE, source_id=code)).one()
    standing = session.get(ProviderSource, resource.id)
    if standing is not None and is_connected(standing, registration, seal):
        return 0
    clerk = sessions.actor_of(session, sessions.person_by_login(session, login))
    connect_source(session, resource, registration, seal=seal, private=True, by=clerk)
    return 1
