"""The ledger: the newest checkpoint, and the proof of one entry step by step."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response

from app.console.sheets import Cell, Table
from app.console.view import View, looking, permit_page
from app.identity import ledger_api
from app.kernel import ledger, merkle
from app.kernel.checkpoint import Signer, read_note
from app.kernel.errors import Fault, Invalid, NotFound, Problem
from app.kernel.text import Text

router = APIRouter(include_in_schema=False)
permit_page("console.ledger", like="ledger.proof")

ENTRIES_SHOWN = 200

WORDS = {
    "leaf": Text("叶的摘要", "Hash of the leaf"),
    "fold": Text("第 {n} 步：与邻节点合并", "Step {n}: joined with its neighbour"),
    "root": Text("与检查点的树根比较", "Compared with the root of the checkpoint"),
    "signature": Text("检查点的 Ed25519 签名", "The checkpoint's Ed25519 signature"),
    "content": Text("内容的摘要", "Hash of the content"),
    "unable": Text("本浏览器不能核验 Ed25519 签名", "This browser cannot verify Ed25519 signatures"),
    "holds": Text("一致", "holds"),
    "fails": Text("不一致", "does not hold"),
    "all": Text("核验通过：条目在账本中，未被更改。", "Verified: the entry is in the ledger, unchanged."),
    "not": Text("核验没有通过。", "It could not be verified."),
}


@dataclass(frozen=True, slots=True)
class Fold:
    """One step up the tree: the node so far, its neighbour, and on which side that stands."""

    neighbour: str
    on_the_left: bool
    result: str


@router.get("/ledger", operation_id="console.ledger")
def ledger_page(view: Annotated[View, looking("console.ledger")], entry: str = "") -> Response:
    """Look up an entry by its id and follow its proof, or find the entries about a case by the case's."""
    signer: Signer = view.request.app.state.keys.ledger
    latest = ledger.latest_checkpoint(view.session)
    proof: ledger_api.ProofOut | None = None
    steps: list[Fold] = []
    problem: Problem | None = None
    about: Table | None = None
    if entry.strip():
        try:
            proof = ledger_api.proof(_id(entry), view.session)
            steps = folds(proof, latest.size if latest else 0)
        except (NotFound, Invalid):
            about = _about(view, entry)
        if proof is None and about is None:
            problem = NotFound(
                Text(
                    "没有这个条目，或者它还没有编入（约一秒）。",
                    "No such entry, or it is not numbered yet (about a second).",
                )
            )
    root = _printed(latest.root) if latest else ""
    leaf = _printed(merkle.leaf_hash(proof.leaf.encode())) if proof else ""
    return view.page(
        "ledger.html", words={name: text.in_(view.locale) for name, text in WORDS.items()}, status=problem.status if problem else 200, latest=latest, root=root, entry=entry.strip(), proof=proof,
        steps=steps, about=about, leaf=leaf, holds=bool(proof) and (steps[-1].result if steps else leaf) == root, problem=problem, origin=signer.origin,
        public_key=_printed(signer.public_key),
        signature_holds=_holds(latest.note, signer) if latest else False,
    )  # fmt: skip


def _about(view: View, entry: str) -> Table | None:
    """The entries about the case of this id; None where there is none. The log itself tells everybody as much."""
    try:
        found = ledger.entries_about(view.session, _id(entry), ENTRIES_SHOWN)
    except Invalid:
        return None
    rows = [
        [Cell(one.at), Cell(one.kind, code=True), Cell(str(one.id), f"/ledger?entry={one.id}")]
        for one in found
    ]
    columns = (Text("时间", "When"), Text("事项", "What"), Text("条目", "Entry"))
    return Table(columns, rows, Text("该案件的存证条目", "Entries about this case")) if rows else None


def folds(proof: ledger_api.ProofOut, size: int) -> list[Fold]:
    """The proof's path as the steps a reader can follow by hand (RFC 6962 §2.1.1)."""
    sides: list[bool] = []  # root side first: does the neighbour stand on the left
    start, end = 0, size
    while end - start > 1:
        middle = start + (1 << ((end - start - 1).bit_length() - 1))
        on_the_left = proof.position >= middle
        sides.append(on_the_left)
        start, end = (middle, end) if on_the_left else (start, middle)
    node = merkle.leaf_hash(proof.leaf.encode())
    steps = []
    for neighbour, on_the_left in zip(map(base64.b64decode, proof.path), reversed(sides), strict=True):
        node = merkle.node_hash(neighbour, node) if on_the_left else merkle.node_hash(node, neighbour)
        steps.append(Fold(_printed(neighbour), on_the_left, _printed(node)))
    return steps


def _printed(node: bytes) -> str:
    return base64.b64encode(node).decode()


def _id(entry: str) -> UUID:
    try:
        return UUID(entry.strip())
    except ValueError:
        raise Invalid(faults=[Fault("/entry", Text("不是合法的标识", "not an id"))]) from None


def _holds(note: str, signer: Signer) -> bool:
    try:
        read_note(note, signer.verifier_key)
    except ValueError:
        return False
    return True
