"""What a system says to the centre and to a gateway, as flows: generators of requests that do none of them.

Owns tokens, proofs of possession (RFC 9449), retries and the reading of answers, once for sync and async.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import msgspec
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from app.kernel.dpop import WideHeaders

Key = OKPKey | ECKey | RSAKey
Form = Literal["ndjson", "csv"]

ATTEMPTS = 5
LONGEST_WAIT_S = 60.0  # a longer Retry-After is the caller's to wait for
ASSERTION_LIFETIME_S = 60
MARGIN_S = 20.0  # a token is renewed so long before its end
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MEDIA_TYPES: dict[Form, str] = {"ndjson": "application/x-ndjson", "csv": "text/csv"}
RECEIPT_PATIENCE_S = 60.0
RECEIPT_POLL_S = 0.5
_PASSING = frozenset({429, 502, 503, 504})
_HEADERS = WideHeaders(algorithms=["EdDSA", "ES256", "PS256"])

T = TypeVar("T")


class Refused(Exception):
    """The centre or the gateway answered with a problem (RFC 9457): `problem` is its body, `status` its status."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        faults = (f"{fault.get('field')}: {fault.get('message')}" for fault in problem.get("errors", ()))
        told = [str(problem.get("detail") or problem.get("title") or status), *faults]
        super().__init__("；".join(told))

    @property
    def slug(self) -> str:
        """The stable name of the problem's type, such as `quota-used-up`."""
        return str(self.problem.get("type", "")).rpartition("/")[2]


class Unreachable(Exception):
    """Neither centre nor gateway could be reached, or broke off, each time that was tried."""


class NotAsReceipted(Exception):
    """What arrived is not what the receipt at the centre says was delivered."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: records of one resource under an agreement, for one of its purposes.

    `items` (codes) and `where` (CQL2 text) narrow what was agreed; neither can widen it.
    """

    agreement: str
    resource: str
    purpose: str
    items: tuple[str, ...] | None = None
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant (授权凭证) and the address it opens for each resource."""

    token: str = field(repr=False)
    scheme: str
    expires_at: datetime
    addresses: dict[str, str]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds, then go on."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Streamed:
    """Send the request and hand the body of a 200 to `take`, piece by piece; any other body is read whole."""

    request: httpx2.Request
    take: Callable[[bytes], None]


Step = httpx2.Request | Streamed | Pause
Flow = Generator[Step, httpx2.Response | None, T]


@dataclass(frozen=True, slots=True)
class DataPage:
    """One delivery: its receipt's id, what arrived, and whether more follows."""

    receipt: str
    rows: int
    bytes: int
    sha256: str
    is_last: bool


class RowCounter:
    """Rows in a stream of NDJSON or CSV (RFC 4180: a line end inside quotes is none), fed in pieces."""

    def __init__(self, form: Form) -> None:
        self.lines = 0
        self._is_csv = form == "csv"
        self._in_quotes = False

    def feed(self, piece: bytes) -> None:
        if not self._is_csv:
            self.lines += piece.count(b"\n")
            return
        for position, part in enumerate(piece.split(b'"')):
            if position:
                self._in_quotes = not self._in_quotes
            if not self._in_quotes:
                self.lines += part.count(b"\n")

    @property
    def rows(self) -> int:
        return max(0, self.lines - self._is_csv)


