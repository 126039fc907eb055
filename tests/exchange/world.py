"""Two agencies, an authority and shared resources, driven over HTTP as their people would."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.kernel import clock, deadlines
from app.kernel.actor import Role
from app.kernel.deadlines import DeadlineRow
from app.kernel.history import Event
from catalog.resources import service as resources
from catalog.resources.record import ResourceRecord
from catalog.resources.review import FilingStatement
from exchange.agreements.service import CONSEQUENCES as OF_AGREEMENTS
from exchange.disputes.clocks import CONSEQUENCES as OF_DISPUTES
from exchange.negotiations.clocks import CONSEQUENCES as OF_NEGOTIATIONS
from tests.factories import Town

START = datetime.fromisoformat("2026-09-18T09:00:00+08:00")
CONSEQUENCES = {**OF_AGREEMENTS, **OF_DISPUTES, **OF_NEGOTIATIONS}
Json = dict[str, Any]

ITEMS: list[dict[str, Any]] = [
    {"name": "姓名", "code": "name", "data_type": "C"},
    {"name": "公民身份号码", "code": "id_number", "data_type": "C", "is_key": True},
    {"name": "登记日期", "code": "registered_on", "data_type": "D"},
    {"name": "补贴金额", "code": "amount", "data_type": "N"},
]


class World:
    """`requester` asks `provider`; both have a clerk and an approver. Acts are sent over HTTP by role."""

    def __init__(
        self,
        session: Session,
        town: Town,
        client: TestClient,
        *,
        hand_over: Callable[[], None] | None = None,  # makes what the session wrote known to the service
    ) -> None:
        self.session, self.town, self.client = session, town, client
        self._hand_over = hand_over or session.flush
        self._headers: dict[tuple[Any, ...], dict[str, str]] = {}
        self._made = 0

    def publish(
        self,
        agency: str = "civil",
        *,
        sharing: str = "conditional",
        items: list[Json] | None = None,
        authority: str = "city_authority",
    ) -> UUID:
        """A published resource of an agency, through drafting, filing and review."""
        self._made += 1
        shared: Json = {"type": sharing, "mode": {"channel": "platform", "type": "interface"}}
        kinds = {sharing, *(item["sharing_type"] for item in items or () if "sharing_type" in item)}
        if "conditional" in kinds:
            shared["condition"] = "用于履行法定职责"
        if "not_shared" in kinds:
            shared |= {"reason": "法律规定不予共享", "citation": "某法第十条"}
        record = ResourceRecord.model_validate(
            {
                "title": f"婚姻登记信息{self._made}", "title_en": f"Marriage register {self._made}",
                "abstract": "登记机关办理的登记", "format": {"format_class": "database", "type": "postgresql"},
                "items": items or ITEMS, "sharing": shared, "update_cycle": "daily", "grade": "general",
            }
        )  # fmt: skip
        clerk = self.town.actor(agency, Role.CLERK)
        row = resources.create_draft(self.session, agency_id=self.town.id(agency), record=record, by=clerk)
        approver = self.town.actor(agency, Role.APPROVER)
        statement = FilingStatement(
            secrecy_review="保密审查〔2026〕1号", personal_information_assessment="评估1号"
        )
        resources.file(self.session, row, statement=statement, expected_version=row.version, by=approver)
        reviewer = self.town.actor(authority, Role.CATALOG_ADMINISTRATOR)
        resources.publish(self.session, row, expected_version=row.version, by=reviewer)
        self.session.flush()
        return row.id

    def headers(self, agency: str, role: Role, number: int = 1) -> dict[str, str]:
        key = (agency, role, number, clock.now() - timedelta(minutes=25))
        for (*who, since), held in self._headers.items():
            if tuple(who) == key[:3] and since >= key[3]:
                return held
        fresh = self.town.headers(agency, role, number=number)
        self._headers[(agency, role, number, clock.now())] = fresh
        return fresh

    def call(
        self,
        method: str,
        path: str,
        agency: str,
        role: Role,
        *,
        number: int = 1,
        version: int | None = None,
        body: Any = None,
        expect: int = 200,
        language: str = "en",
    ) -> Any:
        """What the service answers; fails unless its status is `expect`."""
        headers = {**self.headers(agency, role, number), "accept-language": language}
        if version is not None:
            headers["if-match"] = f'"{version}"'
        self._hand_over()
        answer = self.client.request(method, f"/api/v1{path}", headers=headers, json=body)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        self.session.expire_all()
        return answer.json()

    def act(
        self, case: Mapping[str, Any], act: str, agency: str, role: Role, body: Any = None, **how: Any
    ) -> Any:
        """Do `act` to a case as it was last read."""
        kind = "disputes" if "cause" in case else "agreements" if "origin" in case else "negotiations"
        kind = "requests" if "negotiations" in case else kind
        how.setdefault("version", case["version"])
        return self.call("POST", f"/{kind}/{case['id']}/{act}", agency, role, body=body, **how)

    def draft(self, resource: UUID, *, requester: str = "health", **changes: Any) -> Json:
        """A drafted request for one resource."""
        body = {"title": "核验登记信息", "terms": terms(resource, **changes)}
        drafted: Json = self.call("POST", "/requests", requester, Role.CLERK, body=body, expect=201)
        return drafted

    def filed(
        self, resource: UUID, *, requester: str = "health", provider: str = "civil", **changes: Any
    ) -> Json:
        """A negotiation over one resource as its provider's approver reads it."""
        drafted = self.draft(resource, requester=requester, **changes)
        request = self.act(drafted, "file", requester, Role.APPROVER)
        return self.read("negotiations", request["negotiations"][0]["id"], provider)

    def read(self, kind: str, id: Any, agency: str, role: Role = Role.APPROVER, **how: Any) -> Json:
        found: Json = self.call("GET", f"/{kind}/{id}", agency, role, **how)
        return found

    def offered(self, negotiation: Json, offered_terms: Json, *, provider: str = "civil") -> Json:
        """The negotiation after the provider's clerk drafted and its approver offered terms."""
        case = self.act(negotiation, "draft_terms", provider, Role.CLERK, {"terms": offered_terms})
        done: Json = self.act(case, "offer", provider, Role.APPROVER, to(case["draft"]))
        return done

    def countered(self, negotiation: Json, wanted: Json, *, requester: str = "health") -> Json:
        """The negotiation after the requester's clerk drafted and its approver countered."""
        case = self.act(negotiation, "draft_terms", requester, Role.CLERK, {"terms": wanted})
        done: Json = self.act(case, "counter_offer", requester, Role.APPROVER, to(case["draft"]))
        return done

    def attached(
        self,
        case: Json,
        *,
        kind: str = "negotiations",
        name: str = "函.pdf",
        content: bytes = b"%PDF-1.7 ...",
        expect: int = 200,
    ) -> Json:
        """The case after the requester's clerk attached a file."""
        self._hand_over()
        headers = {
            **self.headers("health", Role.CLERK),
            "if-match": f'"{case["version"]}"',
            "accept-language": "en",
        }
        files = {"file": (name, content)}
        answer = self.client.post(f"/api/v1/{kind}/{case['id']}/attach", headers=headers, files=files)
        assert answer.status_code == expect, answer.text
        self.session.expire_all()
        done: Json = answer.json()
        return done

    def rule(self, *agencies: str, **changes: Any) -> Json:
        """A policy's rule that covers what `terms` ask for."""
        return {
            "title": "卫生健康单位办理生育登记", "requesters": [str(self.town.id(agency)) for agency in agencies],
            "items": [{"code": "name"}, {"code": "registered_on"}], "business_matters": ["生育服务登记"],
            "methods": ["api", "verification"], "longest_days": 366, "longest_retention_days": 30,
            "quota": {"calls_per_day": 1000, "rows_per_day": 10000, "rows_per_call": 100}, **changes,
        }  # fmt: skip

    def policy(self, resource: UUID, rule: Json, *, adopted: bool = True) -> Json:
        """A policy of the provider's, drafted by its clerk and adopted by its approver."""
        body = {"resource_id": str(resource), "rule": rule}
        policy: Json = self.call("POST", "/policies", "civil", Role.CLERK, body=body, expect=201)
        if adopted:
            policy = self.call(
                "POST", f"/policies/{policy['id']}/adopt", "civil", Role.APPROVER, version=1, body={}
            )
        return policy

    def refused(self, resource: UUID | None = None) -> Json:
        """A negotiation that the provider refused, as the requester reads it."""
        negotiation = self.filed(resource or self.publish())
        body = {"ground": "exceeds_need", "reason": "范围超出用途所需"}
        self.act(negotiation, "refuse", "civil", Role.APPROVER, body)
        return self.read("negotiations", negotiation["id"], "health")

    def disputed(self, resource: UUID | None = None) -> Json:
        """An admitted dispute about a refusal, as the city's mediator reads it."""
        negotiation = self.refused(resource)
        opened = self.act(
            negotiation, "open_dispute", "health", Role.APPROVER, {"reason": "拒绝没有依据"}, expect=201
        )
        admitted: Json = self.act(opened, "admit", "city_authority", Role.MEDIATOR)
        return admitted

    def agreed(self, resource: UUID | None = None, **changes: Any) -> Json:
        """An agreement in force, negotiated, as its provider reads it."""
        negotiation = self.filed(resource or self.publish(), **changes)
        done = self.act(negotiation, "agree", "civil", Role.APPROVER, to(negotiation["terms"]))
        return self.read("agreements", done["agreement_id"], "civil")

    def events(self, kind: str, id: Any) -> list[str]:
        query = select(Event.act).where(Event.kind == kind, Event.subject_id == UUID(str(id)))
        return list(self.session.scalars(query.order_by(Event.position)))

    def clocks(self, id: Any) -> dict[str, DeadlineRow]:
        """The running clocks of a case by duty."""
        query = select(DeadlineRow).where(
            DeadlineRow.subject_id == UUID(str(id)), DeadlineRow.ended_at.is_(None)
        )
        return {row.duty: row for row in self.session.scalars(query)}

    def sweep_at(self, moment: datetime) -> int:
        """Fire what is due at `moment`."""
        with clock.frozen(moment):
            fired = deadlines.sweep(self.session, CONSEQUENCES)
            self.session.flush()
        self.session.expire_all()
        return fired

    @contextmanager
    def at(self, moment: datetime) -> Iterator[None]:
        """The clock stands at `moment`; people sign in afresh."""
        with clock.frozen(moment):
            self._headers.clear()
            yield
        self._headers.clear()


def terms(
    *resources: UUID,
    items: tuple[str, ...] = ("name", "registered_on"),
    scope: str | None = None,
    **changes: Any,
) -> Json:
    """Terms as a clerk would send them."""
    return {
        "resources": [
            {"resource_id": str(r), "items": [{"code": code} for code in items], "scope": scope} for r in resources
        ],
        "purposes": [
            {"code": "check", "text": "核验婚姻状况", "business_matter": "生育服务登记", "legal_basis": "某条例第八条"}
        ],
        "method": "api", "valid_from": "2026-09-18", "valid_until": "2027-09-17",
        "quota": {"calls_per_day": 1000, "rows_per_day": 10000, "rows_per_call": 100},
        "retention_days": 30, "security_measures": "政务外网传输、加密存储", **changes,
    }  # fmt: skip


def to(version: Mapping[str, Any]) -> Json:
    """Consent to a version as it was read."""
    return {"terms_hash": version["terms_hash"]}


def slug(problem: Mapping[str, Any]) -> str:
    """The last part of a problem's type."""
    found = re.fullmatch(r"/problems/([a-z-]+)", problem["type"])
    assert found
    return found[1]
