"""The forms in which records leave: JSON, NDJSON, CSV. Chosen by the Accept header (RFC 9110 §12.5.1)."""

from __future__ import annotations

import csv
import io
from typing import Protocol

import msgspec

from exchange.delivery.pages import Page

JSON = "application/json"
NDJSON = "application/x-ndjson"
CSV = "text/csv"


class Format(Protocol):
    """Turns pages of JSON records into the bytes of one response body, in order."""

    media_type: str

    def begin(self) -> bytes: ...

    def page(self, page: Page) -> bytes: ...

    def end(self) -> bytes: ...


class JsonFormat:
    """One array."""

    media_type = JSON

    def __init__(self) -> None:
        self._separator = b""

    def begin(self) -> bytes:
        return b"["

    def page(self, page: Page) -> bytes:
        if not len(page):
            return b""
        written = self._separator + page.joined()
        self._separator = b","
        return written

    def end(self) -> bytes:
        return b"]"


class NdjsonFormat:
    """One record a line."""

    media_type = NDJSON

    def begin(self) -> bytes:
        return b""

    def page(self, page: Page) -> bytes:
        return b"\n".join([*page.lines(), b""])

    def end(self) -> bytes:
        return b""


class CsvFormat:
    """RFC 4180 with a header of item codes; numbers as written, nested values as JSON, null as empty."""

    media_type = f"{CSV}; charset=utf-8; header=present"

    def __init__(self, items: tuple[str, ...]) -> None:
        self._items = items
        self._decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        self._text = msgspec.json.Decoder(str).decode

    def begin(self) -> bytes:
        return self._lines([self._items])

    def page(self, page: Page) -> bytes:
        rows = (self._decode(record) for record in page.lines())
        return self._lines([[self._cell(row.get(code)) for code in self._items] for row in rows])

    def end(self) -> bytes:
        return b""

    def _cell(self, raw: msgspec.Raw | None) -> str:
        if raw is None:
            return ""
        written = bytes(raw)
        if written.startswith(b'"'):
            return self._text(written)
        return "" if written == b"null" else written.decode()

    def _lines(self, rows: list[list[str]] | list[tuple[str, ...]]) -> bytes:
        buffer = io.StringIO(newline="")
        csv.writer(buffer).writerows(rows)
        return buffer.getvalue().encode()


def choose_media_type(accept: str) -> str | None:
    """The best of the three for an Accept header; JSON where anything will do, None where nothing fits."""
    best, best_quality = None, 0.0
    for part in (accept or "*/*").lower()[:1000].split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        found = {"*/*": JSON, "application/*": JSON, "text/*": CSV, JSON: JSON, NDJSON: NDJSON, CSV: CSV}.get(
            name
        )
        if found is not None and quality > best_quality:
            best, best_quality = found, quality
    return best


def format_for(media_type: str, items: tuple[str, ...]) -> Format:
    """A fresh writer of one of the media types that `choose_media_type` gives."""
    if media_type == CSV:
        return CsvFormat(items)
    return NdjsonFormat() if media_type == NDJSON else JsonFormat()
