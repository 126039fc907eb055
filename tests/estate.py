"""One of every aggregate in the state that each operation needs, and the request that calls the operation on it.

Built once through the real operations. `civil` provides, `health` asks, `city_authority` decides between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.identity import clients, grants, sessions, witnesses
from app.identity.models import Client
from app.kernel import clock, ledger
from app.kernel.actor import Role, Scope
from app.kernel.checkpoint import Cosigner, Signer
from app.kernel.db import Database
from app.kernel.keys import ServiceKeys
from app.kernel.ledger import LedgerEntry
from app.kernel.timestamping import LedgerTimestamp
from app.main import create_app
from app.settings import Settings
from exchange.delivery.changes import Changes
from exchange.delivery.protocol import LeaseWanted, ReceiptBatch, SourceTested
from tests.conftest import PUBLIC_URL, AsService
from tests.delivery.systems import GATEWAY_URL, HEALTH, HTTP_SOURCE, Calls, System, resource_of, system
from tests.estate_calls import APPROVER, CLERK, NOT_THERE, WHY, Call, on
from tests.estate_catalog import CatalogPart
from tests.estate_exchange import ExchangePart
from tests.exchange.world import START, World
from tests.factories import OPERATOR, Town, credit_code


class Estate(CatalogPart, ExchangePart):
    """Everything, built once: what the parts hold, and people, delivery, what is told and the ledger."""

    def __init__(self, world: World, signer: Signer) -> None:
        super().__init__(world)
        self._identity()
        self._catalog()
        self._collection()
        self._exchange()
        self._agreements()
        self._corrections()
        self._disputes()
        self._delivery()
        self._telling()
        self._ledger(signer)
        world.session.commit()

    def _identity(self) -> None:
        town, session = self.world.town, self.world.session
        newcomer = town.person("civil", CLERK, number=9)
        secret = sessions.issue_one_time_secret(session, newcomer, by=OPERATOR)
        self.newcomer: System = system(self.world, "civil", Scope.CATALOG)
        key = OKPKey.generate_key("Ed25519").as_dict(private=False)
        nothing = Call()
        self._add("health.live health.ready token.metadata token.keys", "-", nothing)
        self._add("session.end me.read jurisdiction.list agency.list person.list client.list", "-", nothing)
        self._add("session.create", "-", Call(body={"login": newcomer.login, "secret": secret}))
        self._add("token.issue", "-", Call(form=self.newcomer.form()))
        self._add("me.set_password", "-", Call(body={"password": "Yun-Jiang-2026"}))
        self._add("agency.read", "provider", Call((town.id("civil"),)))
        place = {"code": "990109", "name": "北区", "name_en": "North", "parent_code": "990100"}
        self._add("jurisdiction.register", "city", Call(body=place))
        agency = {
            "name": "测试市教育局", "jurisdiction_code": "990100", "credit_code": credit_code(77),
            "responsible_leader": "分管负责人", "internal_office": "信息中心",
        }  # fmt: skip
        self._add("agency.register", "city", Call(body=agency))
        of_civil = {"agency_id": str(town.id("civil")), "name": "newcomer"}
        self._add("person.register", "provider", Call(body={**of_civil, "login": "newcomer", "roles": []}))
        self._add("person.issue_secret", "provider", Call((newcomer.id,)))
        self._add("me.sessions me.begin_second_factor", "-", nothing)
        self._add("me.set_language", "-", Call(body={"locale": "en"}))
        self._add("me.end_session", "-", Call((NOT_THERE,)))
        self._add("me.confirm_second_factor", "-", Call(body={"code": "000000"}))
        self._add("person.suspend", "provider", Call((newcomer.id,), WHY))
        self._add("person.end_sessions person.reset_second_factor", "provider", Call((newcomer.id,)))
        asleep_person = town.person("civil", CLERK, number=8)
        sessions.set_active(session, asleep_person, False, reason="离职", by=OPERATOR)
        self._add("person.resume", "suspended", Call((asleep_person.id,), WHY))
        self._add("role_grant.ask", "provider", Call((newcomer.id,), {"roles": ["mediator"], **WHY}))
        asker = town.actor("city_authority", Role.SECURITY_ADMINISTRATOR, number=9)
        town.person("city_authority", Role.SYSTEM_ADMINISTRATOR, number=9)  # who could confirm it
        asked = grants.ask(session, newcomer, [Role.APPROVER], reason=None, by=asker)
        grant = {"id": asked.id, "version": asked.version}
        self._add("role_grant.confirm role_grant.refuse", "asked", on(grant, {}))
        self._add("role_grant.events", "asked", Call((asked.id,)))
        self._add("role_grant.list personal_read.list", "-", nothing)
        handed = {"to_agency_id": str(town.id("health")), "roles": ["clerk"], "until": "2026-12-31", **WHY}
        self._add("delegation.give", "-", Call(body={**handed, "to_agency_id": str(town.id("east_health"))}))
        self._add("delegation.list", "-", nothing)
        given = self.world.call("POST", "/delegations", "civil", APPROVER, body=handed, expect=201)
        self._add("delegation.end", "given", Call((given["id"],)))
        self._add("session.begin_at_provider session.finish_at_provider", "-", nothing)
        client = {**of_civil, "title": "业务系统", "scopes": ["catalog"], "jwk": key}
        self._add("client.register", "provider", Call(body=client))
        self._add("client.add_key", "provider", Call((self.newcomer.id,), {"jwk": key}))
        self._add("client.keys", "provider", Call((self.newcomer.id,)))
        self._add("client.remove_key", "provider", Call((self.newcomer.id, self.newcomer.key.kid)))
        self._add("client.suspend", "provider", Call((self.newcomer.id,), WHY))
        asleep = system(self.world, "civil", Scope.CATALOG)
        row = self.world.session.get_one(Client, asleep.id)
        clients.set_active(self.world.session, row, False, reason="停用", by=OPERATOR)
        self._add("client.resume", "suspended", Call((asleep.id,), WHY))

    def _delivery(self) -> None:
        world = self.world
        resource = str(self.resource)
        world.call("PUT", f"/resources/{resource}/source", "civil", CLERK, body=HTTP_SOURCE)
        self._add("source.connect", "provider", Call((resource,), HTTP_SOURCE))
        document = {"openapi": "3.1.0", "paths": {}}
        self._add("source.propose", "provider", Call((resource,), {"document": document}))
        self._add("source.read", "provider", Call((resource,)))
        self._add("source.test", "provider", Call((resource,)))
        reported = Calls(world, self.agreement)
        receipt = reported.receipt()
        reported.ship(receipt)
        wanted = {"agreement_id": self.agreement["id"], "purpose": "check"}
        self._add("grant.issue", "in force", Call(body=wanted))
        self._add("grant.revoke", "issued", Call((reported.grant_id,)))
        self._add("gateway.state gateway.changes gateway.list", "-", Call())
        batch = msgspec.to_builtins(ReceiptBatch(receipts=[reported.receipt()]))
        self._add("gateway.receipts", "-", Call(body=batch))
        found = SourceTested(id=str(uuid4()), records=0, carried=[], missing=[], duration_ms=1.0)
        self._add("gateway.source_tested", "-", Call(body=msgspec.to_builtins(found)))
        self._add("gateway.health", "-", Call(body=msgspec.to_builtins(HEALTH)))
        self._gateways()
        lease = LeaseWanted(
            agreement_id=self.agreement["id"], day=str(START.date()), sequence=1, held_calls=0, held_rows=0,
            calls=1, rows=1,
        )  # fmt: skip
        self._add("gateway.lease", "in force", Call(body=msgspec.to_builtins(lease)))
        self._add("receipt.list", "in force", Call(query={"agreement_id": self.agreement["id"]}))
        earlier = reported.receipt(at="2026-09-18T00:30:00+00:00")
        reported.ship(earlier)
        use = {
            "receipt_id": earlier.call.id, "purpose": "check", "matter": "〔2026〕7", "unit": "审批处",
            "used_at": "2026-09-18T00:45:00Z",
        }  # fmt: skip
        self._add("receipt_use.note", "in force", Call((self.agreement["id"],), {"uses": [use]}))
        self._add("receipt_use.list", "in force", Call((self.agreement["id"],)))
        self._add("receipt.read", "in force", Call((receipt.call.id,)))
        self._pushes()

    def _pushes(self) -> None:
        agreement = self.world.agreed(method="push")
        wanted = {
            "agreement_id": agreement["id"], "resource_id": resource_of(agreement), "purpose": "check",
            "target": {"kind": "http", "url": "https://10.9.8.7/in"},
        }  # fmt: skip
        puller = system(self.world, "health", Scope.PULL)
        active, paused = (puller.call("POST", "/pushes", wanted, expect=201) for _ in range(2))
        path = f"/pushes/{paused['id']}/pause"
        paused = self.world.call("POST", path, "health", APPROVER, body={}, version=1)
        self._add("push.subscribe", "in force", Call(body=wanted))
        self._add("push.list", "in force", Call(query={"agreement_id": agreement["id"]}))
        self._add("push.read push.events", "in force", Call((active["id"],)))
        self._add("push.pause push.end", "active", on(active, {}))
        self._add("push.resume", "paused", on(paused, {}))
        self._add("gateway.pushes", "-", Call(body={"places": [{"subscription_id": active["id"]}]}))

    def _gateways(self) -> None:
        """A gateway of the provider in each standing that somebody can change."""
        world = self.world

        def registered(*acts: str) -> dict[str, Any]:
            client = system(world, "civil", Scope.GATEWAY, approved=False)
            wanted = {"client_id": str(client.id), "url": "https://gateway.civil.example.gov.cn"}
            made: dict[str, Any] = world.call("POST", "/gateways", "civil", CLERK, body=wanted, expect=201)
            for act in acts:
                path, by = f"/gateways/{made['id']}/{act}", ("city_authority", Role.SECURITY_ADMINISTRATOR)
                made = world.call("POST", path, *by, body={"reason": "安全评估"}, version=made["version"])
            return made

        free = system(world, "civil", Scope.GATEWAY, approved=False)
        wanted = {"client_id": str(free.id), "url": "https://gateway.civil.example.gov.cn"}
        self._add("gateway.register", "provider", Call(body=wanted))
        waiting = registered()
        self._add("gateway.read gateway.history", "registered", Call((waiting["id"],)))
        self._add("gateway.amend", "registered", on(waiting, {"url": "https://other.example.gov.cn"}))
        self._add("gateway.approve gateway.return gateway.withdraw", "registered", on(waiting, WHY))
        self._add("gateway.report_incident gateway.suspend", "approved", on(registered("approve"), WHY))
        self._add("gateway.resume", "suspended", on(registered("approve", "suspend"), WHY))

    def _telling(self) -> None:
        self._add("inbox.read event.feed digest.read digest.end webhook.list", "-", Call())
        self._add("digest.subscribe", "-", Call(body={"address": "clerk@example.gov.cn"}))
        where = {"url": "https://hooks.example.gov.cn/zhengtong"}
        self._add("webhook.register", "-", Call(body=where))
        told = self.world.call("POST", "/webhooks", "civil", APPROVER, body=where, expect=201)
        acts = "webhook.read webhook.issue_secret webhook.pause webhook.resume webhook.test webhook.remove"
        self._add(acts, "provider", on(told))
        self._add("webhook.replay", "provider", on(told, body={"since": "2026-01-01T00:00:00Z"}))

    def _ledger(self, signer: Signer) -> None:
        session = self.world.session
        session.flush()
        ledger.sequence(session, signer)
        entry = session.scalars(select(LedgerEntry.id).limit(1)).one()
        self._add("ledger.checkpoint ledger.key", "-", Call())
        self._add("ledger.tile", "-", Call((0, "000.p/1")))
        self._add("ledger.entries", "-", Call(("000.p/1",)))
        self._add("ledger.consistency", "-", Call(query={"old": 1, "new": 1}))
        self._add("ledger.proof", "-", Call((entry,)))
        cosigner, other = (Cosigner(name, Ed25519PrivateKey.generate()) for name in ("watcher", "another"))
        watcher = witnesses.register(
            session, verifier_key=str(cosigner.verifier_key), agency_id=None,
            by=self.world.town.actor("city_authority", Role.SECURITY_ADMINISTRATOR),
        )  # fmt: skip
        head = ledger.latest_checkpoint(session)
        assert head is not None
        session.add(LedgerTimestamp(size=head.size, at=START, response=b"as it came"))
        self._add("ledger.timestamps", "-", Call())
        self._add("ledger.timestamp", "stamped", Call((head.size,)))
        self._add("ledger.witnesses", "-", Call())
        self._add(
            "ledger.cosign", "-", Call(body={"note": head.note + cosigner.cosign(head.note, 1_800_000_000)})
        )
        self._add("ledger_witness.register", "-", Call(body={"verifier_key": str(other.verifier_key)}))
        self._add(
            "ledger_witness.retire",
            "registered",
            Call((watcher.id,), {"reason": "密钥停用"}, watcher.version),
        )


@contextmanager
def estate_on(database: Database, keys: ServiceKeys, data: Path) -> Iterator[Estate]:
    """An estate in a transaction of the database that is rolled back in the end. The clock stands still."""
    settings = Settings(data=data, database_url="", public_url=PUBLIC_URL, gateway_url=GATEWAY_URL)
    with database.engine.connect() as connection, clock.frozen(START):
        outer = connection.begin()
        app = create_app(settings, AsService(database, connection), keys)
        app.state.changes = Changes(database.url, stream_s=0.02)
        with (
            Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session,
            TestClient(app, base_url=PUBLIC_URL) as client,
        ):
            yield Estate(World(session, Town(session), client), keys.ledger)
        outer.rollback()
