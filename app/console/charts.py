"""Pictures as SVG, drawn on the server without scripts or styles of their own: bars over time, the path of a case,
who shares with whom, the states of a machine. Each stands beside a table or list that says the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from app.console.words import tone
from app.kernel.machine import Machine

_WIDE = 1200
_TOP = 56  # room for the arcs over the first row of states
_SERIES = ("a", "b", "c")


def _svg(width: float, height: float, title: str, body: Markup) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{title}">{body}</svg>'
    ).format(w=round(width), h=round(height), title=title, body=body)


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> Markup:
    return Markup('<text x="{x}" y="{y}" text-anchor="{a}" class="{k}">{w}</text>').format(
        x=round(x, 1), y=round(y, 1), a=anchor, k=kind, w=words
    )


def _short(words: str, limit: int) -> str:
    """Words cut to so many half-width places; a Chinese character takes two."""
    room = limit
    for n, character in enumerate(words):
        room -= 2 if ord(character) > 0x2E7F else 1
        if room < 0:
            return words[: max(1, n - 1)] + "…"
    return words


def _lines(words: str, limit: int, most: int) -> list[str]:
    """Words in as few lines as have room for them, at most so many: broken at a space, Chinese anywhere."""
    first = _short(words, limit)
    if first == words or most == 1:
        return [first]
    kept = first.removesuffix("…")
    at = kept.rfind(" ") if kept.isascii() and " " in kept else len(kept)
    return [words[:at], *_lines(words[at:].strip(), limit, most - 1)]


def columns(labels: Sequence[str], series: Mapping[str, Sequence[float]], title: str) -> Markup:
    """Columns side by side for each label, one for each series, with the value over each."""
    top = max((value for values in series.values() for value in values), default=0) or 1
    left, bottom, high = 12.0, 210.0, 160.0
    step = (_WIDE - 2 * left) / max(1, len(labels))
    width = min(40.0, step / (len(series) + 1))
    body = Markup('<path class="axis" d="M{a} {y}H{b}"/>').format(a=left, b=_WIDE - left, y=bottom)
    written = [_lines(label, max(4, int(step / 7)), 3) for label in labels]
    for n, lines in enumerate(written):
        middle = left + step * (n + 0.5)
        for line, words in enumerate(lines):
            body += _text(middle, bottom + 18 + 16 * line, words, "middle")
        for k, values in enumerate(series.values()):
            x = middle + (k - len(series) / 2) * width
            tall = high * values[n] / top
            body += Markup(
                '<rect class="{c}" x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}"/>'
            ).format(c=_SERIES[k], x=x, y=bottom - tall, w=width - 2, h=tall)
            if values[n]:
                body += _text(x + width / 2 - 1, bottom - tall - 4, f"{values[n]:g}", "middle", "soft")
    at = left
    for k, name in enumerate(series):
        body += Markup('<rect class="{c}" x="{x}" y="10" width="12" height="12"/>').format(c=_SERIES[k], x=at)
        body += _text(at + 17, 21, name)
        at += 34 + 13.0 * len(name)
    return _svg(_WIDE, bottom + 12 + 16 * max(2, *map(len, written), 0), title, body)


def bars(rows: Sequence[tuple[str, float]], title: str, unit: str = "") -> Markup:
    """A bar for each row, longest first as given."""
    top = max((value for _, value in rows), default=0) or 1
    body = Markup()
    for n, (label, value) in enumerate(rows):
        y = 12 + n * 30
        lines = _lines(label, 44, 2)
        for line, words in enumerate(lines):
            body += _text(330, y + (15 if len(lines) == 1 else 8 + 15 * line), words, "end")
        body += Markup('<rect class="a" x="340" y="{y}" width="{w:.1f}" height="20"/>').format(
            y=y, w=max(1.0, 700 * value / top)
        )
        body += _text(348 + max(1.0, 700 * value / top), y + 15, f"{value:g}{unit}")
    return _svg(_WIDE, 20 + 30 * len(rows), title, body)


@dataclass(frozen=True, slots=True)
class Mark:
    """One point of a path: when, what, and whether it is still to come."""

    at: datetime
    words: str
    when: str
    ahead: bool = False
    late: bool = False


def path(marks: Sequence[Mark], title: str) -> Markup:
    """A case from left to right in order, what is still due after what happened; equal steps, so that it can be read."""
    shown = sorted(marks, key=lambda mark: (mark.ahead, mark.at))
    across = 8
    body = Markup()
    step = (_WIDE - 20) / across
    for n, mark in enumerate(shown):
        row, column = divmod(n, across)
        x, y = 10 + step * (column + 0.5), 24 + row * 86
        if column:
            body += Markup('<path class="edge" d="M{a:.1f} {y}H{b:.1f}"{d}/>').format(
                a=x - step + 8, b=x - 8, y=y, d=Markup(' stroke-dasharray="4 4"') if mark.ahead else ""
            )
        kind = "stop" if mark.late else "wait" if mark.ahead else "go"
        body += Markup('<circle class="node {k}" cx="{x:.1f}" cy="{y}" r="7"/>').format(k=kind, x=x, y=y)
        body += _text(x, y + 26, _short(mark.words, 20), "middle")
        body += _text(x, y + 43, mark.when, "middle", "soft")
    return _svg(_WIDE, 86 * math.ceil(len(shown) / across) + 4, title, body)


def graph(names: Sequence[str], edges: Mapping[tuple[int, int], int], title: str) -> Markup:
    """Who shares with whom: agencies round a circle, an arrow from each provider to each requester, as thick as
    they have agreements."""
    radius, middle_x, middle_y = 190.0, _WIDE / 2, 240.0
    places = [
        (middle_x + radius * math.cos(a), middle_y + radius * math.sin(a))
        for a in (2 * math.pi * n / max(1, len(names)) - math.pi / 2 for n in range(len(names)))
    ]
    body = Markup(
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'markerUnits="userSpaceOnUse" orient="auto"><path class="head" d="M0 0L8 4L0 8z"/></marker></defs>'
    )
    for (start, end), count in edges.items():
        (x, y), (u, v) = places[start], places[end]
        length = math.hypot(u - x, v - y) or 1
        bent_x, bent_y = (
            (x + u) / 2 + (middle_x - (x + u) / 2) * 0.35,
            (y + v) / 2 + (middle_y - (y + v) / 2) * 0.35,
        )
        body += Markup(
            '<path class="edge" stroke-width="{w}" marker-end="url(#arrow)" d="M{a:.0f} {b:.0f}Q{c:.0f} {d:.0f} {e:.0f} {f:.0f}"/>'
        ).format(
            w=min(6.0, 1 + count * 0.7), a=x, b=y, c=bent_x, d=bent_y, e=u - 9 * (u - x) / length, f=v - 9 * (v - y) / length
        )  # fmt: skip
    for (x, y), name in zip(places, names, strict=True):
        body += Markup('<circle class="node" cx="{x:.0f}" cy="{y:.0f}" r="7"/>').format(x=x, y=y)
        side = "middle" if abs(x - middle_x) < 30 else "start" if x > middle_x else "end"
        up = -14 if y < middle_y else 24
        body += _text(
            x + {"middle": 0, "start": 13, "end": -13}[side],
            y + (up if side == "middle" else 5),
            _short(name, 44),
            side,
        )
    return _svg(_WIDE, 480, title, body)


def states(machine: Machine, locale: str) -> Markup:
    """The states of a machine in layers from its beginning, with an arrow for each way from one to another. Acts
    that leave the state as it is are in the table beside it."""
    layers = _layers(machine)
    places: dict[str | None, tuple[float, float]] = {}
    body = Markup(
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto"><path class="head" d="M0 0L8 4L0 8z"/></marker></defs>'
    )
    tall = 96.0
    for level, row in enumerate(layers):
        for n, state in enumerate(row):
            places[state] = (_WIDE * (n + 0.5) / len(row), _TOP + level * tall)
    drawn: dict[tuple[str, str], int] = {}
    for row_ in machine.rows:
        if row_.source is not None and row_.source != row_.target:
            drawn[(row_.source, row_.target)] = drawn.get((row_.source, row_.target), 0) + 1
    for start, end in drawn:
        body += _way(places[start], places[end], 0 if start < end else 1)
    for shown, (x, y) in places.items():
        assert shown is not None
        words = _short(machine.states[shown].in_(locale), 34)
        width = 26 + sum(14 if ord(c) > 0x2E7F else 7.4 for c in words)
        body += Markup(
            '<rect class="node {k}" x="{x:.0f}" y="{y:.0f}" width="{w:.0f}" height="34" rx="5"/>'
        ).format(k=tone(shown), x=x - width / 2, y=y - 17, w=width)
        body += _text(x, y + 5, words, "middle")
    return _svg(_WIDE, _TOP + tall * (len(layers) - 1) + 60, machine.kind, body)


def _way(start: tuple[float, float], end: tuple[float, float], side: int) -> Markup:
    (x, y), (u, v) = start, end
    down = v > y
    if v == y:
        a, b, bend = y - 17, v - 17, -34.0
    else:
        a, b, bend = (y + 17, v - 17, 0.0) if down else (y - 17, v + 17, 0.0)
    shift = (14 if side else -14) if v != y else 0
    return Markup('<path class="edge" marker-end="url(#tip)" d="M{x:.0f} {a:.0f}C{x:.0f} {c:.0f} {u:.0f} {d:.0f} {u:.0f} {b:.0f}"/>').format(
        x=x + shift, a=a, c=a + (bend or (b - a) * 0.4), u=u + shift, d=b + (bend or -(b - a) * 0.4), b=b
    )  # fmt: skip


def _layers(machine: Machine) -> list[list[str]]:
    """The states by how many steps lead to each from the beginning."""
    first = list(dict.fromkeys(row.target for row in machine.rows if row.source is None))
    layers, seen = [first], set(first)
    while True:
        following = list(
            dict.fromkeys(
                row.target for row in machine.rows if row.source in layers[-1] and row.target not in seen
            )
        )
        if not following:
            rest = [state for state in machine.states if state not in seen]
            return [*layers, rest] if rest else layers
        layers.append(following)
        seen.update(following)
