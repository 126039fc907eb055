"""What is generated from the code and committed: the OpenAPI document and the state diagrams.

`python -m app.generate` writes them; with `--check` it fails where a committed file differs.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from app.kernel.db import Database
from app.kernel.keys import load_keys
from app.main import create_app
from app.settings import Settings
from app.tables import machines

DOCS = Path(__file__).parent.parent / "docs"


def openapi_document() -> str:
    """The OpenAPI document of every route, as JSON text."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data=Path(folder), database_url="", public_url="https://zhengtong.example")
        database = Database("postgresql://nobody@localhost/none")  # never connected to
        app = create_app(settings, database, load_keys(settings.keys, "zhengtong.example/ledger"))
        return json.dumps(app.openapi(), ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def state_pages() -> dict[str, str]:
    """One page for each machine: its diagram and its rows."""
    pages = {}
    for machine in machines():
        rows = [
            f"| {row.source or '–'} | {machine.acts[row.act].zh} `{row.act}` | "
            + ", ".join(party if role is None else f"{party} · {role}" for party, role in row.by)
            + f" | {row.target} | {row.duty or ''} | {row.basis} |"
            for row in machine.rows
        ]
        pages[machine.kind] = "\n".join(
            [
                f"# {machine.kind}",
                "",
                "由代码中的状态表生成，请勿手改。Generated from the table in the code that enforces it.",
                "",
                "```mermaid",
                machine.mermaid().rstrip(),
                "```",
                "",
                "| From | Act | By | To | Clock | Basis |",
                "|---|---|---|---|---|---|",
                *rows,
                "",
            ]
        )
    return pages


def generated() -> dict[Path, str]:
    """Every generated file with its content."""
    pages = {DOCS / "states" / f"{kind}.md": text for kind, text in state_pages().items()}
    return {DOCS / "openapi.json": openapi_document(), **pages}


def main() -> None:
    """Write the files, or with --check compare them."""
    stale = []
    for path, text in generated().items():
        if "--check" in sys.argv:
            if not path.exists() or path.read_text("utf-8") != text:
                stale.append(str(path.relative_to(DOCS.parent)))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    if stale:
        sys.exit("out of date, run `make generate`: " + ", ".join(stale))


if __name__ == "__main__":
    main()
