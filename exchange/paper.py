"""Papers: what is said to people on a page, once as HTML that needs nothing else and once as PDF.

Owns the looks. What a paper says, in the reader's language, is its writer's; everything is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from itertools import groupby
from typing import Any, Protocol

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from app.kernel.calendar import BEIJING
from app.kernel.text import Locale, Text


class Code(str):
    """Words of a machine: identifiers, hashes, filters."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and what stands under them."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Table:
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Words:
    """A paragraph; `lead` stands before it in bold."""

    text: str
    lead: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    blocks: Sequence[Facts | Table | Words]


@dataclass(frozen=True, slots=True)
class Paper:
    """One document in one language. `number` is the line under its title."""

    locale: Locale
    title: str
    number: str
    sections: Sequence[Section]


class Say(Protocol):
    """Chinese or English, whichever the paper is in."""

    def __call__(self, zh: str, en: str, **values: object) -> str: ...


def speaker(locale: Locale) -> Say:
    """What says things in this language; `values` fill the places named in them."""

    def say(zh: str, en: str, **values: object) -> str:
        return Text(zh, en).with_(**values).in_(locale) if values else Text(zh, en).in_(locale)

    return say


def written(moment: datetime, locale: Locale, *, zone: bool = True) -> str:
    """A moment by the legal clock, to the second; without its `zone` where the paper says it once for all."""
    there = moment.astimezone(BEIJING)
    zone_name = ("（北京时间）" if locale == "zh-CN" else " (UTC+8)") if zone else ""
    return f"{day_of(there, locale)} {there:%H:%M:%S}{zone_name}"


def day_of(day: date, locale: Locale) -> str:
    """A day as documents write it."""
    return f"{day.year}年{day.month}月{day.day}日" if locale == "zh-CN" else f"{day:%Y-%m-%d}"


