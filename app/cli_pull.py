"""`pull`: agreed data into a file, by an agency's system, from its own machine. Needs no data folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.terminal import LOCALE, Json, err, finish, pick

if TYPE_CHECKING:
    from exchange.client.flows import Form

FORMS = ("csv", "ndjson")


def pull(
    agreement: Annotated[str, typer.Argument(help="共享协议标识 the agreement's id")],
    resource: Annotated[str, typer.Argument(help="信息资源标识 the resource's id")],
    purpose: Annotated[str, typer.Option(help="约定用途之一的代码 code of one of the agreed purposes")],
    to: Annotated[Path, typer.Option(help="要写的文件，不得已存在 file to write; must not exist")],
    url: Annotated[str, typer.Option(envvar="ZHENGTONG_URL", help="中心地址 URL of the centre")],
    client_id: Annotated[
        str, typer.Option(envvar="ZHENGTONG_CLIENT_ID", help="客户端标识 the client's name, as registered")
    ],
    key: Annotated[
        Path, typer.Option(envvar="ZHENGTONG_CLIENT_KEY", help="私钥文件（PEM） private key file (PEM)")
    ],
    items: Annotated[
        str | None, typer.Option(help="只取这些信息项（逗号分隔） only these items, by comma")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="进一步限定的条件（CQL2） a narrower condition (CQL2)")
    ] = None,
    form: Annotated[str, typer.Option(help="csv | ndjson")] = "csv",
    rows: Annotated[
        int | None, typer.Option(min=1, help="每次交付至多行数 most rows of one delivery")
    ] = None,
    as_json: Json = False,
) -> None:
    """按协议取数写入文件，中断后再次运行即续传。Fetch agreed data into a file; run again it goes on where it broke off."""
    from exchange.client import Exchange, NotAsReceipted, NotThisPull, Refused, Unreachable, Wanted, load_key

    if form not in FORMS:
        raise typer.BadParameter(
            pick(f"不是 {' 或 '.join(FORMS)}", f"not one of {', '.join(FORMS)}"), param_hint="--form"
        )
    try:
        private = load_key(key)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--key") from None
    wanted = Wanted(agreement, resource, purpose, tuple(items.split(",")) if items else None, where)
    chosen: Form = "csv" if form == "csv" else "ndjson"
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    try:
        with (
            Progress(
                *columns, console=err, disable=as_json or not err.is_terminal, transient=True
            ) as progress,
            Exchange(url, client_id, private, locale=LOCALE) as exchange,
        ):
            task = progress.add_task("")
            pulled = exchange.pull(
                wanted, to, form=chosen, limit=rows,
                on_page=lambda done: progress.update(task, description=pick(f"{done} 行", f"{done} rows")),
            )  # fmt: skip
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
    line = pick(
        f"{to}：{pulled.rows} 行，{pulled.bytes} 字节，SHA-256 {pulled.sha256}；{len(pulled.receipts)} 份回执均相符",
        f"{to}: {pulled.rows} rows, {pulled.bytes} bytes, SHA-256 {pulled.sha256}; {len(pulled.receipts)} receipts agree",
    )
    told = {
        "file": str(pulled.file), "rows": pulled.rows, "bytes": pulled.bytes, "sha256": pulled.sha256,
        "receipts": list(pulled.receipts),
    }  # fmt: skip
    finish(told, [line], as_json=as_json)


def _refuse(detail: str, title: str, *, as_json: bool) -> NoReturn:
    finish({"error": title, "detail": detail}, [title, detail], as_json=as_json, ok=False)
