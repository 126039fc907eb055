"""How the played scenario is told: chapters, steps with who, why, what was asked and what came back.

Owns the form of the transcript: coloured on a terminal, plain elsewhere, or one JSON object a line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TextIO

from pydantic import JsonValue
from rich.console import Console
from rich.text import Text as Styled

from app.kernel.text import Text


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that somebody did. `curl` repeats it, `shown` are the members of the answer that matter."""

    title: Text
    who: Text
    why: Text
    curl: str
    status: int
    shown: Mapping[str, JsonValue] = field(default_factory=dict)
    remark: Text | None = None


class Story:
    """Tells steps as they happen to `out`. Steps are numbered from 1."""

    def __init__(self, out: TextIO, *, as_json: bool = False) -> None:
        self._out = out
        self._as_json = as_json
        self._console = Console(file=out, highlight=False, markup=False, emoji=False)
        self.told = 0

    def chapter(self, title: Text) -> None:
        """Begin a part of the story."""
        if self._as_json:
            self._object({"chapter": {"zh": title.zh, "en": title.en}})
            return
        self._line("")
        self._line(f"━━ {title.zh} · {title.en} ━━", "bold cyan")

    def export(self, name: str, value: str) -> None:
        """Tell a value that the printed commands refer to as `$name`."""
        if self._as_json:
            self._object({"export": {name: value}})
        else:
            self._line(f"export {name}={value}", "dim")

    def note(self, text: Text) -> None:
        """Tell something that is no step."""
        if self._as_json:
            self._object({"note": {"zh": text.zh, "en": text.en}})
        else:
            self._line(f"{text.zh}\n{text.en}")

    def tell(self, step: Step) -> None:
        """Tell one step."""
        self.told += 1
        if self._as_json:
            self._object(_as_object(self.told, step))
            return
        self._line("")
        self._line(f"{self.told:>2}  {step.title.zh}", "bold")
        self._line(f"    {step.title.en}", "bold")
        self._line(f"    谁 who   {step.who.zh} · {step.who.en}")
        self._line(f"    据 why   {step.why.zh} · {step.why.en}")
        self._line(f"    {step.curl}", "green")
        self._line(f"    → {step.status}", "yellow" if step.status >= 400 else "cyan")
        for member, value in step.shown.items():
            self._line(f"      {member}: {_written(value)}")
        if step.remark is not None:
            self._line(f"    ※ {_indented(step.remark.zh)}", "italic")
            self._line(f"      {_indented(step.remark.en)}", "italic")

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(Styled(text, style=style), soft_wrap=True)  # commands must stay on one line

    def _object(self, value: dict[str, JsonValue]) -> None:
        self._out.write(json.dumps(value, ensure_ascii=False) + "\n")
        self._out.flush()


def _as_object(number: int, step: Step) -> dict[str, JsonValue]:
    told: dict[str, JsonValue] = {
        "step": number,
        "title": {"zh": step.title.zh, "en": step.title.en},
        "who": {"zh": step.who.zh, "en": step.who.en},
        "why": {"zh": step.why.zh, "en": step.why.en},
        "curl": step.curl,
        "status": step.status,
        "answer": dict(step.shown),
    }
    if step.remark is not None:
        told["remark"] = {"zh": step.remark.zh, "en": step.remark.en}
    return told


def _written(value: JsonValue) -> str:
    return _indented(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _indented(text: str) -> str:
    return text.strip().replace("\n", "\n        ")