_STYLE = """
:root{font-family:"Noto Serif CJK SC","Source Han Serif SC",SimSun,serif;color:#111}
body{max-width:46rem;margin:2rem auto;padding:0 1rem;line-height:1.7}
h1{text-align:center;font-size:1.6rem}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}
table{border-collapse:collapse;width:100%}
th,td{border:1px solid #666;padding:.3rem .5rem;text-align:left;vertical-align:top}
th{background:#f1f1f1;font-weight:600}th[scope=row]{width:11rem}
code{font-family:ui-monospace,monospace;font-size:.85em;overflow-wrap:anywhere}
.number{text-align:center}p{white-space:pre-line}
@page{size:A4;margin:22mm 20mm}
@media print{body{max-width:none;margin:0;padding:0}thead{display:table-header-group}
tr,h2{break-inside:avoid}h2{break-after:avoid}}
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; frame-ancestors 'none'; base-uri 'none'"
"""Content-Security-Policy of a paper: nothing but its own style."""

_PAGE = """<!doctype html>
<html lang="{{ p.locale }}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ p.title }}</title><style>{{ style|safe }}</style></head>
<body>
<h1>{{ p.title }}</h1>
<p class="number">{{ cell(p.number) }}</p>
{% for section in p.sections %}<h2>{{ section.title }}</h2>
{% for block in section.blocks %}{% if block.lead is defined %}
<p>{% if block.lead %}<b>{{ block.lead }}</b> {% endif %}{{ cell(block.text) }}</p>
{% elif block.head is defined %}<table><thead><tr>{% for name in block.head %}<th>{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for row in block.rows %}<tr>{% for value in row %}<td>{{ cell(value) }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>
{% else %}<table>
{% for name, value in block.rows %}<tr><th scope="row">{{ name }}</th><td>{{ cell(value) }}</td></tr>
{% endfor %}</table>
{% endif %}{% endfor %}{% endfor %}</body></html>
"""
_TEMPLATE = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(_PAGE)


def to_html(paper: Paper) -> str:
    """The paper as a page to read on a screen and to print."""

    def cell(value: str) -> Markup:
        return Markup("<code>{}</code>").format(value) if isinstance(value, Code) else escape(value)

    return _TEMPLATE.render(p=paper, style=_STYLE, cell=cell)


PDF = "application/pdf"
_SONG, _LATIN, _FIXED = "STSong-Light", "Times-Roman", "Courier"
_FOOT = Text("第 {n} 页", "page {n}")


def to_pdf(paper: Paper) -> bytes:
    """The paper as PDF on A4. Chinese is set in the standard Song of PDF readers (Adobe-GB1), so that no font
    travels with the file; what stands in it can be searched and copied."""
    from reportlab.lib.pagesizes import A4  # noqa: PLC0415 - loaded only where a PDF is asked for
    from reportlab.lib.units import mm  # noqa: PLC0415
    from reportlab.platypus import CondPageBreak, SimpleDocTemplate  # noqa: PLC0415

    styles = _styles()

    def foot(canvas: Any, document: Any) -> None:
        words = _set(f"{paper.title} · {_FOOT.with_(n=document.page).in_(paper.locale)}", styles["number"])
        words.wrapOn(canvas, A4[0], 10 * mm)
        words.drawOn(canvas, 0, 12 * mm)

    story: list[Any] = [_set(paper.title, styles["title"]), _set(paper.number, styles["number"])]
    for section in paper.sections:
        story += [CondPageBreak(30 * mm), _set(section.title, styles["heading"])]
        for block in section.blocks:
            story += _flowables(block, styles)
    out = io.BytesIO()
    # `invariant`: the same paper is the same bytes whenever it is written.
    document = SimpleDocTemplate(
        out, pagesize=A4, title=paper.title, lang=paper.locale, invariant=1,
        leftMargin=20 * mm, rightMargin=20 * mm, topMargin=20 * mm, bottomMargin=22 * mm,
    )  # fmt: skip
    document.build(story, onFirstPage=foot, onLaterPages=foot)
    return out.getvalue()


def _flowables(block: Facts | Table | Words, styles: dict[str, Any]) -> list[Any]:
    from reportlab.lib.units import mm  # noqa: PLC0415
    from reportlab.platypus import Spacer  # noqa: PLC0415

    if isinstance(block, Words):
        return [_set(block.text, styles["words"], lead=block.lead)]
    if isinstance(block, Table):
        head = [[_set(name, styles["head"]) for name in block.head]]
        rows = [[_set(value, styles["cell"]) for value in row] for row in block.rows]
        return [
            _grid(head + rows, [share * 170 * mm for share in _shares(block)], heads=1),
            Spacer(1, 2 * mm),
        ]
    rows = [[_set(name, styles["head"]), _set(value, styles["cell"])] for name, value in block.rows]
    return [_grid(rows, [38 * mm, 132 * mm], heads=0), Spacer(1, 2 * mm)]


def _shares(table: Table) -> list[float]:
    """How much of the width each column gets: by its longest cell, none less than a quarter of the widest."""
    columns = zip(table.head, *table.rows, strict=True)
    longest = [max(map(_length, column)) for column in columns]
    wide = [min(max(length, max(longest) / 4), 40) for length in longest]
    return [each / sum(wide) for each in wide]


def _length(cell: str) -> float:
    """In Latin letters; those of a machine stand wider."""
    return sum(1.7 if sign >= "\u0100" else 1.3 if isinstance(cell, Code) else 1 for sign in cell)


def _grid(rows: list[list[Any]], widths: list[float], *, heads: int) -> Any:
    from reportlab.lib.colors import HexColor  # noqa: PLC0415
    from reportlab.platypus import Table as Grid  # noqa: PLC0415

    named = (0, 0), ((-1, 0) if heads else (0, -1))
    look: list[Any] = [
        ("GRID", (0, 0), (-1, -1), 0.5, HexColor("#666666")),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("BACKGROUND", *named, HexColor("#f1f1f1")),
    ]
    return Grid(rows, colWidths=widths, repeatRows=heads, style=look)


def _set(value: str, style: Any, *, lead: str = "") -> Any:
    from reportlab.platypus import Paragraph  # noqa: PLC0415

    body = _runs(value, _FIXED if isinstance(value, Code) else _LATIN)
    return Paragraph((_runs(lead, _LATIN) + "　" if lead else "") + body.replace("\n", "<br/>"), style)


def _runs(value: str, latin: str) -> str:
    """Markup in which what the Latin font can draw is set in it: in the Song, Latin letters stand too wide."""
    parts: list[str] = []
    for is_latin, run in _split(value):
        parts.append(f'<font name="{latin}">{escape(run)}</font>' if is_latin else str(escape(run)))
    return "".join(parts)


def _split(value: str) -> Iterable[tuple[bool, str]]:
    latin = [_is_latin(value, at) for at in range(len(value))]
    for is_latin, run in groupby(range(len(value)), key=latin.__getitem__):
        yield is_latin, "".join(value[at] for at in run)


def _is_latin(value: str, at: int) -> bool:
    """Curly quotes are both scripts': they go with what they enclose."""
    if value[at] in "“‘”’":
        beside = at + 1 if value[at] in "“‘" else at - 1
        return 0 <= beside < len(value) and value[beside] < "\u0100"
    return value[at] < "\u0100"


@cache
def _styles() -> dict[str, Any]:
    from reportlab.lib import textsplit  # noqa: PLC0415
    from reportlab.lib.styles import ParagraphStyle  # noqa: PLC0415
    from reportlab.pdfbase import pdfmetrics  # noqa: PLC0415
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont  # noqa: PLC0415
    from reportlab.platypus import paragraph  # noqa: PLC0415

    # Made for Japanese, it lacks what else may not begin a line in Chinese (GB/T 15834). It is read in two places.
    textsplit.ALL_CANNOT_START += "》〉，；：！？”’…"  # type: ignore[misc]  # so the stubs; there is no setting
    paragraph.ALL_CANNOT_START = textsplit.ALL_CANNOT_START  # type: ignore[attr-defined]  # the same
    pdfmetrics.registerFont(UnicodeCIDFont(_SONG))
    plain = ParagraphStyle("plain", fontName=_SONG, fontSize=10.5, leading=16, wordWrap="CJK")
    return {
        "title": ParagraphStyle("title", plain, fontSize=19, leading=28, alignment=1, spaceAfter=4),
        "number": ParagraphStyle("number", plain, fontSize=9.5, alignment=1, spaceAfter=6),
        "heading": ParagraphStyle("heading", plain, fontSize=13, leading=20, spaceBefore=9, spaceAfter=4),
        "words": ParagraphStyle("words", plain, spaceAfter=4),
        "head": ParagraphStyle("head", plain),
        "cell": ParagraphStyle("cell", plain),
    }
