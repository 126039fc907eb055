"""Whether a call may be served, and what of: the grant, the agreement in force and the quota, in that order.

Owns the gateway's refusals and the agreements it knows. Asks nobody: everything it needs is in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import ValidationError

from app.kernel.errors import Fault, Invalid, NotFound, NotPermitted, NotSignedIn, TooMany, Unavailable
from app.kernel.text import Text
from exchange.compiler import CompiledTerms, OutsideTerms, compile_question, compile_terms
from exchange.delivery.asked import DataRequest, Question
from exchange.delivery.journal import Usage
from exchange.delivery.pages import Fetch
from exchange.delivery.protocol import (
    GRANT_AUDIENCE,
    GRANT_TYPE,
    AgreementEntry,
    GatewayState,
    Grant,
    Subscription,
)
from exchange.delivery.quota import Bounds
from exchange.delivery.sources import Provider, Providers
from exchange.scope import ScopeInvalid
from exchange.terms import Method, Quota, Terms, terms_hash

log = logging.getLogger(__name__)

GIVEN_BACK_WITHIN_S = 20  # parts of a quota that other gateways hold and do not use
KNOWN_GRANTS = 20_000
KNOWN_CALLS = 500  # prepared forms kept per agreement
RECORDS = (Method.API, Method.BULK)  # methods whose records leave
SERVED = (*RECORDS, Method.VERIFICATION)  # to whoever comes with a grant
TOLD = (*SERVED, Method.PUSH)  # of which gateways are told
_ALGORITHMS = ["EdDSA", "Ed25519"]


class GrantInvalid(NotSignedIn):
    slug = "grant-invalid"
    title = Text("授权凭证无效或已过期", "The grant is not valid, or has expired")


class AgreementNotInForce(NotPermitted):
    slug = "agreement-not-in-force"
    title = Text("共享协议当前不生效", "The agreement is not in force")


class AgreementChanged(NotPermitted):
    slug = "agreement-changed"
    title = Text("共享协议已变更，请重新申请授权凭证", "The agreement has changed: ask for a new grant")


class PurposeNotAgreed(NotPermitted):
    slug = "purpose-not-agreed"
    title = Text("用途不在约定之内", "The purpose is not an agreed one")


class MethodNotAgreed(NotPermitted):
    slug = "method-not-agreed"
    title = Text("共享方式与约定不符", "The method is not the agreed one")


class ItemNotAgreed(NotPermitted):
    slug = "item-not-agreed"
    title = Text("所请求的信息项不在约定之内", "An item was asked for that is not agreed")


class QuotaUsedUp(TooMany):
    slug = "quota-used-up"
    title = Text("已超出约定的用量", "The agreed quota is used up")


class OutOfHours(NotPermitted):
    slug = "out-of-hours"
    title = Text("不在约定的服务时段内", "Outside the agreed hours")


class SourceMissing(Unavailable):
    slug = "source-missing"
    title = Text("提供方尚未接入该资源的数据源", "The provider has not connected a source for this resource")


@dataclass(frozen=True, slots=True)
class Admission:
    """A form of call that may be served: how to fetch its records, which carry `items`.

    It stands as long as the table that gave it; what changes with time and use is tested on each call.
    """

    asked: DataRequest
    agreement: Agreement
    provider: Provider
    compiled: CompiledTerms
    fetch: Fetch

    @property
    def items(self) -> tuple[str, ...]:
        return self.compiled.items


class GrantVerifier:
    """Reads grants and remembers those whose signature held. Expiry is tested anew on every call."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._keys: KeySet | None = None
        self._known: dict[str, Grant] = {}
        self.misses_a_key = True  # a grant named a key that is not in the set: time to fetch it again

    def use_keys(self, jwks: dict[str, object]) -> None:
        """Take the centre's public keys (RFC 7517); grants signed with others stop working."""
        self._keys = KeySet.import_key_set(jwks)  # type: ignore[arg-type]
        self._known.clear()
        self.misses_a_key = False

    def verify(self, token: str, at: datetime) -> Grant:
        """The grant that a token is. Raises GrantInvalid: forged, expired, not ours, not a grant."""
        grant = self._known.get(token)
        if grant is None:
            grant = self._read(token)
            if len(self._known) >= KNOWN_GRANTS:
                self._known.clear()
            self._known[token] = grant
        if grant.exp <= at.timestamp():
            raise GrantInvalid(Text("授权凭证已过期", "The grant has expired"))
        return grant

    def _read(self, token: str) -> Grant:
        if self._keys is None:
            raise GrantInvalid(Text("尚未取得中心公钥", "The centre's keys are not known yet"))
        try:
            decoded = jwt.decode(token, self._keys, algorithms=_ALGORITHMS)
            grant = msgspec.convert(decoded.claims, Grant)
        except (JoseError, ValueError, msgspec.ValidationError) as error:
            self.misses_a_key = self.misses_a_key or getattr(error, "error", "") == "invalid_key_id"
            raise GrantInvalid() from None
        if (
            decoded.header.get("typ") != GRANT_TYPE
            or grant.iss != self._issuer
            or grant.aud != GRANT_AUDIENCE
        ):
            raise GrantInvalid()
        return grant


