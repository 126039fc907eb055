"""People of the town at the HTTP client, planning to collect what the catalog may hold."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.kernel import clock, deadlines
from app.kernel.actor import Role
from catalog.collection import service
from catalog.resources import service as resources
from catalog.resources.review import FilingStatement
from tests.catalog.samples import record
from tests.factories import Town

CLERK, APPROVER, MEDIATOR = Role.CLERK, Role.APPROVER, Role.MEDIATOR
CATALOG = Role.CATALOG_ADMINISTRATOR
NOON = datetime.fromisoformat("2026-09-18T12:00:00+08:00")  # a Friday; + 10 working days is 2026-10-09
Json = dict[str, Any]

WHY = {"reason": "目录中已有同一信息项"}
GROUND = {"ground": "finer_detail", "text": "现有信息只到区，本次须到社区"}


def planned(*names: str, **changes: Any) -> Json:
    """A plan as a clerk would send it."""
    return {
        "title": "婚姻登记情况调查", "population": "婚姻登记当事人", "means": "survey",
        "purpose": "掌握婚姻登记情况，安排生育服务", "business_matter": "生育服务登记",
        "legal_basis": "某条例第八条", "update_cycle": "yearly",
        "period_from": "2026-10-01", "period_until": "2026-12-31", "respondents": 4200,
        "minutes_per_respondent": 10, "items": [{"name": name, "data_type": "C"} for name in names], **changes,
    }  # fmt: skip


KNOWN, MAYBE, NEW = "公民身份号码", "登记日期", "屋面渗漏情况"


class Bureau:
    """People of the town at the HTTP client, with one published resource of the civil bureau: marriages."""

    def __init__(self, client: TestClient, session: Session, town: Town) -> None:
        self.client, self.session, self.town = client, session, town
        self._headers: dict[tuple[Any, ...], dict[str, str]] = {}
        self.marriages = self.publish()

    def publish(self, agency: str = "civil", **changes: Any) -> UUID:
        clerk, approver = self.town.actor(agency, CLERK), self.town.actor(agency, APPROVER)
        row = resources.create_draft(
            self.session, agency_id=self.town.id(agency), record=record(**changes), by=clerk
        )
        statement = FilingStatement(
            secrecy_review="保密审查〔2026〕7号", personal_information_assessment="评估3号"
        )
        resources.file(self.session, row, statement=statement, expected_version=row.version, by=approver)
        reviewer = self.town.actor("city_authority", CATALOG)
        resources.publish(self.session, row, expected_version=row.version, by=reviewer)
        self.session.flush()
        return row.id

    def call(
        self, method: str, path: str, *who: Any, body: Any = None, version: int | None = None,
        expect: int = 200, number: int = 1, accept: str = "application/json", language: str = "en",
    ) -> Any:  # fmt: skip
        agency, *roles = who
        key = (agency, tuple(roles), number, clock.now().date())
        if key not in self._headers:
            self._headers[key] = self.town.headers(agency, *roles, number=number)
        headers = {**self._headers[key], "accept": accept, "accept-language": language}
        if version is not None:
            headers["if-match"] = f'"{version}"'
        answer = self.client.request(method, f"/api/v1{path}", headers=headers, json=body)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        self.session.expire_all()
        return answer.json() if "json" in answer.headers["content-type"] else answer.text

    def drafted(self, *names: str, agency: str = "health", **changes: Any) -> Json:
        plan: Json = self.call("POST", "/plans", agency, CLERK, body=planned(*names, **changes), expect=201)
        return plan

    def filed(self, *names: str, agency: str = "health", **changes: Any) -> Json:
        plan = self.drafted(*names, agency=agency, **changes)
        done: Json = self.call("POST", f"/plans/{plan['id']}/file", agency, APPROVER, version=plan["version"])
        return done

    def findings(self, plan: Json) -> list[Json]:
        listed = self.call("GET", f"/plans/{plan['id']}/findings", "health", CLERK)
        return [self.call("GET", f"/findings/{row['id']}", "health", CLERK) for row in listed]

    def flagged(self, name: str = KNOWN) -> Json:
        """The one finding of a filed plan with this item."""
        (finding,) = self.findings(self.filed(name))
        return finding

    def act(self, finding: Json, act: str, *who: Any, body: Any = None, **how: Any) -> Any:
        """Do an act on the version seen; a success updates `finding` in place."""
        how.setdefault("version", finding["version"])
        done = self.call("POST", f"/findings/{finding['id']}/{act}", *who, body=body, **how)
        if how.get("expect", 200) == 200:
            finding.update(done)
        return done

    def plan_of(self, finding: Json) -> Json:
        plan: Json = self.call("GET", f"/plans/{finding['plan_id']}", "health", CLERK)
        return plan

    def sweep_at(self, day: str) -> None:
        """Fire what is due at noon of that day."""
        with clock.frozen(datetime.fromisoformat(f"{day}T12:00:00+08:00")):
            deadlines.sweep(self.session, service.CONSEQUENCES)
            self.session.flush()
        self.session.expire_all()

    def due(self, finding: Json) -> dict[str, str]:
        return {row["duty"]: row["due_on"] for row in finding["deadlines"]}
