"""Providers' data sources (数据源): where a gateway finds a resource's records, and with which credentials.

Owns registration and sealing. Refuses addresses that no provider's data can be at; credentials are given
to gateways alone.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate, load_pem_x509_certificates
from psycopg.conninfo import make_conninfo
from pydantic import Field, StringConstraints, TypeAdapter
from sqlalchemy import make_url, select
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from app.kernel import history, ledger
from app.kernel.actor import Actor
from app.kernel.clock import now
from app.kernel.errors import Fault, Invalid, NotFound, NotPermitted
from app.kernel.outbound import EVERYWHERE, Outbound
from app.kernel.seal import Seal
from app.kernel.text import Text
from app.kernel.wire import Wire
from catalog.resources.models import Resource
from exchange.delivery import protocol
from exchange.delivery.models import ProviderSource

Word = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256, pattern=r"^[^\x00]*$")
]
ByItem = Annotated[dict[Word, Word], Field(max_length=500)]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
HeaderValue = Annotated[str, StringConstraints(max_length=8000, pattern=r"^[\x20-\x7e]*$")]
Address = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[\x21-\x5b\x5d-\x7e]+$")]
Seconds = Annotated[float, Field(gt=0, le=300)]

# What the connection itself decides: a registered header must not.
FRAMING = {"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade"}


class HttpConnection(Wire):
    """A provider's HTTP API that answers GET with JSON records; fields as `protocol.HttpSource`."""

    kind: Literal["http"] = "http"
    url: Address
    records_path: Word | None = None
    page_parameter: Word | None = None
    size_parameter: Word | None = None
    page_size: Annotated[int, Field(ge=1, le=100_000)] = 200
    first_page: Annotated[int, Field(ge=0, le=1)] = 1
    parameters: ByItem = Field(default_factory=dict)
    columns: ByItem = Field(default_factory=dict)
    timeout_s: Seconds = 20.0
    format: Literal["json", "ndjson", "xml"] = "json"
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 64  # calls at once
    authority: Annotated[str, StringConstraints(max_length=20_000)] | None = None  # certificates, PEM

    def faults(self, *, private: bool) -> list[Fault]:
        """What is wrong with the address, or with the authority it is trusted by."""
        faults = url_faults("/url", self.url, private=private)
        if self.authority is not None:
            try:
                load_pem_x509_certificates(self.authority.encode())
            except ValueError:
                faults.append(Fault("/authority", Text("不是 PEM 证书", "not certificates in PEM")))
        return faults


class Basic(Wire):
    """A user of the provider's API (RFC 7617)."""

    user: Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f:]*$")]
    password: Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00-\x1f]*$")]


class OAuth(Wire):
    """Access tokens by client credentials (RFC 6749 §4.4); fields as `protocol.OAuthClient`."""

    token_url: Address
    client_id: Word
    client_secret: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    scope: Word | None = None


class HttpRegistration(HttpConnection):
    """The API with what authenticates the platform to it: headers, a user, a token, a client certificate."""

    headers: Annotated[dict[HeaderName, HeaderValue], Field(max_length=20)] = Field(default_factory=dict)
    basic: Basic | None = None
    oauth: OAuth | None = None
    certificate: Annotated[str, StringConstraints(max_length=20_000)] | None = None  # and its key, PEM

    def faults(self, *, private: bool) -> list[Fault]:
        faults = super().faults(private=private)
        framing = Text("该请求头由连接决定，不可登记", "this header is the connection's own")
        faults += [Fault(f"/headers/{name}", framing) for name in self.headers if name.lower() in FRAMING]
        given = {name.lower() for name in self.headers}
        ways = [way for way in ("basic", "oauth") if getattr(self, way) is not None]
        if len(ways) + ("authorization" in given) > 1:
            message = Text("只能有一种 Authorization", "only one thing can be the Authorization header")
            faults.append(Fault(f"/{ways[-1]}", message))
        if self.oauth is not None:
            faults += url_faults("/oauth/token_url", self.oauth.token_url, private=private)
        if self.certificate is not None:
            try:
                load_pem_x509_certificate(self.certificate.encode())
                load_pem_private_key(self.certificate.encode(), None)
            except (ValueError, TypeError, UnsupportedAlgorithm):
                message = Text(
                    "不是 PEM 证书和未加密的私钥", "not a certificate and its unencrypted key in PEM"
                )
                faults.append(Fault("/certificate", message))
        return faults

    @property
    def credentials(self) -> dict[str, Any]:
        """What is sealed, as `protocol.HttpSource` takes it."""
        headers = dict(self.headers)
        if self.basic is not None:
            pair = f"{self.basic.user}:{self.basic.password}".encode()
            headers["Authorization"] = f"Basic {b64encode(pair).decode()}"
        oauth = None if self.oauth is None else self.oauth.model_dump()
        every = {"headers": headers, "oauth": oauth, "certificate": self.certificate}
        return {name: value for name, value in every.items() if value}