class Agreement:
    """One agreement as this gateway enforces it: its terms, compiled once per form of call."""

    def __init__(self, entry: AgreementEntry, terms: Terms, providers: Providers) -> None:
        self.id = entry.agreement_id
        self.hash = entry.version_hash
        self.is_in_force = entry.state == "in_force"
        self.terms = terms
        self.purposes = frozenset(purpose.code for purpose in terms.purposes)
        self.quota = terms.quota
        self.bounds = Bounds(
            terms.quota.calls_per_day, terms.quota.rows_per_day, terms.quota.concurrent_calls
        )
        self.is_shared = entry.shared
        self.valid_from, self.valid_until = terms.valid_from.isoformat(), terms.valid_until.isoformat()
        self._mask_key = bytes.fromhex(entry.mask_key)
        self._providers: dict[UUID, Provider] = {
            UUID(resource_id): providers.provider_of(source) for resource_id, source in entry.sources.items()
        }
        self._prepared: dict[
            tuple[str, tuple[str, ...] | None, str | None], tuple[Provider, CompiledTerms, Fetch]
        ] = {}

    @classmethod
    def of(cls, entry: AgreementEntry, providers: Providers) -> Self:
        """Read an entry. Raises ValueError where its terms are not those that its hash was taken of."""
        terms = Terms.model_validate_json(bytes(entry.terms))
        if terms_hash(terms) != entry.version_hash:
            raise ValueError("the terms do not have the agreement's hash")
        return cls(entry, terms, providers)

    def prepare(
        self, resource_id: str, items: tuple[str, ...] | None, narrowed_by: str | None
    ) -> tuple[Provider, CompiledTerms, Fetch]:
        """Where the records are that a call asks for, what may leave of them, and how to fetch that.

        Raises NotFound, SourceMissing, ItemNotAgreed, Invalid.
        """
        key = resource_id, items, narrowed_by
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = self._compile(resource_id, items, narrowed_by)
            if len(self._prepared) >= KNOWN_CALLS:
                self._prepared.clear()
            self._prepared[key] = prepared
        return prepared

    def _compile(
        self, resource_id: str, items: tuple[str, ...] | None, narrowed_by: str | None
    ) -> tuple[Provider, CompiledTerms, Fetch]:
        provider, compiled = self._compiled(
            resource_id,
            lambda resource: compile_terms(
                self.terms, resource, mask_key=self._mask_key, items=items, narrowed_by=narrowed_by
            ),
        )
        return provider, compiled, provider.prepare(compiled)

    def prepare_question(self, resource_id: str, values: Mapping[str, object]) -> Fetch:
        """How to fetch a record that has all of `values`; not kept, for values differ from call to call. Raises as
        `prepare`."""
        provider, compiled = self._compiled(
            resource_id, lambda resource: compile_question(self.terms, resource, values)
        )
        return provider.prepare(compiled)

    def _compiled(
        self, resource_id: str, compile_for: Callable[[UUID], CompiledTerms]
    ) -> tuple[Provider, CompiledTerms]:
        try:
            resource = UUID(resource_id)
        except ValueError:
            raise NotFound() from None
        if self.terms.resource(resource) is None:
            raise NotFound(Text("协议不包含该信息资源", "The agreement does not cover this resource"))
        try:
            compiled = compile_for(resource)
        except OutsideTerms as error:
            message = Text("未约定提供或不得用作条件", "Not agreed, or not to be filtered on")
            names = "、".join(error.codes)
            raise ItemNotAgreed(
                Text("信息项“{names}”未约定", "Not agreed: {names}").with_(names=names),
                faults=[Fault(code, message) for code in error.codes],
            ) from None
        except ScopeInvalid as error:
            raise Invalid(
                faults=[Fault("filter", error.message, Text("OGC CQL2 条件", "OGC CQL2"))]
            ) from None
        provider = self._providers.get(resource)
        if provider is None:
            raise SourceMissing()
        return provider, compiled


class AgreementTable:
    """The agreements that one state of the centre puts in force. Replaced whole, never changed."""

    def __init__(
        self, state: GatewayState, providers: Providers, before: AgreementTable | None = None
    ) -> None:
        """Agreements that are as they were in the table `before` are not compiled again."""
        self.version = state.version
        self.approved = state.approved
        self._zone = ZoneInfo(state.time_zone)
        self.subscriptions = {subscription.id: subscription for subscription in state.subscriptions}
        self._revoked = frozenset(state.revoked_grants)
        self._entries: dict[str, AgreementEntry] = {}
        self._by_id: dict[str, Agreement] = {}
        self._day, self._day_from, self._day_until = "", 0.0, 0.0
        for entry in state.agreements:
            try:
                known = before is not None and before._entries.get(entry.agreement_id) == entry
                self._by_id[entry.agreement_id] = (
                    before._by_id[entry.agreement_id] if before and known else Agreement.of(entry, providers)
                )
                self._entries[entry.agreement_id] = entry
            except (ValueError, ValidationError) as error:  # one unusable agreement must not stop the others
                log.error("agreement %s cannot be used: %s", entry.agreement_id, error)

    def today(self, at: datetime) -> str:
        """The quota's day."""
        moment = at.timestamp()
        if not self._day_from <= moment < self._day_until:
            day = at.astimezone(self._zone).date()
            self._day = day.isoformat()
            self._day_from = datetime.combine(day, datetime.min.time(), self._zone).timestamp()
            tomorrow = datetime.combine(day + timedelta(days=1), datetime.min.time(), self._zone)
            self._day_until = tomorrow.timestamp()
        return self._day

    def admit(self, grant: Grant, request: DataRequest, at: datetime) -> Admission:
        """Check a form of call against everything agreed; the problem raised names the first thing that fails."""
        agreement = self._in_force(grant, request.agreement_id, at)
        if agreement.terms.method not in RECORDS:
            raise MethodNotAgreed()
        _check_purpose(agreement, grant, request.purpose)
        items = _narrow(request.items, grant.items)
        prepared = agreement.prepare(request.resource_id, items, request.narrowed_by)
        return Admission(request, agreement, *prepared)

    def admit_question(self, grant: Grant, question: Question, at: datetime) -> Fetch:
        """The same for a question that is answered yes or no: how to fetch a record that has the values asked for."""
        agreement = self._in_force(grant, question.agreement_id, at)
        if agreement.terms.method is not Method.VERIFICATION:
            raise MethodNotAgreed()
        _check_purpose(agreement, grant, question.purpose)
        _narrow(tuple(question.values), grant.items)
        return agreement.prepare_question(question.resource_id, question.values)

    def admit_push(self, subscription: Subscription, at: datetime) -> Admission:
        """The same for what this gateway delivers by itself."""
        agreement = self._by_id.get(subscription.agreement_id)
        if agreement is None:
            raise NotFound()
        if not agreement.is_in_force:
            raise AgreementNotInForce()
        self._check_term(agreement, at)
        if agreement.terms.method is not Method.PUSH:
            raise MethodNotAgreed()
        if subscription.purpose not in agreement.purposes:
            raise PurposeNotAgreed()
        asked = DataRequest(
            agreement.id,
            subscription.resource_id,
            subscription.purpose,
            subscription.items,
            subscription.filter,
        )
        return Admission(
            asked, agreement, *agreement.prepare(asked.resource_id, asked.items, asked.narrowed_by)
        )

    def require_rows(
        self, admission: Admission, rows: int, at: datetime, usage: Usage, within: Bounds
    ) -> None:
        """Nothing where so many records may be delivered now. Raises as `limit`."""
        self._check_term(admission.agreement, at)
        self._left(admission.agreement, rows, at, usage, within)

    def limit(self, admission: Admission, at: datetime, usage: Usage, within: Bounds) -> int:
        """The most records that one call may fetch now. Raises AgreementNotInForce, OutOfHours, QuotaUsedUp, Invalid."""
        agreement = admission.agreement
        self._check_term(agreement, at)
        return self._left(agreement, admission.asked.limit, at, usage, within)

    def agreement(self, agreement_id: str) -> Agreement:
        """One that was admitted."""
        return self._by_id[agreement_id]

    def require_quota(self, agreement: Agreement, at: datetime, usage: Usage, within: Bounds) -> None:
        """Nothing where one more question may be asked. Raises QuotaUsedUp, OutOfHours."""
        self._left(agreement, None, at, usage, within)

    def _left(
        self, agreement: Agreement, asked: int | None, at: datetime, usage: Usage, within: Bounds
    ) -> int:
        quota = agreement.quota
        if quota.hours is not None and not _within(quota.hours, at.astimezone(self._zone)):
            raise OutOfHours(Text("约定的服务时段为 {h}", "Served {h} by agreement").with_(h=quota.hours))
        if within.concurrent is not None and usage.running >= within.concurrent:
            message = Text("同时调用已达 {n} 个", "{n} calls are under way").with_(n=within.concurrent)
            raise QuotaUsedUp(message, headers={"Retry-After": "1"})
        return _row_limit(quota, asked, usage, within, self._day_until - at.timestamp())

    def _in_force(self, grant: Grant, agreement_id: str, at: datetime) -> Agreement:
        if grant.jti in self._revoked:
            raise GrantInvalid(Text("授权凭证已撤销", "The grant has been revoked"))
        agreement = self._by_id.get(agreement_id)
        if agreement is None or grant.agreement != agreement_id:
            raise NotFound()
        _check_agreement(agreement, grant)
        self._check_term(agreement, at)
        return agreement

    def _check_term(self, agreement: Agreement, at: datetime) -> None:
        if not agreement.valid_from <= self.today(at) <= agreement.valid_until:
            message = Text("有效期为 {a} 至 {b}", "Valid from {a} to {b}")
            raise AgreementNotInForce(message.with_(a=agreement.valid_from, b=agreement.valid_until))


