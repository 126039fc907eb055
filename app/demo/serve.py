"""The try-out: the whole service with the sample city, its provider and the story played once.

Owns the order in which they start and what is printed at the end. The service itself is `app.serve`'s.
"""

from __future__ import annotations

import json
import secrets as random
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from app import serve
from app.demo import desks, load, sample_city
from app.demo.story import Story
from app.kernel.actor import ROLE_NAMES
from app.kernel.db import Database
from app.kernel.errors import NotFound
from app.kernel.text import Text
from app.processes import require_free, wait_ready
from app.settings import Settings, data_folder, keys_of

PROVIDER_PORT_OFFSET = 2
TRANSCRIPT = "story.txt"
SHOWN = (
    "data.approver", "data.catalog", "data.mediator1", "data.mediator2", "data.security", "data.system", "data.audit",
    "housing.clerk", "housing.approver", "civil.clerk", "civil.approver", "dh_edu.clerk", "dh_edu.approver",
    "dh_housing.clerk", "dh_housing.approver", "dh_data.mediator1", "dh_data.mediator2",
)  # fmt: skip


def serve_demo(
    settings: Settings, *, keep: Callable[[], None], host: str, port: int, gateway_port: int, out: Console
) -> None:
    """Load the sample city, start everything, play the story once for this data folder, print URL and
    accounts with fresh one-time secrets, and keep running until SIGTERM or SIGINT."""
    provider_port = gateway_port + PROVIDER_PORT_OFFSET - 1
    require_free(host, provider_port)
    keys = keys_of(settings)
    secret_file = settings.keys / "demo-provider.secret"
    if not secret_file.exists():
        secret_file.touch(mode=0o600)
        secret_file.write_text(random.token_urlsafe(24))
    database = Database(settings.database_url, pool_size=2)
    try:
        load.load_city(
            database, keys, provider_url=f"http://{host}:{provider_port}",
            provider_secret=secret_file.read_text(), table_dsn=settings.database_url,
        )  # fmt: skip
        with serve.running(
            settings, keep=keep, host=host, port=port, gateway_port=gateway_port
        ) as supervisor:
            command = [
                sys.executable, "-m", "app.demo.provider_api",
                "--port", str(provider_port), "--secret-file", str(secret_file),
            ]  # fmt: skip
            supervisor.add("provider", command, serve.child_environment(settings))
            wait_ready(f"http://{host}:{provider_port}/health", supervisor)
            _play_once(settings, database)
            desks.lay_out(database)
            _announce(settings, load.one_time_secrets(database, SHOWN), out)
            serve.watch(supervisor, settings, host=host, port=port, gateway_port=gateway_port)
    finally:
        database.close()


def play_against(url: str, *, data: Path | None, secrets: Path | None, as_json: bool, out: Console) -> None:
    """Play the story against a running service. Secrets of its people come from `secrets`, or are issued
    in the service's own database, found by `data`, or by the note that `serve` leaves for its user.
    Errors: NotFound where neither is at hand."""
    base = url.rstrip("/")
    story = Story(sys.stdout, as_json=as_json)
    if secrets is not None:
        known: dict[str, str] = json.loads(secrets.read_text("utf-8"))
        _play(base, known.__getitem__, story)
        return
    folder = data_folder(data) if data is not None else serve.data_of(base)
    if folder is None:
        raise NotFound(
            Text(
                "不知道 {url} 的数据目录：请用 --data 指明，或用 --secrets 给出口令。",
                "The data folder of {url} is not known: name it with --data, or give --secrets.",
            ).with_(url=base)
        )
    with serve.open_database(folder) as database_url:
        database = Database(database_url, pool_size=2)
        try:
            _play(base, _secret_from(database), story)
        finally:
            database.close()


def _play(url: str, secret_of: Callable[[str], str], story: Story) -> None:
    from app.demo.scenario import play  # noqa: PLC0415 - a warm start does without loading it

    play(url, secret_of, story=story)


def _secret_from(database: Database) -> Callable[[str], str]:
    return lambda login: load.one_time_secrets(database, [login], keep_earlier=True)[login]


def _play_once(settings: Settings, database: Database) -> None:
    """Play into a transcript that stays in the data folder; an unfinished one is played again."""
    transcript = settings.data / TRANSCRIPT
    if transcript.exists():
        return
    unfinished = transcript.with_suffix(".unfinished")
    unfinished.touch(mode=0o600)  # it holds the tokens of short-lived sessions
    with unfinished.open("w", encoding="utf-8") as file:
        _play(settings.public_url, _secret_from(database), Story(file))
    unfinished.rename(transcript)


def _announce(settings: Settings, secrets: dict[str, str], out: Console) -> None:
    people = {person.login: person for person in sample_city.people()}
    agencies = {agency.credit_code: agency for agency in sample_city.agencies()}
    lines = ["  登录名 login          一次性口令 one-time secret    单位与角色 agency and roles"]
    for login, secret in secrets.items():
        person = people[login]
        roles = "、".join(ROLE_NAMES[role].zh for role in sorted(person.roles))
        lines.append(f"  {login:<22}{secret:<30}{agencies[person.agency].name.zh} {roles}")
    out.print()
    out.print("政通 Zhengtong", style="bold")
    out.print(f"  控制台 console   {settings.public_url}/")
    out.print(f"  接口 API         {settings.public_url}/openapi.json")
    out.print(f"  网关 gateway     {settings.gateway_url}/")
    out.print(f"  演示记录 story   {settings.data / TRANSCRIPT}")
    out.print(f"  再演示 replay    zhengtong demo --url {settings.public_url}")
    out.print("  Ctrl-C 停止 stops")
    out.print()
    for line in lines:
        out.print(line, markup=False)
    out.print(
        "  试用方案不要求动态验证码；正式方案（cn-809）要求审核人、协调员和管理员启用，可在 /second-factor 试用。"
        "\n  Here one factor is enough; the profile cn-809 asks approvers, mediators and administrators for a second"
        " one. Try it at /second-factor.",
        markup=False,
    )
