"""The data plane: a gateway with everything on, beside nginx as a plain proxy, nginx with a Lua filter, and the
stack that one would write first. All are asked for the same records of the same provider, in turn.

Every rival runs as one worker on core 0; the load and the provider share core 1. CPU is of the rival's processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx2
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from app.kernel.clock import new_id
from bench.measure import show
from exchange.delivery.protocol import HttpSource
from exchange.terms import ItemTerm, LastN, Mask, RegionOnly, Unmasked, YearOnly
from tests.delivery.agreed import QUOTA, RESOURCE, agreed
from tests.delivery.world import World, free_port, make_key, running_world

SIZES = {"2 KB": 6, "50 KB": 150}
CONNECTIONS = (16, 64)
PROOFS = 10_000  # a round with bound grants ends when they are used up
KEPT = ("name", "credit_code", "status", "capital", "legal_person_id", "founded", "district")
MASKED: dict[str, Mask] = {
    "legal_person_id": LastN(keep=4),
    "founded": YearOnly(),
    "district": RegionOnly(keep=4),
}
SCOPE = "status = 'valid'"
RIVALS = ("nginx", "nginx + Lua", "gateway", "gateway, DPoP", "naive")
_HERE = Path(__file__).parent


def records(count: int) -> list[dict[str, object]]:
    """Twelve fields of about 310 bytes; one in six is outside the scope."""
    return [
        {
            "name": f"Shenzhen Example Trading Company Limited {n:06d}",
            "credit_code": f"9144030{n:011d}", "status": "revoked" if n % 6 == 5 else "valid", "capital": n * 1000,
            "legal_person_id": f"44030519900101{n % 10000:04d}", "founded": "2009-11-05", "district": "440305",
            "address": f"No. {n} Keyuan Road, Nanshan", "phone": "13800138000", "employees": n % 300,
            "industry": "I6510", "note": "x" * 24,
        }
        for n in range(count)
    ]  # fmt: skip


@dataclass
class Rival:
    """What is asked and whose CPU is counted. `headers` are lines of wrk."""

    name: str
    url: Callable[[str], str]
    pids: Callable[[], list[int]]
    headers: Callable[[str], dict[str, str]] = lambda _: {}
    script: Callable[[str], Path] | None = None


@dataclass(frozen=True, slots=True)
class Round:
    per_second: float
    cpu_us: float
    p50_ms: float


def cpu_seconds(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        with suppress(OSError):
            parts = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(parts[11]) + int(parts[12])
    return total / os.sysconf("SC_CLK_TCK")


def load(rival: Rival, size: str, connections: int, seconds: float) -> Round:
    """One round of wrk. Fails where any answer was not 2xx."""
    headers = [part for name, value in rival.headers(size).items() for part in ("-H", f"{name}: {value}")]
    script = ["-s", str(rival.script(size))] if rival.script else []
    command = [
        "taskset",
        "-c",
        "1",
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--latency",
        *headers,
        *script,
    ]
    before = cpu_seconds(rival.pids())
    told = subprocess.run([*command, rival.url(size)], capture_output=True, text=True, check=True).stdout
    used = cpu_seconds(rival.pids()) - before
    if bad := re.search(r"Non-2xx.*", told):
        raise RuntimeError(f"{rival.name}, {size}: {bad[0]}")
    requests = int(re.search(r"(\d+) requests in", told)[1])  # type: ignore[index]
    value, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", told).groups()  # type: ignore[union-attr]
    p50 = float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1])  # type: ignore[index]
    return Round(rate, 1e6 * used / requests, p50)


@contextmanager
def nginx(folder: Path, name: str, core: int, http: str) -> Iterator[list[int]]:
    """An nginx of one worker with `http` as its configuration."""
    work = folder / name
    work.mkdir()
    modules = "".join(
        f"include {path};\n" for path in sorted(Path("/etc/nginx/modules-enabled").glob("*.conf"))
    )
    (work / "nginx.conf").write_text(
        f"{modules}worker_processes 1; daemon off; pid {work}/pid; error_log {work}/error.log;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; keepalive_requests 1000000; client_body_temp_path {work}/b;"
        f" proxy_temp_path {work}/p; fastcgi_temp_path {work}/f; uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;\n"
        f"{http}\n}}"
    )
    server = subprocess.Popen(["taskset", "-c", str(core), "nginx", "-c", str(work / "nginx.conf")])
    try:
        yield [server.pid]
    finally:
        server.terminate()
        server.wait()


def children(pid: int) -> list[int]:
    """A process and those it started."""
    found = [pid]
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += children(int(child))
    return found


def answers(url: str, headers: dict[str, str] | None = None) -> httpx2.Response:
    """The answer of a server that is still starting."""
    until = time.monotonic() + 20
    while True:
        with suppress(httpx2.HTTPError):
            answer = httpx2.get(url, headers=headers, trust_env=False)
            if answer.status_code == 200:
                return answer
        if time.monotonic() > until:
            raise TimeoutError(url)
        time.sleep(0.05)


class GatewayData:
    """One agreement for each size at the running gateway, and grants of them."""

    def __init__(self, world: World, provider: str, folder: Path) -> None:
        self._world, self._folder = world, folder
        items = tuple(ItemTerm(code=code, mask=MASKED.get(code, Unmasked())) for code in KEPT)
        quota = QUOTA.model_copy(update={"calls_per_day": 10**9, "rows_per_day": 10**12})
        self._key = ECKey.generate_key("P-256")
        self._until = int(time.time()) + 36_000
        self._paths, self.tokens, self._bound = {}, {}, {}
        for size, count in SIZES.items():
            source = HttpSource(url=f"{provider}/{size.split()[0]}.json", records_path="data")
            terms = agreed(items=items, scope=SCOPE, quota=quota)
            agreement = world.centre.agree(terms, {str(RESOURCE): source})
            cnf = {"jkt": self._key.thumbprint()}
            self.tokens[size] = world.centre.grant(agreement, exp=self._until)
            self._bound[size] = world.centre.grant(agreement, exp=self._until, cnf=cnf)
            self._paths[size] = f"/v1/data/{agreement}/{RESOURCE}"
            records_left = answers(self.url(size), {"Authorization": f"Bearer {self.tokens[size]}"}).json()
            assert len(records_left) == count - count // 6, "the row filter works"

    def url(self, size: str) -> str:
        return f"{self._world.gateway.url}{self._paths[size]}?purpose=P1"

    def proofs(self, size: str) -> Path:
        """A script for wrk that sends a fresh proof (RFC 9449) with each call, until there are no more."""
        token, url = self._bound[size], self._world.gateway.url + self._paths[size]
        header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": self._key.as_dict(private=False)}
        ath = urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
        claims = {"htm": "GET", "htu": url, "iat": int(time.time()), "ath": ath}
        made = [jwt.encode(header, claims | {"jti": f"proof-{new_id()}"}, self._key) for _ in range(PROOFS)]
        script = self._folder / "proofs.lua"
        script.write_text(
            "local made, n = {" + ",".join(f'"{proof}"' for proof in made) + "}, 0\n"
            "function request() n = n + 1\n if n >= #made then wrk.thread:stop() end\n"
            f' return wrk.format("GET", nil, {{["Authorization"] = "DPoP {token}", ["DPoP"] = made[n] or ""}}) end\n'
        )
        return script


def run(
    folder: Path, database_url: str, *, seconds: float, rounds: int, only: tuple[str, ...] = RIVALS
) -> None:
    """Ask all rivals in turn, `rounds` times, and print the medians."""
    if not (shutil.which("nginx") and shutil.which("wrk")):
        print("gateway: needs nginx, libnginx-mod-http-lua, lua-cjson and wrk (Debian)")
        return
    served = folder / "served"
    served.mkdir()
    served.chmod(0o755)
    for size, count in SIZES.items():
        (served / f"{size.split()[0]}.json").write_text(json.dumps({"data": records(count)}))
    ports = [free_port() for _ in range(4)]
    provider = f"http://127.0.0.1:{ports[0]}"
    upstream = f"upstream up {{ server 127.0.0.1:{ports[0]}; keepalive 64; }}\n"
    through = 'proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";'
    plain = f"{upstream} server {{ listen {ports[1]}; location / {{ {through} }} }}"
    lua = f"lua_package_path '{_HERE}/?.lua;;'; {upstream} server {{ listen {ports[2]}; location / {{ access_by_lua_block {{ require('rival').check() }} header_filter_by_lua_block {{ ngx.header.content_length = nil }} body_filter_by_lua_block {{ require('rival').filter() }} {through} }} }}"
    static = f"open_file_cache max=8; server {{ listen {ports[0]}; root {served}; types {{ application/json json; }} }}"
    with (
        nginx(folder, "provider", 1, static),
        nginx(folder, "plain", 0, plain) as plain_pids,
        nginx(folder, "lua", 0, lua) as lua_pids,
        running_world(folder / "gateway", call_timeout_s=60.0, poll_s=1.0) as world,
        _naive(folder, provider, database_url, ports[3]) as (naive_pids, naive_token),
    ):
        _pin(world)
        data = GatewayData(world, provider, folder)
        rivals = _rivals(world, ports, data, (plain_pids, lua_pids, naive_pids), naive_token)
        _measure([rival for rival in rivals if rival.name in only], seconds, rounds)


def _pin(world: World) -> None:
    for pid in children(world.gateway.pid):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {0})
    os.sched_setaffinity(0, {1})


@contextmanager
def _naive(folder: Path, provider: str, database: str, port: int) -> Iterator[tuple[list[int], str]]:
    key = make_key("naive")
    environment = os.environ | {
        "NAIVE_DATABASE": database, "NAIVE_PROVIDER": provider, "NAIVE_KEY": json.dumps(key.as_dict(private=False)),
    }  # fmt: skip
    command = ["taskset", "-c", "0", sys.executable, "-m", "uvicorn", "bench.naive:app", "--port", str(port)]
    server = subprocess.Popen([*command, "--log-level", "error"], env=environment)
    try:
        token = jwt.encode({"alg": "Ed25519"}, {"purpose": "P1"}, key, algorithms=["Ed25519"])
        answers(f"http://127.0.0.1:{port}/data/2", {"Authorization": f"Bearer {token}"})
        yield [server.pid], token
    finally:
        server.terminate()
        server.wait()


def _rivals(
    world: World, ports: list[int], data: GatewayData, pids: tuple[list[int], ...], naive_token: str
) -> list[Rival]:
    plain, lua, naive = pids

    def at(port: int, path: str = "/{}.json") -> Callable[[str], str]:
        return lambda size: f"http://127.0.0.1:{port}" + path.format(size.split()[0])

    shared = OctKey.import_key(b"a secret of thirty-two bytes, yes")
    claims = {"sub": "permits-app", "exp": int(time.time()) + 36_000}
    checked = jwt.encode({"alg": "HS256"}, claims, shared)

    def gateway_pids() -> list[int]:
        return children(world.gateway.pid)

    return [
        Rival("nginx", at(ports[1]), lambda: children(plain[0])),
        Rival("nginx + Lua", at(ports[2]), lambda: children(lua[0]), lambda _: {"Authorization": f"Bearer {checked}"}),
        Rival("gateway", data.url, gateway_pids, lambda size: {"Authorization": f"Bearer {data.tokens[size]}"}),
        Rival("gateway, DPoP", data.url, gateway_pids, script=data.proofs),
        Rival("naive", at(ports[3], "/data/{}"), lambda: naive, lambda _: {"Authorization": f"Bearer {naive_token}"}),
    ]  # fmt: skip


def _measure(rivals: list[Rival], seconds: float, rounds: int) -> None:
    taken: dict[tuple[str, int, str], list[Round]] = {}
    for _ in range(rounds):
        for size in SIZES:
            for connections in CONNECTIONS:
                for rival in rivals:
                    if rival.script is not None and connections != max(CONNECTIONS):
                        continue
                    one = load(rival, size, connections, seconds)
                    taken.setdefault((size, connections, rival.name), []).append(one)
    rows = []
    for (size, connections, name), found in taken.items():
        beside = taken.get((size, connections, "nginx + Lua"), found)
        ratio = median(a.per_second / b.per_second for a, b in zip(found, beside, strict=True))
        rows.append(
            (f"{size}, {connections} connections: {name}", median(r.per_second for r in found), ratio,
             median(r.cpu_us for r in found), median(r.p50_ms for r in found))
        )  # fmt: skip
    columns = ("", "requests/s", "of nginx + Lua", "CPU µs a request", "p50 ms")
    show("data plane", columns, rows, "one worker each on core 0; receipts durable before the first byte")
