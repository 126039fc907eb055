"""The gateway as a process: wiring, start, stop. Everything it needs is handed in as settings."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import uvicorn
import uvloop
from joserfc.jwk import OKPKey

from app.kernel.clock import now
from app.kernel.outbound import EVERYWHERE, Network, Outbound
from exchange.delivery.admission import GrantVerifier
from exchange.delivery.centre import CentreLink, CentreSettings, stopped
from exchange.delivery.extracts import Extracts
from exchange.delivery.gateway import CALL_TIMEOUT_S, Gateway
from exchange.delivery.journal import Journal, open_journal
from exchange.delivery.possession import Possession
from exchange.delivery.protocol import GatewayHealth, GatewayState, Lease, LeaseWanted, SourceTested
from exchange.delivery.push.pusher import Pusher
from exchange.delivery.quota import Leases
from exchange.delivery.sources import PAGE_LIMIT_BYTES, Providers
from exchange.delivery.sql_provider import SqlProvider
from exchange.delivery.tester import Tester

log = logging.getLogger(__name__)

CONNECTION_LIMIT = 2000
STOP_WITHIN_S = 20


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """One gateway. `centre` is the URL to reach the centre at, `issuer` the URL its grants name (default the
    same); `key` signs as `client_id`; `url` is where requesters reach this gateway; `data` holds the receipts that the centre does not hold yet."""

    centre: str
    client_id: str
    key: OKPKey
    data: Path
    issuer: str | None = None
    host: str = "127.0.0.1"
    port: int = 8100
    url: str | None = None
    poll_s: float = 1.0
    lost_touch_after_s: float = 60.0
    call_timeout_s: float = CALL_TIMEOUT_S
    page_limit_bytes: int = PAGE_LIMIT_BYTES
    files: Path | None = None  # the folder that providers' files may lie in
    networks: tuple[Network, ...] = EVERYWHERE  # where providers and targets may be, beside public addresses


class _Server(uvicorn.Server):
    """Leaves signals to `serve_gateway`: uvicorn's own way ends the process before the journal is closed."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def run_gateway(settings: GatewaySettings) -> None:
    """`serve_gateway` as the whole of a process."""
    uvloop.run(serve_gateway(settings))


async def serve_gateway(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises JournalInUse, JournalDamaged, OSError where it cannot start."""
    centre = settings.centre.rstrip("/")
    issuer = (settings.issuer or centre).rstrip("/")
    started_at = now().isoformat()
    journal = await open_journal(settings.data / "receipts")
    providers = Providers(settings.page_limit_bytes, settings.networks, settings.files, SqlProvider)
    verifier = GrantVerifier(issuer)

    async def ask(wanted: LeaseWanted) -> Lease:
        return await link.lease(wanted)

    leases = Leases(journal, ask)
    gateway = Gateway(
        journal=journal,
        providers=providers,
        verifier=verifier,
        possession=Possession(settings.url or f"http://{settings.host}:{settings.port}", now()),
        lost_touch_after_s=settings.lost_touch_after_s,
        call_timeout_s=settings.call_timeout_s,
        extracts=Extracts(settings.data / "extracts"),
        leases=leases,
    )
    pusher = Pusher(
        settings.data / "pushes", journal, Outbound(settings.networks), gateway.current_table, gateway.bounds
    )

    async def tell(told: SourceTested) -> None:
        await link.tell_tested(told)

    tester = Tester(providers, tell)

    def hear(state: GatewayState | None) -> None:
        gateway.hear(state)
        if state is not None:
            tester.hear(state.tests)

    link = CentreLink(
        CentreSettings(centre, issuer, settings.client_id, settings.key, settings.poll_s),
        journal,
        on_state=hear,
        on_keys=verifier.use_keys,
        wants_keys=lambda: verifier.misses_a_key,
        health=lambda: _health(journal, providers, started_at),
        give_back=lambda: leases.give_back(gateway.today()),
        pushes=pusher,
    )
    server = _Server(
        uvicorn.Config(
            gateway,
            host=settings.host,
            port=settings.port,
            lifespan="off",
            ws="none",
            proxy_headers=False,  # nobody's word for where a call comes from is taken
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTION_LIMIT,
            timeout_graceful_shutdown=STOP_WITHIN_S,
        )
    )
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, setattr, server, "should_exit", True)
    linked = asyncio.create_task(link.run(), name="centre")
    pushing = asyncio.create_task(pusher.run(), name="pushes")
    for task in (linked, pushing):
        task.add_done_callback(lambda _: setattr(server, "should_exit", True))  # blind, it must not go on
    try:
        await server.serve()
    finally:
        failed = next((task.exception() for task in (linked, pushing) if task.done()), None)
        for task in (pushing, linked):
            if not task.done():
                await stopped(task)
        await providers.close()
        journal.close()
        if failed:
            raise failed


def _health(journal: Journal, providers: Providers, started_at: str) -> GatewayHealth:
    return GatewayHealth(
        release=version("zhengtong"), started_at=started_at, calls_running=journal.running,
        receipts_waiting=journal.waiting, calls=dict(journal.results), problems=dict(journal.problems),
        paused_providers=providers.paused(),
    )  # fmt: skip
