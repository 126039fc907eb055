"""What the centre and its gateways say to each other: grants, the table of agreements, receipts.

Owns the wire shapes of `/api/v1/gateway/*` and of the grant; both sides import them. Holds no behaviour
but reading and writing them.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct, field

GRANT_TYPE = "grant+jwt"  # the JWT's `typ`
GRANT_AUDIENCE = "gateway"
STATE_PATH = "/api/v1/gateway/state"
CHANGES_PATH = "/api/v1/gateway/changes"
RECEIPTS_PATH = "/api/v1/gateway/receipts"
HEALTH_PATH = "/api/v1/gateway/health"
LEASES_PATH = "/api/v1/gateway/leases"
PUSHES_PATH = "/api/v1/gateway/pushes"
TESTED_PATH = "/api/v1/gateway/source_tests"
RECEIPT_HEADER = "Zhengtong-Receipt"
RECEIPTS_PER_BATCH = 500


class Confirmation(Struct, frozen=True, kw_only=True):
    """The key that a grant is bound to, by its thumbprint (RFC 7638, RFC 9449 §6)."""

    jkt: str


class Grant(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The claims of a grant (授权凭证), signed by the centre. `exp` and `iat` are seconds since 1970.

    `purpose` is one of the agreed ones; `items`, where given, narrow what the agreement covers. What `agreement_hash`
    is of binds the gateway; `scope` and `limits` tell the client what it says.
    """

    iss: str
    aud: str
    sub: str  # the client's id
    agency: str  # the client's agency, by id
    jti: str
    iat: int
    exp: int
    agreement: str
    agreement_hash: str
    purpose: str
    method: str
    items: tuple[str, ...] | None = None
    scope: dict[str, str] | None = None  # CQL2 by resource; left out where it is long
    limits: dict[str, int | str] | None = None  # as the agreement's quota
    cnf: Confirmation | None = None


class OAuthClient(Struct, frozen=True, kw_only=True):
    """How an access token for the provider's API is got (client credentials, RFC 6749 §4.4)."""

    token_url: str
    client_id: str
    client_secret: str
    scope: str | None = None


class HttpSource(Struct, frozen=True, kw_only=True, tag="http", tag_field="kind"):
    """A provider's HTTP API that answers GET with records.

    `records_path` names the member that holds the array, `data/records` where it lies deeper; None where the body is
    the array itself.
    With `page_parameter`, pages are asked for from `first_page` on until one has fewer than `page_size`
    records; the provider must serve pages of that size. `parameters` maps an item to the provider's query
    parameter for it: an agreed or asked-for `item = value` is then passed on, and still tested here.
    `headers`, `oauth` and `certificate` (our certificate and its key, PEM) are the credentials; `authority` is
    the provider's own certificate authority. Of XML, `records_path` names the elements below the root. `columns` names
    the field of an item where it differs from the item's code.
    """

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    records_path: str | None = None
    page_parameter: str | None = None
    size_parameter: str | None = None
    page_size: int = 200
    first_page: int = 1
    parameters: dict[str, str] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    timeout_s: float = 20.0
    format: Literal["json", "ndjson", "xml"] = "json"
    concurrency: int = 64  # calls at once
    oauth: OAuthClient | None = None
    certificate: str | None = None
    authority: str | None = None


class TableSource(Struct, frozen=True, kw_only=True, tag="table", tag_field="kind"):
    """A PostgreSQL table or view. `key` orders the rows, so that pages are stable.

    `columns` names the column of an item where it differs from the item's code.
    """

    dsn: str
    table: str  # `schema.table` or `table`
    key: tuple[str, ...]
    columns: dict[str, str] = field(default_factory=dict)
    timeout_s: float = 20.0


class FileSource(Struct, frozen=True, kw_only=True, tag="file", tag_field="kind"):
    """A file in the folder that the gateway keeps for them; `path` is below it. `types` says what the texts of a column
    mean. The first row of CSV and spreadsheets names the columns; an empty cell is null."""

    path: str
    format: Literal["csv", "parquet", "xlsx"]
    sheet: str | None = None
    encoding: Literal["utf-8", "gb18030"] = "utf-8"
    columns: dict[str, str] = field(default_factory=dict)
    types: dict[str, Literal["whole", "number", "date", "truth"]] = field(default_factory=dict)


class SqlSource(Struct, frozen=True, kw_only=True, tag="sql", tag_field="kind"):
    """A table or view in a database that SQLAlchemy speaks to, by its URL with the password; the database of SQLite is a
    file in the folder that the gateway keeps for them. `key` orders the rows; `columns` as of a table."""

    url: str
    table: str  # `schema.table` or `table`
    key: tuple[str, ...]
    columns: dict[str, str] = field(default_factory=dict)
    timeout_s: float = 20.0


Source = HttpSource | TableSource | FileSource | SqlSource


class AgreementEntry(Struct, frozen=True, kw_only=True):
    """One agreement as a gateway needs it. Only `in_force` lets anything through.

    `terms` is the canonical JSON that `version_hash` was taken of; `mask_key` is hex, at least 16 bytes.
    """

    agreement_id: str
    version_hash: str
    state: str
    terms: msgspec.Raw
    mask_key: str
    sources: dict[str, Source]  # by resource id
    shared: bool = False  # other gateways serve it too: its quota is leased in parts


