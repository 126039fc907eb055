"""REST of delivery: providers' sources, grants, receipts and use."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import Field
from sqlalchemy.orm import Session

from app.identity.cases import AgencyRef, Asked, guarded
from app.identity.permissions import permit, permitted
from app.kernel.actor import Actor, Role, Scope
from app.kernel.db import DbSession
from app.kernel.idempotency import CreatingRoute
from app.kernel.text import Locale
from app.kernel.wire import Label, Page, Paging, ShortText, Wire, page
from catalog.resources.models import Resource
from exchange.agreements.models import Agreement
from exchange.agreements.service import find_agreement
from exchange.delivery import declared, grants, providers, receipts, source_tests
from exchange.delivery.models import GrantIssued, ProviderSource, ReceiptRow
from exchange.delivery.protocol import Result
from exchange.parties import names_of
from exchange.terms import Code, Quota

router = APIRouter(prefix="/api/v1", tags=["delivery"], route_class=CreatingRoute)

permit(
    "source.connect",
    "source.propose",
    "source.read",
    "source.test",
    roles=(Role.CLERK, Role.CATALOG_ADMINISTRATOR),
    scope=Scope.CLERK,
)
permit("grant.issue", roles=(), scope=Scope.PULL)
permit("grant.revoke", roles=(Role.APPROVER, Role.MEDIATOR, Role.SECURITY_ADMINISTRATOR), scope=Scope.PULL)
permit(
    "receipt.list",
    "receipt.read",
    "agreement.use",
    roles=(Role.CLERK, Role.APPROVER, Role.MEDIATOR, Role.AUDIT_ADMINISTRATOR),
    scope=Scope.PULL,
)

# --- Providers' sources


class Found(Wire):
    """What a test call found; fields as `protocol.SourceTested`."""

    records: int
    carried: list[str]
    missing: list[str]
    duration_ms: float
    problem: str | None


class TestOut(Wire):
    """The last test of the source as it is registered now. `passed`: records came, and they carried every item."""

    asked_at: datetime
    gateway: str
    outcome: source_tests.Outcome
    message: Label
    found: Found | None

    @classmethod
    def of(cls, test: source_tests.LastTest) -> TestOut:
        found = None if test.told is None else Found.model_validate(test.told, from_attributes=True)
        return cls(
            asked_at=test.asked_at, gateway=test.gateway, outcome=test.outcome, message=Label.of(test.message),
            found=found,
        )  # fmt: skip


class SourceOut(Wire):
    """Where a resource's records are. Credentials are never told, only whether there are any."""

    resource_id: UUID
    connection: providers.Connection
    has_credentials: bool
    version: int
    updated_at: datetime
    test: TestOut | None

    @classmethod
    def of(cls, session: Session, source: ProviderSource) -> SourceOut:
        test = source_tests.last_test(session, source)
        return cls(
            resource_id=source.resource_id, connection=providers.connection_of(source),
            has_credentials=source.credentials is not None, version=source.version, updated_at=source.updated_at,
            test=None if test is None else TestOut.of(test),
        )  # fmt: skip


@router.put("/resources/{id}/source", operation_id="source.connect")
def connect_source(
    asked: Annotated[Asked[Resource], guarded("source.connect", providers.find_own_resource)],
    body: providers.Registration,
    request: Request,
) -> SourceOut:
    """接入数据源: register where one's own resource is fetched from; replaces what was registered, whole."""
    source = providers.connect_source(
        asked.session, asked.case, body, seal=request.app.state.keys.seal,
        private=request.app.state.settings.private_sources, by=asked.by,
    )  # fmt: skip
    return SourceOut.of(asked.session, source)


@router.post("/resources/{id}/source/test", operation_id="source.test")
def test_source(
    asked: Annotated[Asked[Resource], guarded("source.test", providers.find_own_resource)],
) -> SourceOut:
    """测试数据源: the gateway that serves the resource fetches a few records and tells how many came and which items
    they carry, within seconds; read the source again for it. No value is told."""
    return SourceOut.of(asked.session, source_tests.ask_for_test(asked.session, asked.case, by=asked.by))


