"""Commands for agencies: the keyed sketch of an identifier column, and what two such sketches have in common.

Owns reading the column. They need no service and no database: the key and the values stay where they are.
"""

from __future__ import annotations

import base64
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from app.terminal import Json, finish, pick

Sketch = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="概要文件 a sketch")]


def sketch(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="CSV（UTF-8），有表头 with a header")
    ],
    column: Annotated[str, typer.Option(help="标识列的列名 the identifier column")],
    key: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="双方共用的密钥文件 the key both agencies hold")
    ],
    label: Annotated[str, typer.Option(help="说明，如“低保家庭 公民身份号码” whose identifiers")],
    write: Annotated[Path | None, typer.Option(help="写到该文件 file to write; else standard output")] = None,
    resource: Annotated[str | None, typer.Option(help="本单位资源的 id the resource it belongs to")] = None,
) -> None:
    """计算标识列的加密概要，供重合估计。Sketch an identifier column under a key; no value leaves this machine."""
    from catalog.collection.overlap import key_mark
    from catalog.collection.overlap import sketch as make

    secret = key.read_bytes().strip()
    try:
        mark = key_mark(secret)
    except ValueError:
        raise typer.BadParameter(pick("密钥至少 16 字节", "at least 16 bytes"), param_hint="--key") from None
    made = make(_values(file, column), secret)
    record = {"label": label, "key_mark": mark, "sketch": base64.b64encode(made).decode()}
    text = json.dumps(record | ({"resource_id": resource} if resource else {}), ensure_ascii=False)
    if write:
        write.write_text(text + "\n", "utf-8")
    else:
        sys.stdout.write(text + "\n")


def overlap(one: Sketch, other: Sketch, as_json: Json = False) -> None:
    """估计两份概要共有多少标识。How many identifiers two sketches of one key have in common."""
    from catalog.collection.overlap import overlap as compare

    left, right = (json.loads(file.read_text("utf-8")) for file in (one, other))
    if left["key_mark"] != right["key_mark"]:
        raise typer.BadParameter(pick("两份概要的密钥不同", "the sketches were made with different keys"))
    found = compare(*(base64.b64decode(sketch["sketch"]) for sketch in (left, right)))
    told: dict[str, Any] = {
        "common": found.common.number, "low": found.common.low, "high": found.common.high,
        "one": found.one.number, "other": found.other.number,
        "share": round(found.share_one, 4), "share_of_other": round(found.share_other, 4),
    }  # fmt: skip
    common, share, rest = found.common, f"{found.share_one:.1%}", f"{found.share_other:.1%}"
    lines = [
        pick(
            f"共有约 {common.number}（95%：{common.low}–{common.high}），占前者 {share}，占后者 {rest}",
            f"about {common.number} in common (95 %: {common.low}-{common.high}): {share} of the first, {rest} of the other",
        )
    ]
    finish(told, lines, as_json=as_json)


def _values(file: Path, column: str) -> Iterator[str]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        if column not in (rows.fieldnames or ()):
            there = ", ".join(rows.fieldnames or ())
            raise typer.BadParameter(
                pick(f"没有该列；有：{there}", f"there are: {there}"), param_hint="--column"
            )
        for row in rows:
            yield row[column] or ""
