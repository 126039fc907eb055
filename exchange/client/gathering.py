"""Several resources of several providers in one call, for one subject: each part under its own agreement.

Owns records page by page, and what a part says that did not come. A part is there whole or not at all, and the
parts beside it are not touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from exchange.client.flows import DataPage, Flow, Flows, Refused, Unreachable, Wanted


@dataclass(frozen=True, slots=True)
class Part:
    """The records of one `Wanted`, or why they are not there; `receipts` are of all that was delivered for it."""

    records: tuple[dict[str, Any], ...]
    receipts: tuple[str, ...]
    failed: Refused | Unreachable | None = None


@dataclass(frozen=True, slots=True)
class Gathered:
    """The parts under the names that the caller gave them."""

    parts: dict[str, Part]

    @property
    def is_whole(self) -> bool:
        """Whether no part failed; a part without records is whole."""
        return all(part.failed is None for part in self.parts.values())


class Records:
    """The records of one page after another, and the receipts of the pages."""

    def __init__(self, flows: Flows, wanted: Wanted, limit: int | None) -> None:
        self._flows = flows
        self._wanted = wanted
        self._limit = limit
        self._body = bytearray()
        self._offset = 0
        self.receipts: list[str] = []
        self.is_over = False

    def next_page(self) -> Flow[list[dict[str, Any]]]:
        self._body.clear()
        page: DataPage = yield from self._flows.page(
            self._wanted, "ndjson", self._body.extend, self._body.clear, offset=self._offset, limit=self._limit
        )  # fmt: skip
        self._offset += page.rows
        self.receipts.append(page.receipt)
        self.is_over = page.is_last
        return [msgspec.json.decode(line, type=dict[str, Any]) for line in self._body.splitlines()]


def part(flows: Flows, wanted: Wanted) -> Flow[Part]:
    """One part to its end; a refusal, or a line that stays broken, is the part's own."""
    records, found = Records(flows, wanted, None), list[dict[str, Any]]()
    try:
        while not records.is_over:
            found += yield from records.next_page()
    except (Refused, Unreachable) as failed:
        return Part((), tuple(records.receipts), failed)
    return Part(tuple(found), tuple(records.receipts))
