"""Loading the sample city: all of it, once, and nothing of a secret where it does not belong."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import func, select, table

from app.demo import desks, sample_city
from app.demo.load import OPERATOR, CityReport, load_city, one_time_secrets
from app.demo.provider_table import SCHEMA, TABLE
from app.identity import agencies, sessions
from app.identity.models import Agency, Jurisdiction
from app.kernel.db import Database
from app.kernel.history import Event
from app.kernel.keys import ServiceKeys
from catalog.elements.models import Element
from catalog.resources.models import Defect, Item, Resource, Revision
from exchange.delivery.models import ProviderSource

SECRET = "the-provider's-own-credential"


def load(database: Database, keys: ServiceKeys, *, port: int = 8123) -> CityReport:
    url = f"http://127.0.0.1:{port}"
    return load_city(database, keys, provider_url=url, provider_secret=SECRET, table_dsn=database.url)


def test_the_city_is_loaded_once(database: Database, keys: ServiceKeys) -> None:
    first = load(database, keys)
    assert first == CityReport(
        jurisdictions=len(sample_city.jurisdictions()) - 1,  # the nation is there from migration on
        agencies=len(sample_city.agencies()),
        people=len(sample_city.people()),
        resources=len(sample_city.resources()),
        sources=2,
    )
    with database.transaction() as session:
        events = session.scalar(select(func.count()).select_from(Event))
        assert session.scalar(select(func.count()).select_from(Item)) == sum(
            len(resource.record.items) for resource in sample_city.resources()
        )
        assert set(session.scalars(select(Resource.state))) == {"published"}

    assert load(database, keys) == CityReport(0, 0, 0, 0, 0)
    with database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == events

    assert load(database, keys, port=8124) == CityReport(0, 0, 0, 0, 1), "the provider has moved"


def test_authorities_are_those_of_their_jurisdictions(database: Database, keys: ServiceKeys) -> None:
    load(database, keys)
    with database.transaction() as session:
        of = {j.code: j.authority_id for j in session.scalars(select(Jurisdiction))}
        for agency in sample_city.agencies():
            registered = agencies.find_agency(session, agency.credit_code)
            assert registered is not None
            assert (of[agency.jurisdiction_code] == registered.id) == (agency.kind == "authority")


def test_an_agency_that_is_registered_already_is_kept(database: Database, keys: ServiceKeys) -> None:
    with database.transaction() as session:
        mine = agencies.register_agency(
            session, name="先行登记的局", jurisdiction_id=agencies.root_jurisdiction(session).id,
            credit_code=sample_city.agencies()[4].credit_code, responsible_leader="分管领导",
            internal_office="办公室", by=OPERATOR,
        )  # fmt: skip
        kept = mine.id
    assert load(database, keys).agencies == len(sample_city.agencies()) - 1
    with database.transaction() as session:
        assert session.get_one(Agency, kept).name == "先行登记的局"


def test_credentials_are_sealed_and_logged_nowhere(
    database: Database, keys: ServiceKeys, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        load(database, keys)
    assert SECRET not in caplog.text
    with database.transaction() as session:
        sources = list(session.scalars(select(ProviderSource)))
        assert len(sources) == 2
        for source in sources:
            assert source.credentials is not None
            assert SECRET.encode() not in source.credentials
            assert SECRET not in str(source.options)
            assert "password" not in source.options
        told = [str(data) for data in session.scalars(select(Event.data))]
        assert not any(SECRET in data for data in told)
        assert session.scalar(select(func.count()).select_from(table(TABLE, schema=SCHEMA))) == 20_000


def test_a_one_time_secret_signs_in_once_and_a_fresh_one_replaces_it(
    database: Database, keys: ServiceKeys
) -> None:
    load(database, keys)
    old = one_time_secrets(database, ["housing.clerk"])["housing.clerk"]
    new = one_time_secrets(database, ["housing.clerk", "civil.approver"])["housing.clerk"]
    with database.transaction() as session:
        assert sessions.sign_in(session, login="housing.clerk", secret=old, seal=keys.seal) is None
    with database.transaction() as session:
        assert sessions.sign_in(session, login="housing.clerk", secret=new, seal=keys.seal) is not None


def test_the_desks_show_every_state_of_a_record(database: Database, keys: ServiceKeys) -> None:
    load(database, keys)
    assert desks.lay_out(database) and not desks.lay_out(database)
    with database.transaction() as session:
        states = set(session.scalars(select(Resource.state)))
        assert states == {"draft", "filed", "returned", "published"}
        assert session.scalar(select(func.count()).select_from(Defect)) == 2
        assert set(session.scalars(select(Revision.state))) == {"draft"}
        assert set(session.scalars(select(Element.state))) == {"registered", "proposed"}
