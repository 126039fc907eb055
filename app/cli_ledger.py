"""Commands of the ledger: verify all of it, or one saved proof, and watch a log as a witness."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.kernel.errors import Problem
from app.terminal import LOCALE, Data, Json, err, finish, opened, out, pick

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from app.kernel.checkpoint import VerifierKey

LogKey = Annotated[
    str | None, typer.Option("--key", help="已知的账本公钥 the log's known key (/ledger/key, verifier_key)")
]
WitnessKeys = Annotated[
    list[str] | None, typer.Option("--witness", help="已知的见证方公钥 the known key of a witness")
]


def read_keys(
    log: str | None, witnesses: list[str] | None
) -> tuple[VerifierKey | None, list[VerifierKey] | None]:
    """The keys given on the command line as they are printed by their owners (C2SP vkey)."""
    from app.kernel.checkpoint import COSIGNATURE, LOG, VerifierKey

    try:
        cosigners = None if witnesses is None else [VerifierKey.read(one, COSIGNATURE) for one in witnesses]
        return (VerifierKey.read(log, LOG) if log else None), cosigners
    except ValueError as error:
        raise typer.BadParameter(pick(f"不是公钥：{error}", f"not a key: {error}")) from None


def verify_ledger(
    data: Data = None,
    write: Annotated[Path | None, typer.Option(help="写出可离线核验的导出文件 write an export")] = None,
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="核验导出文件，不用数据库 verify an export"),
    ] = None,
    key: LogKey = None,
    witness: WitnessKeys = None,
    time_root: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="时间戳机构根证书 trusted roots of time stamps, PEM"),
    ] = None,
    as_json: Json = False,
) -> None:
    """核验账本：树、签名、联署、每一决定与回执。Verify tree, signatures, cosignatures, every decision and receipt."""
    if (write and file) or ((key or witness) and not file) or (time_root and (write or file)):
        raise typer.BadParameter("--write | --file [--key] [--witness] | --time-root")
    told: dict[str, Any] = {}
    if file:
        from app.operate import verify_export

        size, differences, told = verify_export(file, *read_keys(key, witness))
    else:
        from app.operate import export_ledger, verify
        from app.settings import keys_of

        with opened(data) as (settings, database):
            keys = keys_of(settings)
            if write:
                size = export_ledger(database, keys, write)
                lines = [pick(f"已写出 {size} 条：{write}", f"{size} entries written: {write}")]
                finish({"entries": size, "file": str(write)}, lines, as_json=as_json)
            size, differences, stamps = verify(database, keys, read_certificates(time_root))
            told = {"time stamps": stamps} if time_root else {}
    lines = [
        pick(
            f"已核验 {size} 条，{'一致' if not differences else '发现差异：'}",
            f"{size} entries verified; {'all hold' if not differences else 'differences:'}",
        ),
        *(
            f"{d.kind} {'?' if d.position is None else d.position}: {d.message.in_(LOCALE)}"
            for d in differences
        ),
        *(f"{name}: {value}" for name, value in told.items()),
    ]
    rows = [{"kind": d.kind, "position": d.position, "message": d.message.in_(LOCALE)} for d in differences]
    finish({"entries": size, "differences": rows, **told}, lines, as_json=as_json, ok=not differences)


def read_certificates(file: Path | None) -> list[Certificate]:
    """The certificates of a PEM file."""
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(file.read_bytes()) if file else []
    except ValueError:
        raise typer.BadParameter(pick(f"不是 PEM 证书：{file}", f"no PEM certificates: {file}")) from None


def verify_proof(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="保存的包含证明 a saved proof, JSON")
    ],
    key: Annotated[str, typer.Option("--key", help="已知的账本公钥 the log's known key")],
    content: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="事项或回执的 content the content of an event or receipt"
        ),
    ] = None,
    witness: WitnessKeys = None,
    as_json: Json = False,
) -> None:
    """核验一份保存的包含证明，不联系服务。Check one saved inclusion proof without asking the service."""
    from app.witnessing import check_proof

    log, cosigners = read_keys(key, witness or [])
    assert log is not None and cosigners is not None
    try:
        proof, attested = (json.loads(given.read_bytes()) if given else None for given in (file, content))
    except ValueError:
        raise typer.BadParameter(pick("不是 JSON", "not JSON")) from None
    position, size, seen = check_proof(proof, log, cosigners, attested)
    lines = [
        pick(f"成立：第 {position} 条，树共 {size} 条", f"It holds: entry {position} of a tree of {size}"),
        *(
            pick(f"{key.name} {'已联署' if key.name in seen else '未联署'}",
                 f"{key.name} {'cosigned' if key.name in seen else 'did not cosign'}")
            for key in cosigners
        ),
    ]  # fmt: skip
    finish({"position": position, "size": size, "cosigned": seen}, lines, as_json=as_json,
           ok=len(seen) == len(cosigners))  # fmt: skip


def erase_names(
    before: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="此日以前的，缺省为保存期届满的 before this day"),
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """删除保存期届满的办理人姓名，账本仍可核验。Erase names whose term has ended; the ledger still verifies."""
    from app.operate import erase_names as erase

    with opened(data) as (_, database):
        count, day = erase(database, before.date() if before else None)
    line = pick(f"{day} 以前 {count} 条记录的姓名已删除", f"names erased from {count} records before {day}")
    finish({"events": count, "before": day.isoformat()}, [line], as_json=as_json)


def witness(
    url: Annotated[str, typer.Option(help="服务地址 URL of the service whose ledger is watched")],
    key: Annotated[str, typer.Option("--key", help="已知的账本公钥 the log's known key")],
    name: Annotated[
        str, typer.Option(help="见证方名称 name of the witness, such as audit.example.gov.cn/witness")
    ],
    folder: Annotated[Path, typer.Option(help="密钥与记忆所在目录 folder of its key and memory")],
    every: Annotated[
        float | None,
        typer.Option(min=1, help="每隔几秒一次，不给则只看一次 seconds between looks; once without it"),
    ] = None,
    show_key: Annotated[bool, typer.Option(help="只打印公钥 only print the public key")] = False,
    as_json: Json = False,
) -> None:
    """见证账本：核对其只增不改，并联署检查点。Watch a ledger: check that it only grows, cosign its checkpoints."""
    import httpx2

    from app.kernel.keys import load_cosigner
    from app.witnessing import Witness

    log, _ = read_keys(key, None)
    assert log is not None
    cosigner = load_cosigner(folder / "witness.key", name)
    if show_key:
        finish({"verifier_key": str(cosigner.verifier_key)}, [str(cosigner.verifier_key)], as_json=as_json)
    watching = Witness(log, cosigner, folder / "checkpoint.txt")
    with httpx2.Client(base_url=url, timeout=20, trust_env=False) as client:
        while every is not None:
            try:
                seen = watching.look(client)
                out.print(_told(seen.size, seen.grown) if seen else pick("账本尚空", "no entries yet"))
            except Problem as problem:
                if problem.slug == "conflict":  # another history: never sign again by itself
                    raise
                err.print(problem.detail.in_(LOCALE), markup=False)
            time.sleep(every)
        seen = watching.look(client)
    if seen is None:
        finish({"size": 0}, [pick("账本尚空", "no entries yet")], as_json=as_json)
    finish(
        {"size": seen.size, "grown": seen.grown, "at": seen.at},
        [_told(seen.size, seen.grown)],
        as_json=as_json,
    )


def _told(size: int, grown: int) -> str:
    return pick(f"已联署 {size} 条（新增 {grown}）", f"cosigned {size} entries ({grown} new)")