class Declaration(Wire):
    """A provider's OpenAPI document; `address` is where it was found, for one that names no server."""

    document: dict[str, Any]
    address: providers.Address | None = None


class ProposalOut(Wire):
    """One operation of the document as a source, ready to be registered once credentials are added; fields as
    `declared.Proposal`."""

    operation: str
    title: str | None
    connection: providers.HttpConnection | None
    carried: list[str]
    missing: list[str]
    beyond: list[str]
    credentials: list[str]
    hindrances: list[str]

    @classmethod
    def of(cls, proposal: declared.Proposal, locale: Locale) -> ProposalOut:
        told = {name: getattr(proposal, name) for name in cls.model_fields}
        return cls(**{**told, "hindrances": [why.in_(locale) for why in proposal.hindrances]})


class ProposalsOut(Wire):
    """Those that carry most of the resource's items first."""

    proposals: list[ProposalOut]


@router.post("/resources/{id}/source/proposals", operation_id="source.propose")
def propose_source(
    asked: Annotated[Asked[Resource], guarded("source.propose", providers.find_own_resource)],
    body: Declaration,
    request: Request,
) -> ProposalsOut:
    """解读接口文档: read the provider's OpenAPI document (2.0, 3.0, 3.1) and propose each GET operation as the source
    of the resource. Registers nothing and calls nobody."""
    items = {item["code"]: item["name"] for item in asked.case.record.get("items", ())}
    found = declared.propose(body.document, items, body.address)
    return ProposalsOut(proposals=[ProposalOut.of(proposal, request.state.locale) for proposal in found])


@router.get("/resources/{id}/source", operation_id="source.read")
def read_source(
    asked: Annotated[Asked[Resource], guarded("source.read", providers.find_own_resource)],
) -> SourceOut:
    """The source of one's own resource, without its credentials."""
    return SourceOut.of(asked.session, providers.source_of(asked.session, asked.case))


# --- Grants


class GrantWanted(Wire):
    """For which agreement and agreed purpose; `items` narrow what the agreement covers."""

    agreement_id: UUID
    purpose: ShortText
    items: Annotated[tuple[Code, ...], Field(min_length=1, max_length=100)] | None = None


class DataAddressOut(Wire):
    """A resource's data URL, ready to be called with the grant, and the items its records carry."""

    resource_id: UUID
    url: str
    items: list[str]


class GrantOut(Wire):
    """A grant. `token` goes into the Authorization header of each data call, under the scheme `token_type`; it is
    told this once. One of type DPoP is bound to the key of the token it was asked for with."""

    id: UUID
    token: str
    token_type: grants.Scheme
    agreement_id: UUID
    purpose: str
    expires_at: datetime
    gateway: str
    quota: Quota
    resources: list[DataAddressOut]


class RevokedOut(Wire):
    """A grant that gateways refuse from their next word from the centre on."""

    id: UUID
    agreement_id: UUID
    revoked_at: datetime


@router.post("/grants", operation_id="grant.issue", status_code=201)
def issue_grant(
    body: GrantWanted, session: DbSession, actor: Annotated[Actor, permitted("grant.issue")], request: Request
) -> GrantOut:
    """申请授权凭证: a client of the requester asks to fetch data under an agreement, for one purpose."""
    granted = grants.issue_grant(
        session, request.app.state.tokens, agreement_id=body.agreement_id, purpose=body.purpose, items=body.items,
        central=request.app.state.settings.gateway_url, by=actor,
    )  # fmt: skip
    return GrantOut(
        id=granted.id, token=granted.token, token_type=granted.token_type, agreement_id=granted.agreement_id, purpose=granted.purpose,
        expires_at=granted.expires_at, gateway=granted.gateway, quota=granted.quota,
        resources=[DataAddressOut(**asdict(address)) for address in granted.resources],
    )  # fmt: skip


