"""`pull` and `gather`: agreed data into a file, by an agency's system, from its own machine. Needs no data folder."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import msgspec
import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.terminal import LOCALE, Json, err, finish, pick

if TYPE_CHECKING:
    from exchange.client import Exchange, Wanted
    from exchange.client.extracting import Compression, ExtractForm
    from exchange.client.flows import Key

FORMS = ("csv", "ndjson")
EXTRACT_FORMS = (*FORMS, "parquet", "arrow")
COMPRESSIONS = ("none", "gzip", "zstd")

Url = Annotated[str, typer.Option(envvar="ZHENGTONG_URL", help="中心地址 URL of the centre")]
ClientId = Annotated[
    str, typer.Option(envvar="ZHENGTONG_CLIENT_ID", help="客户端标识 the client's name, as registered")
]
KeyFile = Annotated[
    Path, typer.Option(envvar="ZHENGTONG_CLIENT_KEY", help="私钥文件（PEM） private key file (PEM)")
]


def pull(
    agreement: Annotated[str, typer.Argument(help="共享协议标识 the agreement's id")],
    resource: Annotated[str, typer.Argument(help="信息资源标识 the resource's id")],
    purpose: Annotated[str, typer.Option(help="约定用途之一的代码 code of one of the agreed purposes")],
    to: Annotated[Path, typer.Option(help="要写的文件，不得已存在 file to write; must not exist")],
    url: Url,
    client_id: ClientId,
    key: KeyFile,
    items: Annotated[
        str | None, typer.Option(help="只取这些信息项（逗号分隔） only these items, by comma")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="进一步限定的条件（CQL2） a narrower condition (CQL2)")
    ] = None,
    form: Annotated[
        str, typer.Option(help="csv | ndjson；批量提取另有 parquet | arrow with --extract")
    ] = "csv",
    extract: Annotated[
        bool,
        typer.Option(
            "--extract",
            help="批量协议：由网关制成一个文件再取 bulk: one file made by the gateway, fetched by ranges",
        ),
    ] = False,
    compression: Annotated[str, typer.Option(help="none | gzip | zstd（--extract）")] = "none",
    rows: Annotated[
        int | None, typer.Option(min=1, help="每次交付至多行数 most rows of one delivery")
    ] = None,
    as_json: Json = False,
) -> None:
    """按协议取数写入文件，中断后再次运行即续传。Fetch agreed data into a file; run again it goes on where it broke off."""
    from exchange.client import Exchange, NotAsReceipted, NotThisPull, Refused, Unreachable, Wanted

    _require_one_of("--form", form, EXTRACT_FORMS if extract else FORMS)
    _require_one_of("--compression", compression, COMPRESSIONS if extract else COMPRESSIONS[:1])
    private = _key_in(key)
    wanted = Wanted(agreement, resource, purpose, tuple(items.split(",")) if items else None, where)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    try:
        with (
            Progress(
                *columns, console=err, disable=as_json or not err.is_terminal, transient=True
            ) as progress,
            Exchange(url, client_id, private, locale=LOCALE) as exchange,
        ):
            task = progress.add_task("")

            def show(zh: str, en: str) -> None:
                progress.update(task, description=pick(zh, en))

            if extract:
                told = _extracted(exchange, wanted, to, form, compression, show)
            else:
                told = _pulled(exchange, wanted, to, form, rows, show)
    except FileExistsError:
        raise typer.BadParameter(pick(f"{to} 已存在", f"{to} exists"), param_hint="--to") from None
    except NotThisPull as error:
        _refuse(
            f"{error}",
            pick("旁边的未完成文件属于另一次取数。", "The unfinished file there is of another pull."),
            as_json=as_json,
        )
    except NotAsReceipted as error:
        _refuse(
            f"{error}",
            pick(
                "到达的数据与回执不符，文件未生成。",
                "What arrived is not what the receipt says; no file was made.",
            ),
            as_json=as_json,
        )
    except Unreachable as error:
        _refuse(
            f"{error}",
            pick("连接中断，再次运行即续传。", "The connection failed; run it again to go on."),
            as_json=as_json,
        )
    except Refused as refused:
        _refuse(f"{refused}", str(refused.problem.get("title", "")), as_json=as_json)
    receipts = told["receipts"]
    line = pick(
        f"{to}：{told['rows']} 行，{told['bytes']} 字节，SHA-256 {told['sha256']}；{len(receipts)} 份回执均相符",
        f"{to}: {told['rows']} rows, {told['bytes']} bytes, SHA-256 {told['sha256']}; {len(receipts)} receipts agree",
    )
    finish(told, [line], as_json=as_json)


def gather(
    parts: Annotated[
        Path,
        typer.Argument(help="各部分（JSON：名称 → 协议、资源、用途、条件） the parts, by name (JSON)"),
    ],
    to: Annotated[Path, typer.Option(help="要写的 JSON 文件，不得已存在 JSON file to write; must not exist")],
    url: Url,
    client_id: ClientId,
    key: KeyFile,
    as_json: Json = False,
) -> None:
    """一次办齐一个对象的多项数据，每项各依其协议。All that one matter needs of one subject, each part under its own agreement."""
    from exchange.client import AsyncExchange, Gathered

    private, wanted = _key_in(key), _wanted_in(parts)

    async def fetch() -> Gathered:
        async with AsyncExchange(url, client_id, private, locale=LOCALE) as exchange:
            return await exchange.gather(wanted)

    if to.exists():
        raise typer.BadParameter(pick(f"{to} 已存在", f"{to} exists"), param_hint="--to")
    found = asyncio.run(fetch())
    told: dict[str, Any] = {"whole": found.is_whole, "parts": {}}
    lines = []
    for name, part in found.parts.items():
        failed = None if part.failed is None else str(part.failed)
        told["parts"][name] = {"receipts": part.receipts} | (
            {"records": part.records} if failed is None else {"failed": failed}
        )
        count = len(part.records)
        lines.append(
            f"{name}: " + (pick(f"{count} 行", f"{count} rows") if failed is None else pick(f"未取到：{failed}", failed))
        )  # fmt: skip
    with os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(told, file, ensure_ascii=False)
    if not found.is_whole:
        lines.append(pick("结果不完整，可再次运行。", "The result is partial; it can be run again."))
    result = {"file": str(to), "whole": found.is_whole} | {
        "parts": {
            name: {"rows": len(part.records), "failed": part.failed and str(part.failed)}
            for name, part in found.parts.items()
        }
    }
    finish(result, lines, as_json=as_json, ok=found.is_whole)


def _key_in(file: Path) -> Key:
    from exchange.client import load_key

    try:
        return load_key(file)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--key") from None


def _wanted_in(file: Path) -> dict[str, Wanted]:
    from exchange.client import Wanted

    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Wanted])
    except (OSError, msgspec.DecodeError) as error:
        raise typer.BadParameter(str(error), param_hint="PARTS") from None


def _require_one_of(option: str, given: str, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        message = pick(f"不是 {' 或 '.join(allowed)}", f"not one of {', '.join(allowed)}")
        raise typer.BadParameter(message, param_hint=option)


Show = Callable[[str, str], None]


def _pulled(
    exchange: Exchange, wanted: Wanted, to: Path, form: str, rows: int | None, show: Show
) -> dict[str, Any]:
    found = exchange.pull(
        wanted, to, form="csv" if form == "csv" else "ndjson", limit=rows,
        on_page=lambda done: show(f"{done} 行", f"{done} rows"),
    )  # fmt: skip
    return {
        "file": str(found.file), "rows": found.rows, "bytes": found.bytes, "sha256": found.sha256,
        "receipts": list(found.receipts),
    }  # fmt: skip


def _extracted(
    exchange: Exchange, wanted: Wanted, to: Path, form: str, compression: str, show: Show
) -> dict[str, Any]:
    show("网关正在提取", "the gateway makes the extract")
    found = exchange.extract(
        wanted, to, form=cast("ExtractForm", form), compression=cast("Compression", compression),
        on_bytes=lambda done, all: show(f"{done} / {all} 字节", f"{done} of {all} bytes"),
    )  # fmt: skip
    return {
        "file": str(found.file), "rows": found.rows, "bytes": found.bytes, "sha256": found.sha256,
        "receipts": [found.receipt], "is_last": found.is_last,
    }  # fmt: skip


def _refuse(detail: str, title: str, *, as_json: bool) -> NoReturn:
    finish({"error": title, "detail": detail}, [title, detail], as_json=as_json, ok=False)
