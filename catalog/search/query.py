"""From what a person typed to tantivy queries: what must match, who may see it, and what ranks first.

Matching and ranking are kept apart: matching decides totals and facet counts; ranking puts what matches into
tiers (title before items before abstract, in titles what stands together first), of which few are ever read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tantivy import FieldType, Occur, Query, Schema, Searcher

from app.kernel.clock import now
from catalog.search.document import FACETS, FLAGS, FRESH, moment_key
from catalog.text import bigrams, fold, is_han

Filters = Mapping[str, str | bool | Sequence[str]]
"""Facet or flag name to the value, or the values one of which must hold."""

MAX_TOKENS = 64
_RELAXED_SHARE = 0.6  # of the tokens, where not all of them occur in any document

_TERMS_OF_A_PREFIX = 2_000  # tokens that one character begins

_PHRASES_READ = 5_000  # titles whose positions are read for one search, at most

FRESHNESS = {"week": 7, "month": 31, "year": 366}  # days since the last change; older than all is the rest
OLDER = "older"


class UnknownFilter(ValueError):
    """A filter or facet name that the index does not have."""


@dataclass(frozen=True, slots=True)
class TypedText:
    """What a person typed, cut into tokens; `runs` keeps together what should stand side by side."""

    folded: str
    runs: tuple[tuple[str, ...], ...]

    @classmethod
    def read(cls, text: str) -> TypedText:
        folded = fold(text[: MAX_TOKENS * 4])
        runs: list[tuple[str, ...]] = []
        left = MAX_TOKENS
        for part in folded.split(" "):
            run = tuple(bigrams(part))[:left]
            if run:
                runs.append(run)
                left -= len(run)
        return cls(folded, tuple(runs))

    @property
    def tokens(self) -> tuple[str, ...]:
        """The distinct tokens in order."""
        return tuple(dict.fromkeys(token for run in self.runs for token in run))


class Vocabulary:
    """The terms of an index as they stand, for what is asked by its beginning."""

    def __init__(self, schema: Schema, searcher: Searcher) -> None:
        self.schema = schema
        self._searcher = searcher

    def token(self, field: str, token: str) -> Query:
        """Documents whose `field` holds the token; of a single Han character, any token that it begins."""
        if len(token) > 1 or not is_han(token):
            return Query.term_query(self.schema, field, token, "basic")
        return self.beginning(field, token)

    def beginning(self, field: str, prefix: str) -> Query:
        """Documents whose `field` holds a term that begins with `prefix`."""
        found = self._searcher.terms_with_prefix(field, prefix, None, _TERMS_OF_A_PREFIX)
        return Query.term_set_query(self.schema, field, [term for term, _ in found])


def matching(terms: Vocabulary, typed: TypedText, *, relaxed: bool = False) -> Query:
    """Documents that hold every token, or with `relaxed` most of them. No token at all matches everything."""
    if not typed.tokens:
        return Query.all_query()
    wanted = [
        Query.boolean_query([(Occur.Should, terms.token(field, token)) for field in ("named", "body")])
        for token in typed.tokens
    ]
    if not relaxed:
        return Query.boolean_query([(Occur.Must, term) for term in wanted])
    needed = -int(-len(wanted) * _RELAXED_SHARE // 1)
    return Query.boolean_query([(Occur.Should, term) for term in wanted], minimum_number_should_match=needed)


@dataclass(frozen=True, slots=True)
class Tier:
    """Documents that meet a search in one way, and the column by which they are ordered (None: by score).
    With `at_most`, the tier is asked only where no more documents meet the next one, which holds it."""

    query: Query
    order: str | None
    at_most: int | None = None


def ranking(terms: Vocabulary, typed: TypedText, found: Query, *, relaxed: bool = False) -> list[Tier]:
    """The tiers of `found`, best first, each without what those before it hold: the title or code is what was
    typed; the title holds it side by side; all of it; an item is it; the title holds one of several words;
    titles and items hold all; anything else holds all. Of the relaxed, those that hold more.

    Columns order within a tier, where scores would have to be computed for every document that matches.
    """
    schema = terms.schema
    if relaxed:
        scored = [
            (Occur.Should, Query.const_score_query(terms.token(field, token), score))
            for token in typed.tokens
            for field, score in (("title", 2.0), ("named", 1.0), ("body", 0.5))
        ]
        return [Tier(Query.boolean_query([(Occur.Must, found), *scored]), None)]

    def holds(field: str, tokens: Sequence[str]) -> Query:
        return Query.boolean_query([(Occur.Must, terms.token(field, token)) for token in tokens])

    named, titled = holds("named", typed.tokens), holds("title", typed.tokens)
    tiers = [Tier(Query.term_query(schema, "exact_title", typed.folded, "basic"), "standing")]
    phrases = [Query.phrase_query(schema, "title", list(run)) for run in typed.runs if len(run) > 1]
    if phrases:  # tantivy panics on a phrase of one word
        side_by_side = Query.boolean_query([(Occur.Must, one) for one in (titled, *phrases)])
        tiers.append(Tier(side_by_side, "standing", at_most=_PHRASES_READ))
    tiers.append(Tier(titled, "standing"))
    tiers.append(Tier(Query.term_query(schema, "item", typed.folded, "basic"), "updated"))
    if len(typed.runs) > 1:
        some = Query.boolean_query([(Occur.Should, holds("title", run)) for run in typed.runs])
        tiers.append(Tier(Query.boolean_query([(Occur.Must, named), (Occur.Must, some)]), "updated"))
    return [*tiers, Tier(named, "updated"), Tier(found, "updated")]


def freshness_ranges(at: datetime) -> dict[str, tuple[int | None, int | None]]:
    """For each freshness, the bounds [from, to) of `updated` at that moment."""
    ranges: dict[str, tuple[int | None, int | None]] = {}
    upper: int | None = None
    for name, days in FRESHNESS.items():
        lower = moment_key(at - timedelta(days=days))
        ranges[name] = (lower, upper)
        upper = lower
    return ranges | {OLDER: (None, upper)}


def updated_within(schema: Schema, lower: int | None, upper: int | None) -> Query:
    """Documents whose `updated` lies in [lower, upper)."""
    return Query.range_query(schema, "updated", FieldType.Integer, lower, upper, include_upper=upper is None)


def restriction(schema: Schema, filters: Filters) -> Query:
    """Documents that meet every filter; an empty mapping restricts nothing.

    Raises:
        UnknownFilter: a name that is neither facet nor flag.
    """
    parts: list[tuple[Occur, Query]] = []
    for name, wanted in filters.items():
        if name == FRESH:
            chosen = [wanted] if isinstance(wanted, str) else list(wanted)  # type: ignore[arg-type]
            ranges = freshness_ranges(now())
            spans = [updated_within(schema, *ranges[value]) for value in chosen]
            parts.append((Occur.Must, Query.boolean_query([(Occur.Should, span) for span in spans])))
            continue
        if name not in FACETS and name not in FLAGS and name != "item":
            raise UnknownFilter(name)
        if isinstance(wanted, str | bool):
            parts.append((Occur.Must, Query.term_query(schema, name, wanted, "basic")))
        else:
            parts.append((Occur.Must, Query.term_set_query(schema, name, list(wanted))))
    return Query.boolean_query(parts) if parts else Query.all_query()


def audience(schema: Schema, visible: Sequence[Filters]) -> Query:
    """Resources that meet at least one of the alternatives; no alternative shows nothing."""
    if not visible:
        return Query.empty_query()
    any_resource = Query.term_set_query(schema, "published", [True, False])
    alternatives = [restriction(schema, filters) if filters else any_resource for filters in visible]
    if len(alternatives) == 1:
        return alternatives[0]
    return Query.boolean_query([(Occur.Should, one) for one in alternatives])


def all_of(*queries: Query) -> Query:
    """Every query holds, without scores."""
    return Query.const_score_query(Query.boolean_query([(Occur.Must, query) for query in queries]), 1.0)