def _check_agreement(agreement: Agreement, grant: Grant) -> None:
    if not agreement.is_in_force:
        raise AgreementNotInForce()
    if agreement.hash != grant.agreement_hash:
        raise AgreementChanged()
    if grant.method != agreement.terms.method:
        raise MethodNotAgreed()


def _check_purpose(agreement: Agreement, grant: Grant, purpose: str) -> None:
    if purpose != grant.purpose or purpose not in agreement.purposes:
        raise PurposeNotAgreed(
            Text("用途“{p}”不是本授权凭证所载用途", "“{p}” is not the purpose of this grant").with_(p=purpose)
        )


def _narrow(asked: tuple[str, ...] | None, granted: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """What the call asks for within what the grant covers; the terms bound both."""
    if asked is None or granted is None:
        return granted if asked is None else asked
    if beyond := [code for code in asked if code not in granted]:
        message = Text("授权凭证未包含", "Not covered by the grant")
        names = "、".join(beyond)
        raise ItemNotAgreed(
            Text("信息项“{names}”未授权", "Not granted: {names}").with_(names=names),
            faults=[Fault(code, message) for code in beyond],
        )
    return asked


def _within(hours: str, at: datetime) -> bool:
    """Is the moment in the window? One that ends before it begins goes over midnight."""
    begin, end = hours.split("-")
    moment = f"{at:%H:%M}"
    return begin <= moment < end if begin <= end else moment >= begin or moment < end


def _row_limit(quota: Quota, asked: int | None, usage: Usage, within: Bounds, next_day_s: float) -> int:
    if asked is not None and asked > quota.rows_per_call:
        rule = Text("每次至多 {n} 行", "At most {n} rows a call").with_(n=quota.rows_per_call)
        raise Invalid(faults=[Fault("limit", Text("超出单次行数", "More rows than agreed"), rule)])
    left = within.rows - usage.rows
    if usage.calls < within.calls and (1 if asked is None else asked) <= left:
        return min(quota.rows_per_call, left) if asked is None else asked
    is_part = within.calls < quota.calls_per_day or within.rows < quota.rows_per_day
    headers = {"Retry-After": str(GIVEN_BACK_WITHIN_S if is_part else max(1, int(next_day_s)))}
    if usage.calls >= within.calls:
        detail = Text("今日调用次数已用完（{n} 次）", "Today's {n} calls are used up").with_(
            n=quota.calls_per_day
        )
        raise QuotaUsedUp(detail, headers=headers)
    detail = Text("今日记录数仅余 {n} 行", "{n} rows are left for today").with_(n=max(0, left))
    raise QuotaUsedUp(detail, headers=headers)