class HttpTarget(Struct, frozen=True, kw_only=True, tag="http", tag_field="kind"):
    """The requester's endpoint: parts are sent by POST, and taken where it answers 2xx. `headers` are the credentials."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    authority: str | None = None


class S3Target(Struct, frozen=True, kw_only=True, tag="s3", tag_field="kind"):
    """A bucket that speaks the S3 API, addressed by path; parts are objects below `prefix`."""

    endpoint: str
    bucket: str
    prefix: str
    region: str
    access_key: str
    secret_key: str
    authority: str | None = None


class Subscription(Struct, frozen=True, kw_only=True):
    """推送订阅: what a gateway is to deliver by itself. `mode` is all agreed records each time, or after the first time
    those that changed. Its receipts stand under `grant_id`."""

    id: str
    agreement_id: str
    resource_id: str
    grant_id: str
    client_id: str
    agency_id: str
    purpose: str
    mode: Literal["full", "changes"]
    form: Literal["ndjson", "csv"]
    every_s: float
    target: HttpTarget | S3Target
    items: tuple[str, ...] | None = None
    filter: str | None = None


class PushPlace(Struct, frozen=True, kw_only=True):
    """How far a subscription has come: `runs` are finished, `mark` is the provider's own word for the moment up to which
    every change was delivered, under terms and columns of which `basis` is the digest."""

    subscription_id: str
    runs: int = 0
    mark: str = ""
    basis: str = ""
    finished_at: str = ""  # RFC 3339, UTC
    problem: str | None = None  # slug of what hinders it now


class PushPlaces(Struct, frozen=True, kw_only=True):
    """What a gateway knows of every subscription it was told of, and asks to hold."""

    places: list[PushPlace]


class PushLeases(Struct, frozen=True, kw_only=True):
    """Those that it holds from now on for so many seconds, and how far they have come as far as the centre knows."""

    seconds: float
    places: list[PushPlace]


class SourceTest(Struct, frozen=True, kw_only=True):
    """A source that the gateway is to try: whether a few records can be fetched, and which of `items` they carry."""

    id: str
    source: Source
    items: tuple[str, ...]


class SourceTested(Struct, frozen=True, kw_only=True):
    """What a test found: names and numbers, no values. `problem` is the slug of what went wrong, said in `zh` and `en`."""

    id: str
    records: int
    carried: list[str]
    missing: list[str]
    duration_ms: float
    problem: str | None = None
    zh: str = ""
    en: str = ""


class GatewayState(Struct, frozen=True, kw_only=True):
    """The whole table of one gateway. `time_zone` says where a quota's day begins and ends. One that is not
    `approved` has no agreements."""

    version: int
    approved: bool = True
    agreements: list[AgreementEntry]
    revoked_grants: list[str] = field(default_factory=list)  # jti, kept until the grant has expired
    subscriptions: list[Subscription] = field(default_factory=list)
    tests: list[SourceTest] = field(default_factory=list)
    time_zone: str = "Asia/Shanghai"


Result = Literal["delivered", "refused", "failed", "interrupted"]


class Call(Struct, frozen=True, kw_only=True, gc=False, tag="call"):
    """The intent of a receipt: who asked for what, under which agreement. Durable before the first byte.

    `rows_reserved` is the most rows the call may deliver; they count as used until the outcome is known.
    """

    id: str
    at: str  # RFC 3339, UTC
    day: str  # of the quota, in the centre's time zone
    agreement_id: str
    agreement_hash: str
    resource_id: str
    client_id: str
    agency_id: str
    grant_id: str
    purpose: str
    method: str
    items: tuple[str, ...]
    rows_reserved: int = 0


class Outcome(Struct, frozen=True, kw_only=True, gc=False):
    """How a call ended. Of an `interrupted` call (the gateway died) only the reservation is known."""

    result: Result
    status: int  # of the HTTP response; 0 where the call was interrupted
    problem: str | None = None  # slug of the problem that ended it
    rows: int = 0
    bytes: int = 0
    sha256: str | None = None  # of the bytes sent
    duration_ms: float = 0.0


class Receipt(Struct, frozen=True, kw_only=True, gc=False, tag="receipt"):
    """A call and its outcome (回执), as shipped to the centre; `call.id` makes shipping idempotent."""

    call: Call
    outcome: Outcome


class ReceiptBatch(Struct, frozen=True, kw_only=True):
    receipts: list[Receipt]


class Acknowledgement(Struct, frozen=True, kw_only=True):
    """The ids of receipts that the centre holds durably; the gateway may forget them."""

    acknowledged: list[str]


class GatewayHealth(Struct, frozen=True, kw_only=True):
    """What a gateway says of itself: calls by result and problem since it started, receipts that the centre does
    not hold yet, hosts of providers that it leaves alone for now."""

    release: str
    started_at: str  # RFC 3339, UTC
    calls_running: int
    receipts_waiting: int
    calls: dict[str, int]  # delivered, refused, failed
    problems: dict[str, int]  # by slug
    paused_providers: list[str]


class LeaseWanted(Struct, frozen=True, kw_only=True):
    """A gateway holds so much of an agreement's quota of a day and wants so much more; 0 to give the rest back.
    `sequence` grows with each message: one that arrives late is not taken."""

    agreement_id: str
    day: str
    sequence: int
    held_calls: int
    held_rows: int
    calls: int
    rows: int


class Lease(Struct, frozen=True, kw_only=True):
    """What the gateway holds of the day in all, what it has used included, and its part of calls at one moment."""

    calls: int
    rows: int
    concurrent: int | None