class TableConnection(Wire):
    """A PostgreSQL table or view; fields as `protocol.TableSource`. The parts of its address stand singly,
    so that no connection option can be slipped in. `host` may be the folder of a local server's socket."""

    kind: Literal["table"] = "table"
    host: Word
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    database: Word
    user: Word
    sslmode: Literal["prefer", "require", "verify-full"] = "prefer"
    table: Word
    key: Annotated[tuple[Word, ...], Field(min_length=1, max_length=20)]
    columns: ByItem = Field(default_factory=dict)
    timeout_s: Seconds = 20.0

    def faults(self, *, private: bool) -> list[Fault]:
        """What is wrong with the address."""
        if self.host.startswith("/"):
            return [] if private else [Fault("/host", _PRIVATE)]
        return _address_faults("/host", self.host, private=private)


class TableRegistration(TableConnection):
    """The table with the password of its user."""

    password: Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")] | None = None

    @property
    def credentials(self) -> dict[str, Any]:
        return {} if self.password is None else {"password": self.password}


class FileConnection(Wire):
    """A CSV, Parquet or spreadsheet file beside the gateway; fields as `protocol.FileSource`. `path` is below the folder
    that the gateway was given for files, and cannot leave it."""

    kind: Literal["file"] = "file"
    path: Annotated[
        str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\\*?\[\]{}]*$")
    ]
    format: Literal["csv", "parquet", "xlsx"]
    sheet: Word | None = None
    encoding: Literal["utf-8", "gb18030"] = "utf-8"
    columns: ByItem = Field(default_factory=dict)
    types: Annotated[dict[Word, Literal["whole", "number", "date", "truth"]], Field(max_length=500)] = Field(
        default_factory=dict
    )

    def faults(self, *, private: bool) -> list[Fault]:
        """What is wrong with the path; that it lies in the folder is judged again where it is read."""
        return _path_faults("/path", self.path)

    @property
    def credentials(self) -> dict[str, Any]:
        return {}


class SqlConnection(Wire):
    """A table or view in a database that SQLAlchemy speaks to; fields as `protocol.SqlSource`. `url` is
    `dialect+driver://user@host:port/database` without a password and without options, which could make a driver read
    files or run statements; or `sqlite:///path` with a path below the gateway's folder for files."""

    kind: Literal["sql"] = "sql"
    url: Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00-\x20]*$")]
    table: Word
    key: Annotated[tuple[Word, ...], Field(min_length=1, max_length=20)]
    columns: ByItem = Field(default_factory=dict)
    timeout_s: Seconds = 20.0

    def faults(self, *, private: bool) -> list[Fault]:
        """What is wrong with the address."""
        rule = Text(
            "形如 mysql+pymysql://user@host:3306/database，不含口令和选项",
            "as mysql+pymysql://user@host:3306/database, without password and options",
        )
        try:
            url = make_url(self.url)
        except (ArgumentError, ValueError):
            url = None
        if url is None or url.password is not None or url.query or not _DIALECT.fullmatch(url.drivername):
            return [Fault("/url", Text("不是可用的数据库地址", "not a usable address of a database"), rule)]
        if url.get_backend_name() == "sqlite":
            if url.drivername != "sqlite" or url.host or not url.database or url.database == ":memory:":
                return [
                    Fault("/url", Text("不是可用的数据库地址", "not a usable address of a database"), rule)
                ]
            return _path_faults("/url", url.database)
        if not url.host or not _HOST.fullmatch(url.host):
            return [Fault("/url", Text("缺少主机", "it names no host"), rule)]
        return _address_faults("/url", url.host, private=private)


class SqlRegistration(SqlConnection):
    """The database with the password of its user."""

    password: Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")] | None = None

    @property
    def credentials(self) -> dict[str, Any]:
        return {} if self.password is None else {"password": self.password}


_DIALECT = re.compile(r"[a-z][a-z0-9_]{0,30}(\+[a-z][a-z0-9_]{0,30})?")
_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,255}")

AnyConnection = HttpConnection | TableConnection | FileConnection | SqlConnection
AnyRegistration = HttpRegistration | TableRegistration | FileConnection | SqlRegistration
Connection = Annotated[AnyConnection, Field(discriminator="kind")]
Registration = Annotated[AnyRegistration, Field(discriminator="kind")]

_PRIVATE = Text(
    "本平台不允许私有网络和本机地址", "addresses in private networks and on this machine are not allowed here"
)


def _path_faults(field: str, written: str) -> list[Fault]:
    """Whether a path leads out of the gateway's folder for files, as it is written."""
    path = PurePosixPath(written)
    if path.is_absolute() or ".." in path.parts:
        rule = Text("网关文件目录下的相对路径", "a path below the gateway's folder for files")
        return [Fault(field, Text("路径越出文件目录", "the path leaves the folder for files"), rule)]
    return []