class Flows:
    """One system at one centre. Holds its key, its token and its grants, nothing of a connection."""

    def __init__(
        self, url: str, client_id: str, key: Key, *, bound: bool = True, locale: str = "zh-CN"
    ) -> None:
        """`key` signs as `client_id`; its `kid` must be the registered one (default: its thumbprint). With `bound`
        tokens and grants are bound to it and worth nothing to a thief."""
        self._url = url.rstrip("/")
        self._client_id = client_id
        self._key = (
            key if key.kid else type(key).import_key({**key.as_dict(private=True), "kid": key.thumbprint()})
        )
        self._bound = bound
        self._locale = locale
        self._issuer = ""
        self._token = ""
        self._token_until = float("-inf")
        self._grants: dict[tuple[str, str], Grant] = {}

    # --- The centre

    def grant(self, agreement: str, purpose: str) -> Flow[Grant]:
        """A grant that is good for a while yet. Errors: Refused, Unreachable."""
        held = self._grants.get((agreement, purpose))
        if held is None or (held.expires_at - datetime.now(UTC)).total_seconds() < MARGIN_S:
            body = {"agreement_id": agreement, "purpose": purpose}
            told = yield from self._asked("POST", "/api/v1/grants", body)
            held = Grant(
                token=str(told["token"]), scheme=str(told["token_type"]), expires_at=datetime.fromisoformat(told["expires_at"]),
                addresses={str(found["resource_id"]): str(found["url"]) for found in told["resources"]},
            )  # fmt: skip
            self._grants[agreement, purpose] = held
        return held

    def receipt(self, id: str) -> Flow[dict[str, Any]]:
        """The receipt as the centre holds it, waited for while it is on its way from the gateway."""
        give_up_at = time.monotonic() + RECEIPT_PATIENCE_S
        while True:
            try:
                return (yield from self._asked("GET", f"/api/v1/receipts/{id}"))
            except Refused as refused:
                if refused.status != httpx2.codes.NOT_FOUND or time.monotonic() > give_up_at:
                    raise
            yield Pause(RECEIPT_POLL_S)

    def note_uses(self, agreement: str, uses: Sequence[Mapping[str, str]]) -> Flow[list[str]]:
        """Note what was used of what was received, up to 200 at once; the ids of the notes."""
        body = {"uses": [dict(use) for use in uses]}
        path = f"/api/v1/agreements/{agreement}/receipt_uses"
        noted = yield from self._asked("POST", path, body, once=uuid4().hex)
        return list(noted["uses"])

    def require_receipted(self, page: DataPage) -> Flow[None]:
        """Nothing where the centre's receipt says the same of this delivery. Errors: NotAsReceipted."""
        held = yield from self.receipt(page.receipt)
        said = (held.get("result"), held.get("rows"), held.get("bytes"), held.get("sha256"))
        if said != ("delivered", page.rows, page.bytes, page.sha256 if page.bytes else None):
            raise NotAsReceipted(f"{page.receipt}: {said}")

    # --- The gateway

    def page(
        self, wanted: Wanted, form: Form, take: Callable[[bytes], None], again: Callable[[], None], *, offset: int, limit: int | None
    ) -> Flow[DataPage]:  # fmt: skip
        """Fetch records from `offset` on, at most `limit` (default: what is agreed for one call), as one delivery.

        The body goes to `take`; where it breaks off, `again` is called to forget it, and it is fetched anew.
        Errors: Refused, Unreachable.
        """
        digest, counter, length = hashlib.sha256(), RowCounter(form), 0

        def taken(piece: bytes) -> None:
            nonlocal length
            digest.update(piece)
            counter.feed(piece)
            length += len(piece)
            take(piece)

        def anew() -> None:
            nonlocal digest, counter, length
            digest, counter, length = hashlib.sha256(), RowCounter(form), 0
            again()

        for is_renewed in (False, True):
            grant = yield from self.grant(wanted.agreement, wanted.purpose)
            address = _address(grant, wanted, offset, limit)

            def build(grant: Grant = grant, address: httpx2.URL = address) -> Streamed:
                return Streamed(self._data_request(grant, address, form), taken)

            answer = yield from self._sent(build, anew)
            if answer.status_code != httpx2.codes.UNAUTHORIZED or is_renewed:
                break
            self._grants.pop((wanted.agreement, wanted.purpose), None)
        _require_ok(answer)
        most = int(answer.headers.get("zhengtong-row-limit", "0"))
        return DataPage(
            answer.headers["zhengtong-receipt"], counter.rows, length, digest.hexdigest(), counter.rows < most
        )

    def make_extract(self, wanted: Wanted, form: str, compression: str, key: str) -> Flow[dict[str, Any]]:
        """Have an extract made; its manifest. The same `key` at a second try makes no second one. Errors: Refused,
        Unreachable."""
        query = {"form": form, "compression": compression}

        def build(grant: Grant) -> httpx2.Request:
            address = _extract_address(grant, wanted, query)
            headers = self._possession(grant.scheme, grant.token, "POST", str(address))
            return httpx2.Request("POST", address, headers={"Idempotency-Key": key, **headers})

        answer = yield from self._granted(wanted, build)
        told: dict[str, Any] = answer.json()
        return told

    def fetch_extract(
        self, wanted: Wanted, id: str, sha256: str, held: Callable[[], int], take: Callable[[bytes], None]
    ) -> Flow[None]:
        """What is missing of an extract's file, from the byte that is `held` on; where it breaks off it goes on there.
        Errors: Refused, Unreachable."""

        def build(grant: Grant) -> Streamed:
            address = _extract_address(grant, wanted, {}, id)
            headers = {
                "Range": f"bytes={held()}-", "If-Range": f'"{sha256}"', "Accept-Encoding": "identity",
                **self._possession(grant.scheme, grant.token, "GET", str(address)),
            }  # fmt: skip
            return Streamed(httpx2.Request("GET", address, headers=headers), take)

        yield from self._granted(wanted, build)

    def _granted(
        self, wanted: Wanted, build: Callable[[Grant], httpx2.Request | Streamed]
    ) -> Flow[httpx2.Response]:
        """The gateway's answer under a grant, which is renewed where it is no longer taken. Errors: Refused."""
        for is_renewed in (False, True):
            grant = yield from self.grant(wanted.agreement, wanted.purpose)
            answer = yield from self._sent(lambda grant=grant: build(grant))  # type: ignore[misc]
            if answer.status_code != httpx2.codes.UNAUTHORIZED or is_renewed:
                break
            self._grants.pop((wanted.agreement, wanted.purpose), None)
        _require_ok(answer)
        return answer

    def _data_request(self, grant: Grant, address: httpx2.URL, form: Form) -> httpx2.Request:
        headers = {"Accept": MEDIA_TYPES[form], "Accept-Encoding": "identity"}
        return httpx2.Request(
            "GET", address, headers=headers | self._possession(grant.scheme, grant.token, "GET", str(address))
        )

    # --- Both

    def _possession(self, scheme: str, token: str, method: str, address: str) -> dict[str, str]:
        """The headers that present a token: with a proof of the key where it is bound to it."""
        headers = {"Authorization": f"{scheme} {token}", "Accept-Language": self._locale}
        if scheme.lower() == "dpop":
            headers["DPoP"] = self._proof(method, address, token)
        return headers

    def _proof(self, method: str, address: str, token: str | None = None) -> str:
        claims: dict[str, Any] = {
            "jti": secrets.token_urlsafe(16), "htm": method, "htu": address.partition("?")[0], "iat": int(time.time()),
        }  # fmt: skip
        if token is not None:
            claims["ath"] = urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
        header = {"typ": "dpop+jwt", "alg": _algorithm(self._key), "jwk": self._key.as_dict(private=False)}
        return jwt.encode(header, claims, self._key, registry=_HEADERS)

    def _asked(
        self, method: str, path: str, body: object = None, *, once: str | None = None
    ) -> Flow[dict[str, Any]]:
        """What the centre answers, a new token got where the old one is no longer taken. `once` is the key under which
        it does what is asked once, however often it is sent."""
        for is_renewed in (False, True):
            yield from self._authenticate()
            scheme = "DPoP" if self._bound else "Bearer"

            def build(scheme: str = scheme) -> httpx2.Request:
                headers = self._possession(scheme, self._token, method, self._issuer + path)
                if once is not None:
                    headers = headers | {"Idempotency-Key": once}
                return httpx2.Request(method, self._url + path, headers=headers, json=body)

            answer = yield from self._sent(build)
            if answer.status_code != httpx2.codes.UNAUTHORIZED or is_renewed:
                break
            self._token_until = float("-inf")
        _require_ok(answer)
        told: dict[str, Any] = answer.json()
        return told

    def _authenticate(self) -> Flow[None]:
        if time.monotonic() < self._token_until:
            return
        if not self._issuer:
            metadata = f"{self._url}/.well-known/oauth-authorization-server"
            answer = yield from self._sent(lambda: httpx2.Request("GET", metadata))
            _require_ok(answer)
            self._issuer = str(answer.json()["issuer"]).rstrip("/")

        def build() -> httpx2.Request:
            address = f"{self._issuer}/oauth/token"
            headers = {"Accept-Language": self._locale} | (
                {"DPoP": self._proof("POST", address)} if self._bound else {}
            )
            form = {
                "grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": self._assertion(), "scope": "pull",
            }  # fmt: skip
            return httpx2.Request("POST", f"{self._url}/oauth/token", data=form, headers=headers)

        answer = yield from self._sent(build)
        _require_ok(answer)
        told = answer.json()
        self._token, self._token_until = (
            told["access_token"],
            time.monotonic() + told["expires_in"] - MARGIN_S,
        )

    def _assertion(self) -> str:
        issued_at = int(time.time())
        claims = {
            "iss": self._client_id, "sub": self._client_id, "aud": self._issuer, "jti": secrets.token_urlsafe(16),
            "iat": issued_at, "exp": issued_at + ASSERTION_LIFETIME_S,
        }  # fmt: skip
        return jwt.encode(
            {"alg": _algorithm(self._key), "kid": self._key.kid}, claims, self._key, registry=_HEADERS
        )

    def _sent(
        self, build: Callable[[], httpx2.Request | Streamed], again: Callable[[], None] = lambda: None
    ) -> Flow[httpx2.Response]:
        """The answer to a request, which is built and sent anew while what hinders it may pass."""
        for attempt in count(1):
            wait = min(0.2 * 2**attempt, LONGEST_WAIT_S)
            try:
                answer = yield build()
            except httpx2.TransportError as error:
                if attempt == ATTEMPTS:
                    raise Unreachable(f"{type(error).__name__}: {error}") from error
                again()
            else:
                assert answer is not None
                wait = _retry_after(answer, wait)
                if answer.status_code not in _PASSING or attempt == ATTEMPTS or wait > LONGEST_WAIT_S:
                    return answer
            yield Pause(wait)
        raise AssertionError("count() does not end")


