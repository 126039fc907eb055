"""From what a person typed to tantivy queries: what must match, who may see it, and what ranks first.

Matching and ranking are kept apart: matching decides totals and facet counts over the `all` field without
scores, ranking adds them (title before items before abstract, in titles what stands together first).
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

# Constant scores by how a field is met. BM25 of a rare token reaches about 15, so each step stands above it.
_EXACT = {"exact_title": 200.0, "item": 60.0}
_TITLE_HOLDS_RUN = 100.0
_TITLE_ADJACENT = 50.0
_ITEM_BEGINS = 30.0
_TERMS_OF_A_PREFIX = 2_000  # tokens that one character begins; items that begin with what was typed

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
    wanted = [terms.token("all", token) for token in typed.tokens]
    if not relaxed:
        return Query.boolean_query([(Occur.Must, term) for term in wanted])
    needed = -int(-len(wanted) * _RELAXED_SHARE // 1)
    return Query.boolean_query([(Occur.Should, term) for term in wanted], minimum_number_should_match=needed)


def ranking(terms: Vocabulary, typed: TypedText) -> Query | None:
    """What adds to the score of a document that matches; None where nothing was typed."""
    if not typed.tokens:
        return None
    schema = terms.schema
    parts = [
        Query.const_score_query(Query.term_query(schema, field, typed.folded, "basic"), score)
        for field, score in _EXACT.items()
    ]
    parts.append(Query.const_score_query(terms.beginning("item", typed.folded), _ITEM_BEGINS))
    for run in typed.runs:
        held = Query.boolean_query([(Occur.Must, terms.token("title", token)) for token in run])
        parts.append(Query.const_score_query(held, _TITLE_HOLDS_RUN / len(typed.runs)))
        if len(run) > 1:  # tantivy panics on a phrase of one word
            phrase = Query.phrase_query(schema, "title", list(run))
            parts.append(Query.const_score_query(phrase, _TITLE_ADJACENT / len(typed.runs)))
    parts += [Query.term_query(schema, "title", token) for token in typed.tokens]
    return Query.boolean_query([(Occur.Should, part) for part in parts])


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
    """Documents that meet at least one of the alternatives; no alternative shows nothing."""
    if not visible:
        return Query.empty_query()
    return Query.boolean_query([(Occur.Should, restriction(schema, filters)) for filters in visible])


def all_of(*queries: Query) -> Query:
    """Every query holds; adds the same to every score, and not nothing, so that ties can be broken."""
    return Query.const_score_query(Query.boolean_query([(Occur.Must, query) for query in queries]), 1.0)