def url_faults(field: str, url: str, *, private: bool) -> list[Fault]:
    """What is wrong with an address that others wrote down: of an API, a gateway, or where data is sent."""
    unusable = Text("不是可用的地址", "not a usable address")
    rule = Text("http 或 https 地址，不含凭证", "an http or https address without credentials")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return [Fault(field, unusable, rule)]
    if parts.scheme not in ("http", "https") or not host or parts.username is not None or parts.fragment:
        return [Fault(field, unusable, rule)]
    return _address_faults(field, host, private=private)


def _address_faults(field: str, host: str, *, private: bool) -> list[Fault]:
    """Judge a host as it is written; what a name resolves to is the gateway's to see."""
    return Outbound(EVERYWHERE if private else ()).host_faults(field, host)


def find_own_resource(session: Session, resource_id: UUID, /, *, by: Actor) -> Resource:
    """The resource, if it is the actor's agency's: nobody else knows where its data is. Errors: NotFound."""
    own = Resource.agency_id == by.agency_id if by.agency_id else Resource.id.is_(None)
    resource = session.scalar(select(Resource).where(Resource.id == resource_id, own))
    if resource is None:
        raise NotFound()
    return resource


def source_of(session: Session, resource: Resource) -> ProviderSource:
    """The source registered for a resource. Errors: NotFound."""
    source = session.get(ProviderSource, resource.id)
    if source is None:
        raise NotFound(Text("该资源尚未接入数据源。", "No source is connected for this resource."))
    return source


def connect_source(
    session: Session,
    resource: Resource,
    registration: AnyRegistration,
    *,
    seal: Seal,
    private: bool,
    by: Actor,
) -> ProviderSource:
    """Register where the resource's records are, replacing what was registered, credentials included:
    kept ones could be sent to an address they were not meant for.

    `private` allows addresses in private networks and on this machine. Errors: Invalid, NotPermitted.
    """
    if by.id is None:
        raise NotPermitted()
    if faults := registration.faults(private=private):
        raise Invalid(faults=faults)
    secrets, options = registration.credentials, _options(registration)
    source = session.get(ProviderSource, resource.id, with_for_update=True)
    if source is None:
        source = ProviderSource(resource_id=resource.id, version=0)
        session.add(source)
    source.kind, source.options = registration.kind, options
    source.credentials = seal.encrypt(json.dumps(secrets).encode()) if secrets else None
    source.version, source.updated_at, source.updated_by = source.version + 1, now(), by.id
    source.test_id = source.test_gateway_id = source.test_asked_at = source.test_told = None
    session.flush()
    history.record(
        session, kind="source", subject_id=resource.id, act="connect", by=by, party="owner",
        data={
            "kind": source.kind, "version": source.version, "credentials": bool(secrets),
            "options_sha256": ledger.content_hash(options).hex(),
        },
    )  # fmt: skip
    return source


def is_connected(source: ProviderSource, registration: AnyRegistration, seal: Seal) -> bool:
    """Whether just this registration stands, credentials included."""
    return source.options == _options(registration) and _secrets(source, seal) == registration.credentials


_CONNECTION: TypeAdapter[AnyConnection] = TypeAdapter(Connection)


def _options(registration: AnyRegistration) -> dict[str, Any]:
    """All of it that is no secret."""
    secret = {"headers", "basic", "oauth", "certificate", "password"}
    return registration.model_dump(mode="json", exclude=secret)


def _secrets(source: ProviderSource, seal: Seal) -> dict[str, Any]:
    return json.loads(seal.decrypt(source.credentials)) if source.credentials else {}


def connection_of(source: ProviderSource) -> AnyConnection:
    """The source without its credentials."""
    return _CONNECTION.validate_python(source.options)


def open_sources(session: Session, resource_ids: Iterable[UUID], seal: Seal) -> dict[UUID, protocol.Source]:
    """The sources of these resources as a gateway needs them, credentials opened."""
    rows = session.scalars(select(ProviderSource).where(ProviderSource.resource_id.in_(set(resource_ids))))
    return {row.resource_id: _open(row, seal) for row in rows}


def _open(source: ProviderSource, seal: Seal) -> protocol.Source:
    secrets = _secrets(source, seal)
    options = dict(source.options)
    del options["kind"]
    if source.kind == "http":
        return msgspec.convert({**options, **secrets, "kind": "http"}, protocol.HttpSource)
    if source.kind == "file":
        return msgspec.convert({**options, "kind": "file"}, protocol.FileSource)
    if source.kind == "sql":
        url = make_url(options.pop("url")).set(**secrets)
        told = {**options, "url": url.render_as_string(hide_password=False), "kind": "sql"}
        return msgspec.convert(told, protocol.SqlSource)
    dsn = make_conninfo(
        host=options.pop("host"), port=options.pop("port"), dbname=options.pop("database"),
        user=options.pop("user"), sslmode=options.pop("sslmode"), password=secrets.get("password"),
    )  # fmt: skip
    return msgspec.convert({**options, "dsn": dsn, "kind": "table"}, protocol.TableSource)
