"""HTTP to addresses that others wrote down: harvested catalogs, webhooks, key sets.

Owns which addresses may be reached. A name is resolved once, every address it has is judged, and the connection
goes to one that was judged. Refuses redirects, proxies of the environment, and answers over a size or a time.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

import httpcore2
from httpcore2 import NetworkBackend, NetworkStream

from app.kernel.errors import Fault, Problem
from app.kernel.text import Text

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], list[str]]
"""The addresses of a host name, as text. Errors: OSError."""

EVERYWHERE: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
ANSWER_LIMIT_BYTES = 1 << 20
TIMEOUT_S = 10.0
URL_LIMIT = 2000

_PRIVATE = Text(
    "本平台不允许私有网络和本机地址", "addresses in private networks and on this machine are not allowed here"
)
_NOBODY = Text("该地址不可能是他方的服务", "no service of others can be at this address")
_RULE = Text("主机名或标准写法的 IP 地址", "a host name, or an IP address as it is usually written")
_METADATA_NAMES = {"metadata", "metadata.google.internal", "metadata.goog", "instance-data"}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA = {
    ipaddress.ip_address(a) for a in ("100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254")
}


class NotReachable(Problem):
    """The other side did not answer, or not within the limits."""

    status, slug = 502, "not-reachable"
    title = Text("对方服务无法访问", "The other service cannot be reached")


class AddressRefused(NotReachable):
    """The name has an address that this deployment does not talk to; nothing was sent."""

    slug = "address-refused"
    title = Text("该地址不允许访问", "This address may not be reached")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Names of `headers` are in lower case; `body` is empty where it was written elsewhere."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


def system_resolver(host: str, port: int) -> list[str]:
    """The addresses the machine's resolver knows for a name, IPv4 and IPv6."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def networks(text: str) -> tuple[Network, ...]:
    """Networks written as "10.0.0.0/8, fd00::/8". Errors: ValueError naming the part that is none."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


@dataclass(frozen=True, slots=True)
class Outbound:
    """The guarded client of one deployment. `private` are the networks it may reach although they are not
    public; link-local, metadata, multicast and unspecified addresses are never reached."""

    private: tuple[Network, ...] = ()
    resolve: Resolve = system_resolver

    def faults(self, field: str, url: str) -> list[Fault]:
        """What is wrong with a URL as it is written; what its name resolves to is judged when it is called."""
        parts = _split(url)
        if parts is None:
            rule = Text("http 或 https 网址，不带账号", "an http or https URL, without an account")
            return [Fault(field, Text("不是可访问的网址", "not a URL that can be called"), rule)]
        return self.host_faults(field, parts[1])

    def host_faults(self, field: str, host: str) -> list[Fault]:
        """What is wrong with a host as it is written."""
        name = host.lower().rstrip(".")
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            # Resolvers also read 2130706433, 0x7f.1 and 0177.0.0.1 as addresses, and URLs may hide one in %31.
            numeric = re.fullmatch(r"(0x[0-9a-f]*|\d+)(\.(0x[0-9a-f]*|\d+))*", name)
            if numeric or name in _METADATA_NAMES or not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", name):
                return [Fault(field, _NOBODY, _RULE)]
            local = name == "localhost" or name.endswith(".localhost")
            return self._judge(field, ipaddress.ip_address("127.0.0.1")) if local else []
        return self._judge(field, address)

    def _judge(self, field: str, address: Address) -> list[Fault]:
        routed = _as_routed(address)
        if routed in _METADATA or routed.is_link_local or routed.is_multicast or routed.is_unspecified:
            return [Fault(field, _NOBODY, _RULE)]
        allowed = routed.is_global or any(routed in network for network in self.private)
        return [] if allowed else [Fault(field, _PRIVATE)]

    def addresses(self, host: str, port: int) -> list[str]:
        """What a name resolves to, now and once. Errors: AddressRefused where any of it may not be reached."""
        try:
            found = self.resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise NotReachable(
                Text("找不到主机 {host}。", "No such host: {host}.").with_(host=host)
            ) from error
        for text in found:
            if faults := self._judge("/url", ipaddress.ip_address(text.partition("%")[0])):
                raise AddressRefused(
                    Text("{host}：{why}。", "{host}: {why}.").with_(host=host, why=faults[0].message)
                )
        return found

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        into: BinaryIO | None = None,
        limit_bytes: int = ANSWER_LIMIT_BYTES,
        timeout_s: float = TIMEOUT_S,
    ) -> Answer:
        """One request and its answer, whatever its status; a redirect is an answer like any other.

        `timeout_s` bounds the whole exchange but for the resolver. The body goes `into` a file, if one is given.
        Errors: AddressRefused, NotReachable.
        """
        parts = _split(url)
        if parts is None:
            raise AddressRefused(faults=self.faults("/url", url))
        scheme, host, port, target = parts
        address = httpcore2.URL(scheme=scheme, host=host, port=port, target=target)
        name = f"[{host}]" if ":" in host else host
        usual = port == (443 if scheme == "https" else 80)
        sent = {
            "Host": name if usual else f"{name}:{port}",
            "User-Agent": "Zhengtong",
            "Accept-Encoding": "identity",
            **(headers or {}),
        }
        guard = _Guard(self, time.monotonic() + timeout_s)
        try:
            with (
                httpcore2.ConnectionPool(
                    ssl_context=_tls(), max_connections=1, network_backend=guard
                ) as pool,
                pool.stream(method, address, headers=list(sent.items()), content=content) as answer,
            ):
                return _received(answer, guard, into, limit_bytes)
        except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError) as error:
            message = Text("{host} 没有应答（{why}）。", "{host} did not answer ({why}).")
            raise NotReachable(message.with_(host=host, why=type(error).__name__)) from error


def _received(answer: httpcore2.Response, guard: _Guard, into: BinaryIO | None, limit: int) -> Answer:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
    if headers.get("content-encoding", "identity") != "identity":  # it could unpack to anything
        raise NotReachable(Text("对方的应答是压缩的。", "The answer is compressed, which was not asked for."))
    size, kept = 0, bytearray()
    for chunk in answer.iter_stream():
        size += len(chunk)
        if size > limit:
            raise NotReachable(Text("应答超过 {n} 字节。", "The answer is over {n} bytes.").with_(n=limit))
        guard.left(None)
        if into is None:
            kept += chunk
        else:
            into.write(chunk)
    return Answer(answer.status, headers, bytes(kept))


class _Guard(NetworkBackend):
    """Connects to addresses that were judged, and ends what lasts past the deadline."""

    def __init__(self, outbound: Outbound, deadline: float) -> None:
        self.outbound, self.deadline = outbound, deadline
        self._plain = httpcore2.SyncBackend()

    def left(self, timeout: float | None) -> float:
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise httpcore2.ReadTimeout("over the time for the whole exchange")
        return remaining if timeout is None else min(timeout, remaining)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> NetworkStream:
        failed: Exception = httpcore2.ConnectError("the name has no address")
        for address in self.outbound.addresses(host, port):
            try:
                stream = self._plain.connect_tcp(
                    address, port, self.left(timeout), local_address, socket_options
                )
                return _Timed(stream, self)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
        raise failed


class _Timed(NetworkStream):
    """A stream whose every wait counts against the deadline: a byte now and then is no answer."""

    def __init__(self, stream: NetworkStream, guard: _Guard) -> None:
        self._stream, self._guard = stream, guard

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._guard.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._guard.left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, self._guard.left(timeout))
        return _Timed(secured, self._guard)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@lru_cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _split(url: str) -> tuple[str, str, int, str] | None:
    """Scheme, host, port and target of a URL that can be called; None for any other."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = parts.hostname or ""
        host = host if ":" in host else host.encode("idna").decode()
    except (ValueError, UnicodeError):
        return None
    odd = parts.username is not None or parts.password is not None or len(url) > URL_LIMIT
    if parts.scheme not in ("http", "https") or not host or odd:
        return None
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    return parts.scheme, host, port, f"{target}?{query}" if query else target


def _as_routed(address: Address) -> Address:
    """The IPv4 address that an IPv6 one carries (mapped, 6to4, NAT64), else itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address
