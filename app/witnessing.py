"""What somebody outside does with nothing but the log's key: watch it as a witness, check a proof that was saved.

Owns the witness's memory, one file. Refuses to cosign what does not grow out of what it cosigned before.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from app.kernel import merkle
from app.kernel.canonical import canonical
from app.kernel.checkpoint import Cosigner, VerifierKey, read_cosignature, read_note
from app.kernel.errors import Conflict, Fault, Invalid, Unavailable
from app.kernel.text import Text

TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at the log gave. `grown`: entries since the last look."""

    size: int
    grown: int
    at: int  # of the cosignature, seconds since 1970


class Witness:
    """Watches one log. `memory` is the file of the last checkpoint it cosigned; losing it loses the protection
    against a log that was rolled back in the meantime, so it belongs on a disk of the witness's own."""

    def __init__(self, log: VerifierKey, cosigner: Cosigner, memory: Path) -> None:
        self._log = log
        self._cosigner = cosigner
        self._memory = memory

    def look(self, client: httpx2.Client, *, at: int | None = None) -> Seen | None:
        """Fetch the newest checkpoint, check that it grew out of the last one, remember, cosign and hand it in
        (C2SP tlog-witness: remembered before it is signed); None for a log without entries.

        Errors: Unavailable where the log cannot be reached; Conflict where it shows another history than before.
        """
        try:
            answer = client.get("/ledger/checkpoint")
            if answer.status_code == 404:
                return None
            note = answer.raise_for_status().text
            size, grown = self._follow(client, note)
            self._remember(note)
            seen = int(time.time()) if at is None else at
            signed = note.partition("\n\n")[0] + "\n\n" + self._cosigner.cosign(note, seen)
            client.post("/api/v1/ledger/cosignatures", json={"note": signed}).raise_for_status()
        except httpx2.HTTPError as error:
            told = Text("账本服务没有接受：{why}", "The log did not answer as it should: {why}")
            raise Unavailable(told.with_(why=str(error))) from error
        return Seen(size, grown, seen)

    def _follow(self, client: httpx2.Client, note: str) -> tuple[int, int]:
        size, root = self._read(note)
        if not self._memory.exists():
            return size, size
        known, known_root = self._read(self._memory.read_text(encoding="utf-8"))
        if size < known or (size == known and root != known_root):
            raise _forked(known, size)
        if size > known:
            answer = client.get("/api/v1/ledger/consistency", params={"old": known, "new": size})
            path = [base64.b64decode(node) for node in answer.raise_for_status().json()["path"]]
            if not merkle.verify_consistency(known, size, known_root, root, path):
                raise _forked(known, size)
        return size, size - known

    def _read(self, note: str) -> tuple[int, bytes]:
        try:
            return read_note(note, self._log)
        except ValueError as error:
            told = Text("检查点不是这个账本所签：{why}", "The checkpoint is not this log's: {why}")
            raise Conflict(told.with_(why=str(error))) from None

    def _remember(self, note: str) -> None:
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._memory.with_name(f".{self._memory.name}.new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._memory)


def _forked(known: int, size: int) -> Conflict:
    told = Text(
        "账本的历史被改动：曾见 {known} 条，现在的 {size} 条不是由它增长而来。请保存双方检查点并报告。",
        "The log's history was changed: {size} entries do not grow out of the {known} seen before. "
        "Keep both checkpoints and report it.",
    )
    return Conflict(told.with_(known=known, size=size))


def check_proof(
    proof: Any, log: VerifierKey, witnesses: Sequence[VerifierKey], content: Any = None
) -> tuple[int, int, dict[str, int]]:
    """Check a saved inclusion proof (the answer of `/api/v1/ledger/entries/{id}/proof`) without the service: the
    checkpoint's signature, the path from the leaf to its root, the cosignatures of the witnesses that are known, and,
    where it is given, that `content` (a member of every event and receipt) is what the entry attests.
    Returns the entry's position, the size of the tree and when each witness saw it. Errors: Invalid."""
    try:
        note, leaf = proof["checkpoint"], proof["leaf"].encode()
        path = [base64.b64decode(node, validate=True) for node in proof["path"]]
        position = int(proof["position"])
        told = json.loads(leaf)
        tells_itself = (told["id"], told["content_sha256"]) == (proof["entry_id"], proof["content_sha256"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _fault("/", "不是包含证明", "not an inclusion proof") from None
    try:
        size, root = read_note(note, log)
        seen = {key.name: at for key in witnesses if (at := read_cosignature(note, key)) is not None}
    except ValueError as error:
        raise _fault("/checkpoint", f"签名不成立（{error}）", str(error)) from None
    if not tells_itself:
        raise _fault("/leaf", "叶子与所述条目不符", "the leaf is not the entry that is told")
    if not merkle.verify_inclusion(merkle.leaf_hash(leaf), position, size, path, root):
        raise _fault("/path", "路径不通向所签的根", "the path does not lead to the signed root")
    if content is not None and hashlib.sha256(canonical(content)).hexdigest() != told["content_sha256"]:
        raise _fault("/content", "内容不是条目所存证的内容", "the content is not what the entry attests")
    return position, size, seen


def _fault(pointer: str, zh: str, en: str) -> Invalid:
    return Invalid(faults=[Fault(pointer, Text(zh, en))])
