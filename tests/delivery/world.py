"""A gateway process between a small centre and a provider, all over real HTTP on the loopback interface.

The centre here speaks `exchange.delivery.protocol` and remembers what it was told; that the real one speaks
the same is tested with the real one.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import msgspec
from joserfc import jwt
from joserfc.jwk import KeySet, OKPKey

from app.kernel.clock import new_id
from exchange.delivery.protocol import (
    AgreementEntry,
    GatewayHealth,
    GatewayState,
    Lease,
    LeaseWanted,
    PushLeases,
    PushPlace,
    PushPlaces,
    Receipt,
    ReceiptBatch,
    Source,
    Subscription,
)
from exchange.terms import Terms, canonical, terms_hash

PATIENCE_S = 20.0
MASK_KEY = "5a" * 32


def make_key(name: str) -> OKPKey:
    return OKPKey.generate_key("Ed25519", parameters={"kid": name, "use": "sig"})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests read what was recorded."""

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))


class _Server:
    """A threaded HTTP server on a free port."""

    def __init__(self, handler: type[_Handler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Centre(_Server):
    """Grants, agreements and receipts, in memory."""

    def __init__(self) -> None:
        self.key = make_key("centre")
        self.gateway_key = make_key("gateway")
        self.entries: dict[str, AgreementEntry] = {}
        self.revoked: list[str] = []
        self.subscriptions: list[Subscription] = []
        self.places: dict[str, PushPlace] = {}  # how far pushes have come
        self.version = 1
        self.confirmed = 0  # the version that the gateway last said it had
        self.receipts: dict[str, Receipt] = {}
        self.contradictions: list[str] = []  # receipts that came again and told another story
        self.deliveries = 0  # receipts received, repeated ones included
        self.health: GatewayHealth | None = None
        self.leases: list[LeaseWanted] = []
        self.is_silent = False
        self.is_approved = True
        self.takes_receipts = True
        self.changed = threading.Condition()
        super().__init__(self._handler())

    def agree(
        self, terms: Terms, sources: dict[str, Source], state: str = "in_force", *, shared: bool = False
    ) -> str:
        """Put an agreement in force and return its id once the gateway knows."""
        agreement_id = str(new_id())
        self.set(agreement_id, terms, sources, state, shared=shared)
        return agreement_id

    def set(
        self,
        agreement_id: str,
        terms: Terms,
        sources: dict[str, Source],
        state: str = "in_force",
        *,
        shared: bool = False,
    ) -> None:
        self.entries[agreement_id] = AgreementEntry(
            agreement_id=agreement_id,
            version_hash=terms_hash(terms),
            state=state,
            terms=msgspec.Raw(canonical(terms)),
            mask_key=MASK_KEY,
            sources=sources,
            shared=shared,
        )
        self.publish()

    def publish(self) -> None:
        """Let the gateway know, and wait until it does."""
        with self.changed:
            self.version += 1
            wanted = self.version
            assert self.changed.wait_for(lambda: self.confirmed >= wanted, PATIENCE_S), (
                "the gateway did not ask"
            )

    def lease(self, body: bytes) -> Lease:
        """What is wanted and no more, so that a gateway has to ask again for each call."""
        wanted = msgspec.json.decode(body, type=LeaseWanted)
        self.leases.append(wanted)
        quota = json.loads(bytes(self.entries[wanted.agreement_id].terms))["quota"]
        calls = min(wanted.held_calls + wanted.calls, quota["calls_per_day"])
        rows = min(wanted.held_rows + wanted.rows, quota["rows_per_day"])
        return Lease(calls=calls, rows=rows, concurrent=quota.get("concurrent_calls"))

    def receipt(self, receipt_id: str) -> Receipt:
        """A receipt, once it has arrived."""
        with self.changed:
            assert self.changed.wait_for(lambda: receipt_id in self.receipts, PATIENCE_S), (
                "no receipt arrived"
            )
            return self.receipts[receipt_id]

    def hold(self, body: bytes) -> PushLeases:
        """Let the gateway go on with every push, and remember how far it says they are."""
        with self.changed:
            for place in msgspec.json.decode(body, type=PushPlaces).places:
                known = self.places.get(place.subscription_id)
                if known is None or known.runs <= place.runs:
                    self.places[place.subscription_id] = place
            self.changed.notify_all()
            return PushLeases(seconds=60.0, places=list(self.places.values()))

    def until_pushed(self, subscription_id: str, holds: Callable[[PushPlace], bool]) -> PushPlace:
        """How far a push is, once that is so."""
        with self.changed:
            found = self.changed.wait_for(
                lambda: subscription_id in self.places and holds(self.places[subscription_id]), PATIENCE_S
            )
            assert found, self.places.get(subscription_id)
            return self.places[subscription_id]

    def grant(self, agreement_id: str, **claims: Any) -> str:
        """A grant of the agreement; `key`, `typ` and any claim can be set to something else."""
        entry = self.entries[agreement_id]
        terms = json.loads(bytes(entry.terms))
        issued_at = int(datetime.now(UTC).timestamp())
        key, typ = claims.pop("key", self.key), claims.pop("typ", "grant+jwt")
        content = {
            "iss": self.url,
            "aud": "gateway",
            "sub": "permits-app",
            "agency": "housing",
            "jti": str(new_id()),
            "iat": issued_at,
            "exp": issued_at + 300,
            "agreement": agreement_id,
            "agreement_hash": entry.version_hash,
            "purpose": terms["purposes"][0]["code"],
            "method": terms["method"],
        } | claims
        header = {"alg": "Ed25519", "typ": typ, "kid": key.kid}
        return jwt.encode(header, content, key, algorithms=["Ed25519"])

    def _handler(self) -> type[_Handler]:
        centre = self

        class Handler(_Handler):
            def do_GET(self) -> None:
                if centre.is_silent:
                    self.close_connection = True
                    return
                url = urlsplit(self.path)
                if url.path == "/.well-known/jwks.json":
                    self.reply(200, json.dumps(KeySet([centre.key]).as_dict(private=False)).encode())
                    return
                if url.path == "/api/v1/gateway/changes":
                    self.reply(404)  # this centre tells nobody: gateways ask
                    return
                assert url.path == "/api/v1/gateway/state"
                assert self.headers["Authorization"] == "Bearer good"
                with centre.changed:
                    known = int(parse_qs(url.query).get("since", ["0"])[0])
                    centre.confirmed = known
                    centre.changed.notify_all()
                    state = GatewayState(
                        version=centre.version,
                        approved=centre.is_approved,
                        agreements=list(centre.entries.values()),
                        revoked_grants=list(centre.revoked),
                        subscriptions=list(centre.subscriptions),
                    )
                    if known == centre.version:
                        self.reply(304)
                    else:
                        self.reply(200, msgspec.json.encode(state))

            def do_POST(self) -> None:
                body = self.body()
                if centre.is_silent:
                    self.close_connection = True
                elif self.path == "/oauth/token":
                    form = parse_qs(body.decode())
                    assertion = jwt.decode(
                        form["client_assertion"][0], centre.gateway_key, algorithms=["Ed25519"]
                    )
                    assert assertion.claims["sub"] == "gateway-1"
                    assert assertion.claims["aud"] == centre.url
                    self.reply(200, b'{"access_token":"good","token_type":"Bearer","expires_in":300}')
                elif self.path == "/api/v1/gateway/health":
                    centre.health = msgspec.json.decode(body, type=GatewayHealth)
                    self.reply(204)
                elif self.path == "/api/v1/gateway/leases":
                    self.reply(200, msgspec.json.encode(centre.lease(body)))
                elif self.path == "/api/v1/gateway/pushes":
                    self.reply(200, msgspec.json.encode(centre.hold(body)))
                elif not centre.takes_receipts:
                    self.reply(503)
                else:
                    batch = msgspec.json.decode(body, type=ReceiptBatch)
                    with centre.changed:
                        centre.deliveries += len(batch.receipts)
                        for receipt in batch.receipts:
                            if centre.receipts.setdefault(receipt.call.id, receipt) != receipt:
                                centre.contradictions.append(receipt.call.id)
                        centre.changed.notify_all()
                    ids = [receipt.call.id for receipt in batch.receipts]
                    self.reply(200, json.dumps({"acknowledged": ids}).encode())

        return Handler


Behaviour = Callable[[_Handler, dict[str, list[str]]], None]


class ProviderSystem(_Server):
    """A provider's HTTP API; each test gives it a path and what that path does."""

    def __init__(self) -> None:
        self.paths: dict[str, Behaviour] = {}
        self.asked: list[str] = []  # every path and query, in order
        super().__init__(self._handler())

    def serves(self, path: str, behaviour: Behaviour) -> str:
        """The URL at which the provider now behaves so."""
        self.paths[path] = behaviour
        return self.url + path

    def _handler(self) -> type[_Handler]:
        provider = self

        class Handler(_Handler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                url = urlsplit(self.path)
                provider.paths[url.path](self, parse_qs(url.query))

        return Handler


class Receiver(_Server):
    """A requester's endpoint or bucket: takes what comes, or answers something else as long as it is told to."""

    def __init__(self) -> None:
        self.taken: list[
            tuple[str, dict[str, str], bytes]
        ] = []  # path, headers, body of what was answered 200
        self.refuses_with: int | None = None
        self.arrived = threading.Condition()
        self.attempts = 0
        super().__init__(self._handler())

    def rows(self) -> dict[int, dict[str, Any]]:
        """The last word on every record, as a receiver that keeps its own copy has it."""
        bodies = {headers["idempotency-key"]: body for _, headers, body in self.taken}
        return {row["n"]: row for body in bodies.values() for row in map(json.loads, body.splitlines())}

    def until(self, holds: Callable[[], bool]) -> None:
        with self.arrived:
            assert self.arrived.wait_for(holds, PATIENCE_S), self.taken[-3:]

    def _handler(self) -> type[_Handler]:
        receiver = self

        class Handler(_Handler):
            def do_POST(self) -> None:
                self._take()

            def do_PUT(self) -> None:
                self._take()

            def _take(self) -> None:
                body = self.body()
                with receiver.arrived:
                    receiver.attempts += 1
                    status = receiver.refuses_with or 200
                    if status == 200:
                        told = {name.lower(): value for name, value in self.headers.items()}
                        receiver.taken.append((self.path, told, body))
                    receiver.arrived.notify_all()
                self.reply(status)

        return Handler


def paged(records: list[dict[str, Any]], *, member: str | None = "data") -> Behaviour:
    """An API that serves `page` and `size`, and any other parameter as an equality filter."""

    def behave(handler: _Handler, query: dict[str, list[str]]) -> None:
        page, size = int(query.pop("page", ["1"])[0]), int(query.pop("size", ["1000000"])[0])
        held = [r for r in records if all(str(r.get(name)) == value[0] for name, value in query.items())]
        part = held[(page - 1) * size : page * size]
        body = part if member is None else {"total": len(held), member: part}
        handler.reply(200, json.dumps(body, ensure_ascii=False).encode(), Content_Type="application/json")

    return behave


_PROGRAM = """
import json, resource, sys
from pathlib import Path
from joserfc.jwk import OKPKey
from exchange.delivery.run import GatewaySettings, run_gateway
given = json.loads(sys.argv[1])
given["key"] = OKPKey.import_key(given["key"])
given["data"] = Path(given["data"])
given["files"] = Path(given["files"]) if "files" in given else None
if limit := given.pop("file_limit_bytes", None):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
run_gateway(GatewaySettings(**given))
"""


class GatewayProcess:
    """A gateway that can be killed and started again on the same folder."""

    def __init__(self, centre: Centre, folder: Path, **settings: Any) -> None:
        self._centre = centre
        self.folder = folder
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self.client = httpx2.Client(timeout=PATIENCE_S, trust_env=False, headers={"accept-language": "en"})
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, port: int | None = None, *, ready: int = 200) -> None:
        port = port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        given = {
            "centre": self._centre.url,
            "client_id": "gateway-1",
            "key": self._centre.gateway_key.as_dict(private=True),
            "data": str(self.folder),
            "port": port,
            "poll_s": 0.02,
            **self._settings,
        }
        self._process = subprocess.Popen([sys.executable, "-c", _PROGRAM, json.dumps(given)])
        self.wait_for_readiness(ready)

    def wait_for_readiness(self, status: int) -> None:
        """Ask until the gateway answers so."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                if self.client.get(f"{self.url}/readyz").status_code == status:
                    return
            except httpx2.TransportError:
                assert self._process is not None
                assert self._process.poll() is None, "the gateway ended"
            threading.Event().wait(0.02)
        raise AssertionError(f"the gateway never answered {status}")

    def kill(self) -> None:
        """SIGKILL: nothing is tidied up."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; gives the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(PATIENCE_S)

    def close(self) -> None:
        self.client.close()
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def get(
        self,
        agreement_id: str,
        resource_id: object,
        token: str | None,
        query: str = "purpose=P1",
        **headers: str,
    ) -> httpx2.Response:
        """One data call."""
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        return self.client.get(f"{self.url}/v1/data/{agreement_id}/{resource_id}?{query}", headers=headers)

    def ask(
        self, agreement_id: str, resource_id: object, token: str, values: dict[str, Any], purpose: str = "P1"
    ) -> httpx2.Response:
        """One question to verify."""
        body = {"purpose": purpose, "values": values}
        headers = {"authorization": f"Bearer {token}"}
        return self.client.post(
            f"{self.url}/v1/verify/{agreement_id}/{resource_id}", json=body, headers=headers
        )


def free_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        return server.server_port


class World:
    """Centre, provider and gateway together."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.centre = Centre()
        self.provider = ProviderSystem()
        self.gateway = GatewayProcess(self.centre, folder, **settings)


@contextmanager
def running_world(folder: Path, **settings: Any) -> Iterator[World]:
    world = World(folder, **settings)
    try:
        world.gateway.start()
        yield world
    finally:
        world.gateway.close()
        world.centre.close()
        world.provider.close()