@router.post("/grants/{id}/revoke", operation_id="grant.revoke")
def revoke_grant(
    asked: Annotated[Asked[GrantIssued], guarded("grant.revoke", grants.find_grant)],
) -> RevokedOut:
    """撤销授权凭证: end a grant before it expires."""
    grants.revoke_grant(asked.session, asked.case, by=asked.by)
    assert asked.case.revoked_at is not None
    return RevokedOut(
        id=asked.case.id, agreement_id=asked.case.agreement_id, revoked_at=asked.case.revoked_at
    )


# --- Receipts and use


class ReceiptOut(Wire):
    """回执: one call and its outcome; `id` finds its entry in the ledger, which attests `content`: the SHA-256 of its
    canonical form (RFC 8785) is the entry's. `resource_id` and `items` are as
    the caller wrote them. Rows of an interrupted call are the most that can have left."""

    id: UUID
    at: datetime
    received_at: datetime
    agreement_id: UUID
    agreement_hash: str
    resource_id: str
    client_id: UUID
    agency: AgencyRef
    grant_id: UUID
    gateway_id: UUID
    purpose: str
    method: str
    items: list[str]
    result: Result
    status: int
    problem: str | None
    rows: int
    bytes: int
    sha256: str | None
    duration_ms: float
    content: dict[str, Any]


class ChosenReceipts(Paging):
    """Whose receipts, and which."""

    agreement_id: UUID
    result: Result | None = None


class UseOut(Wire):
    """Calls that were admitted, rows and bytes that left with them, and calls that were refused."""

    calls: int
    rows: int
    bytes: int
    refused: int


class AgreementUse(Wire):
    """How an agreement has been used beside what it allows, as far as receipts have arrived."""

    agreement_id: UUID
    quota: Quota
    total: UseOut
    day: date
    today: UseOut
    by_purpose: dict[str, UseOut]
    last_at: datetime | None


@router.get("/receipts", operation_id="receipt.list")
def list_receipts(
    session: DbSession,
    actor: Annotated[Actor, permitted("receipt.list")],
    chosen: Annotated[ChosenReceipts, Query()],
) -> Page[ReceiptOut]:
    """The receipts of an agreement, newest first; for both sides, the authority and its audit."""
    agreement = find_agreement(session, chosen.agreement_id, by=actor)
    rows = receipts.list_receipts(
        session, agreement, result=chosen.result, before=chosen.before, limit=chosen.fetch
    )
    agency = AgencyRef.of(agreement.requester_id, names_of(session, {agreement.requester_id}))
    return page(rows, chosen.limit, lambda shown: [_receipt_out(row, agency) for row in shown])


@router.get("/receipts/{id}", operation_id="receipt.read")
def read_receipt(
    asked: Annotated[Asked[ReceiptRow], guarded("receipt.read", receipts.find_receipt)],
) -> ReceiptOut:
    """One receipt."""
    names = names_of(asked.session, {asked.case.agency_id})
    return _receipt_out(asked.case, AgencyRef.of(asked.case.agency_id, names))


def _receipt_out(row: ReceiptRow, agency: AgencyRef) -> ReceiptOut:
    own = {
        name: getattr(row, name)
        for name in ReceiptOut.model_fields.keys() - {"agency", "received_at", "content"}
    }
    return ReceiptOut(agency=agency, received_at=row.created_at, content=row.content(), **own)


@router.get("/agreements/{id}/use", operation_id="agreement.use")
def use_of_agreement(
    asked: Annotated[Asked[Agreement], guarded("agreement.use", find_agreement)],
) -> AgreementUse:
    """用量: calls and rows in all, today, and by purpose."""
    use = receipts.use_of(asked.session, asked.case)
    body: dict[str, Any] = asdict(use)
    return AgreementUse(agreement_id=asked.case.id, quota=asked.case.typed.quota, **body)