def _address(grant: Grant, wanted: Wanted, offset: int, limit: int | None) -> httpx2.URL:
    try:
        url = httpx2.URL(grant.addresses[wanted.resource])
    except KeyError:
        raise Refused(404, {"detail": f"{wanted.resource} ∉ {wanted.agreement}"}) from None
    query = {"purpose": wanted.purpose, "offset": str(offset)}
    if wanted.items is not None:
        query["items"] = ",".join(wanted.items)
    if wanted.where is not None:
        query["filter"] = wanted.where
    if limit is not None:
        query["limit"] = str(limit)
    return url.copy_with(params=query)


def _extract_address(
    grant: Grant, wanted: Wanted, query: dict[str, str], id: str | None = None
) -> httpx2.URL:
    """Where an extract of what is wanted is made, or, with an id, where its file is."""
    data = _address(grant, wanted, 0, None)
    if id is not None:
        return data.copy_with(path=f"{data.path.partition('/v1/data/')[0]}/v1/extracts/{id}/data", query=None)
    return data.copy_with(
        path=data.path.replace("/v1/data/", "/v1/extracts/"), params={**data.params, **query}
    )


def _require_ok(answer: httpx2.Response) -> None:
    if answer.is_success:
        return
    try:
        problem = msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.DecodeError:
        problem = {
            "detail": f"{answer.request.method} {urlsplit(str(answer.request.url)).path} → {answer.status_code}"
        }
    raise Refused(answer.status_code, problem)


def _retry_after(answer: httpx2.Response, otherwise: float) -> float:
    told = answer.headers.get("retry-after", "")
    return float(told) if told.isdigit() else otherwise


def _algorithm(key: Key) -> str:
    match key:
        case OKPKey():
            return "EdDSA"
        case ECKey():
            return "ES256"
        case RSAKey():
            return "PS256"
