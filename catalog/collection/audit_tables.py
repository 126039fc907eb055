"""What an audit reads: the catalog as tables of numbers, and what an engine does with tables.

Owns which features make names and resources worth comparing. Comparing is `audit`'s.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from catalog.collection.knowledge import MEANINGLESS, Knowledge
from catalog.collection.meaning import Encoder, nearest_in_meaning
from catalog.collection.normalise import grams, name_key, tokens
from catalog.collection.profiles import ItemProfile, common_from, scattered
from catalog.collection.scoring import AliasTable, CannotLink, Context, Scorer, initials_of

_RAREST_GRAMS, _GRAM_LIMIT = 4, 200  # of a name, by which others are found; names that may share one
# Resources that share an element or a topic token, for it to tell anything.
_ELEMENT_LIMIT, _TOKEN_LIMIT = 60, 300

Batches = Iterator[pa.RecordBatch]


class Engine(Protocol):
    """What runs the statements."""

    def put(self, name: str, table: pa.Table) -> None:
        """Give a table a name."""

    def keep(self, name: str, sql: str) -> None:
        """Run a statement and give its result a name."""

    def map(
        self,
        name: str,
        source: str,
        scorer: Callable[[Batches], Batches],
        schema: pa.Schema,
        told: Callable[[int, int], None] = ...,
    ) -> None:
        """Send a named table through the scorer, in batches, in no order; name what comes. `told` hears how many
        rows have come of how many went in, where the engine knows."""

    def rows(self, sql: str) -> pa.Table:
        """What a statement gives."""


class Held:
    """The catalog as tables of numbers."""

    def __init__(self, profiles: Iterable[ItemProfile]) -> None:
        self.profiles: list[ItemProfile] = []
        self.names: list[str] = []
        self.resources: list[ItemProfile] = []  # one item of each
        self.contents: list[list[int]] = []  # names of each resource
        self._rows: list[tuple[int, int, int, str, str, str]] = []
        number: dict[str, int] = {}
        resource_number: dict[str, int] = {}
        for profile in profiles:
            key = name_key(profile.name)
            if not key or key in MEANINGLESS:
                continue
            name = number.setdefault(key, len(number))
            resource = resource_number.setdefault(profile.resource_id, len(resource_number))
            if resource == len(self.contents):
                self.contents.append([])
                self.resources.append(profile)
            if name in self.contents[resource]:
                continue
            self.contents[resource].append(name)
            self._rows.append((resource, name, len(self.profiles), key, profile.data_type, profile.code_list))
            self.profiles.append(profile)
        self.names.extend(number)
        self.topics = [Context(title=p.resource_title, population=p.population).about for p in self.resources]

    def mined(self) -> CannotLink:
        """What separates the items of one resource."""
        found = CannotLink()
        for contents in self.contents:
            found.learn(self.names[n] for n in contents)
        return found

    def meant(self, encoder: Encoder | None) -> pa.Table:
        """Pairs of names that are near in meaning and that no resource holds side by side, with their cosines in
        thousandths; none without an encoder."""
        if encoder is None:
            return table(_MEANT, [])
        holders: list[set[int]] = [set() for _ in self.names]
        for resource, contents in enumerate(self.contents):
            for name in contents:
                holders[name].add(resource)
        near = nearest_in_meaning(encoder, self.names)
        return table(_MEANT, [pair for pair in near if holders[pair[0]].isdisjoint(holders[pair[1]])])

    def common(self) -> frozenset[str]:
        """Names that many resources hold."""
        holders: dict[int, list[int]] = defaultdict(list)
        for resource, contents in enumerate(self.contents):
            for name in contents:
                holders[name].append(resource)
        limit = common_from(len(self.contents))
        return frozenset(
            self.names[name]
            for name, held in holders.items()
            if len(held) >= limit and scattered([self.topics[r] for r in held])
        )

    def rarity(self) -> tuple[dict[str, float], float]:
        """How telling each topic token is."""
        frequency = Counter(token for topic in self.topics for token in topic)
        total = len(self.topics)
        return {t: math.log(1 + total / n) for t, n in frequency.items()}, math.log(2 + total)

    def put(self, engine: Engine, known: Knowledge, scorer: Scorer) -> None:
        """The tables that the statements read."""
        telling = [int(not scorer.is_generic(key)) for key in self.names]
        engine.put("held", table(_HELD, [(*row, telling[row[1]]) for row in self._rows]))
        engine.put(
            "resource",
            table(
                _RESOURCE,
                [(n, p.resource_title, p.population, p.agency_id, len(self.contents[n])) for n, p in enumerate(self.resources)],
            ),
        )  # fmt: skip
        pieces = [grams(key) for key in self.names]
        frequency = Counter(gram for found in pieces for gram in found)
        spelt = [
            (name, gram)
            for name, found in enumerate(pieces)
            for gram in sorted(found, key=lambda g: (frequency[g], g))[:_RAREST_GRAMS]
            if 1 < frequency[gram] <= _GRAM_LIMIT
        ]
        engine.put("spelt", table(_SPELT, spelt))
        aliases = AliasTable(known.aliases)
        means = [
            (name, said)
            for name, key in enumerate(self.names)
            for said in {min(aliases.of(key)), " ".join(sorted(tokens(key))), *initials_of(key)}
        ]
        engine.put("means", table(_MEANS, means))

    def features(self, roots: Sequence[int], wanted: Collection[str] | None) -> pa.Table:
        """What makes resources near: elements and topics that few share."""
        rows = [
            (resource, f"e{root}")
            for resource, names in enumerate(self.contents)
            for root in {roots[n] for n in names}
        ]
        rows += [
            (resource, f"t{token}") for resource, topic in enumerate(self.topics) for token in sorted(topic)
        ]
        frequency = Counter(feature for _, feature in rows)
        limits = {"e": _ELEMENT_LIMIT, "t": _TOKEN_LIMIT}
        total = len(self.contents)
        asked = [int(wanted is None or p.resource_id in wanted) for p in self.resources]
        return table(
            _FEATURE,
            [
                (resource, feature, round(1000 * math.log(1 + total / frequency[feature])), asked[resource])
                for resource, feature in rows
                if 1 < frequency[feature] <= limits[feature[0]]
            ],
        )


_HELD = pa.schema([
    ("resource", pa.int32()), ("name", pa.int32()), ("item", pa.int64()), ("key", pa.string()),
    ("data_type", pa.string()), ("code_list", pa.string()), ("telling", pa.int32()),
])  # fmt: skip
_RESOURCE = pa.schema(
    [
        ("resource", pa.int32()),
        ("title", pa.string()),
        ("population", pa.string()),
        ("agency", pa.string()),
        ("size", pa.int32()),
    ]
)
_SPELT = pa.schema([("name", pa.int32()), ("gram", pa.string())])
_MEANT = pa.schema([("one", pa.int32()), ("other", pa.int32()), ("meaning", pa.int32())])
_MEANS = pa.schema([("name", pa.int32()), ("element", pa.string())])
_FEATURE = pa.schema(
    [("resource", pa.int32()), ("feature", pa.string()), ("weight", pa.int64()), ("wanted", pa.int32())]
)


def table(schema: pa.Schema, rows: Sequence[tuple[object, ...]]) -> pa.Table:
    """Rows as a table of these columns."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )
