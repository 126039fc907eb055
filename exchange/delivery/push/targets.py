"""Where parts of a push go: the requester's endpoint, or a bucket by the S3 API. One part is one request.

Owns the words of the request and its signature (AWS Signature Version 4). A part is taken where the answer is 2xx;
nothing else counts as taken.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from app.kernel.outbound import Outbound
from exchange.delivery.protocol import HttpTarget, S3Target
from exchange.delivery.upstream import Upstream

ANSWER_LIMIT_BYTES = 64 << 10
CONNECTIONS = 2
MEDIA_TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8; header=present"}


@dataclass(frozen=True, slots=True)
class Sending:
    """One body to hand over: `name` is its object's in a bucket, `headers` tell an endpoint what it is."""

    name: str
    body: bytes
    media_type: str
    headers: Mapping[str, str]


class Target:
    """One subscription's target. Belongs to one event loop."""

    def __init__(self, target: HttpTarget | S3Target, outbound: Outbound) -> None:
        self._target = target
        address = target.url if isinstance(target, HttpTarget) else target.endpoint
        tls = ssl.create_default_context(cadata=target.authority) if target.authority else None
        self._upstream = Upstream(
            address, outbound=outbound, tls=tls, connections=CONNECTIONS, limit_bytes=ANSWER_LIMIT_BYTES
        )

    async def send(self, sending: Sending, at: datetime, timeout_s: float) -> int:
        """The status that it was answered with. Errors: as `Upstream.ask`."""
        request = (
            self._posted(sending, self._target)
            if isinstance(self._target, HttpTarget)
            else self._put(sending, self._target, at)
        )
        return (await self._upstream.ask(request, timeout_s)).status

    def close(self) -> None:
        self._upstream.close()

    def _posted(self, sending: Sending, target: HttpTarget) -> bytes:
        parts = urlsplit(target.url)
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (
            f"?{parts.query}" if parts.query else ""
        )
        digest = b64encode(hashlib.sha256(sending.body).digest()).decode()
        told = {
            "Content-Type": sending.media_type,
            "Content-Digest": f"sha-256=:{digest}:",  # RFC 9530
            **sending.headers,
            **target.headers,
        }
        return self._upstream.written("POST", path, told, sending.body)

    def _put(self, sending: Sending, target: S3Target, at: datetime) -> bytes:
        path = object_path(target, sending.name)
        told = {
            "Content-Type": sending.media_type,
            **signed(
                target,
                "PUT",
                urlsplit(target.endpoint).netloc,
                path,
                hashlib.sha256(sending.body).hexdigest(),
                at,
            ),
        }
        return self._upstream.written("PUT", path, told, sending.body)


def object_path(target: S3Target, name: str) -> str:
    """The object's path, by path-style addressing, as it is both sent and signed."""
    base = urlsplit(target.endpoint).path.rstrip("/")
    return quote(f"{base}/{target.bucket}/{target.prefix}{name}", safe="/-_.~")


def signed(
    target: S3Target, method: str, host: str, path: str, body_sha256: str, at: datetime
) -> dict[str, str]:
    """The headers that sign a request without a query (AWS Signature Version 4, service s3)."""
    moment = at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{moment[:8]}/{target.region}/s3/aws4_request"
    told = {"host": host, "x-amz-content-sha256": body_sha256, "x-amz-date": moment}
    names = ";".join(told)
    canonical = "\n".join(
        [method, path, "", *(f"{name}:{value}" for name, value in told.items()), "", names, body_sha256]
    )
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{target.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return {
        "x-amz-content-sha256": body_sha256,
        "x-amz-date": moment,
        "Authorization": (
            f"AWS4-HMAC-SHA256 Credential={target.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        ),
    }
