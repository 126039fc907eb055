"""From what a person typed to tantivy queries: what must match, who may see it, and what ranks first.

Matching and ranking are kept apart: matching decides totals and facet counts over the `all` field without
scores, ranking adds them (title before items before abstract, adjacent characters before scattered ones).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tantivy import Occur, Query, Schema

from catalog.search.document import FACETS, FLAGS
from catalog.text import bigrams, fold

Filters = Mapping[str, str | bool | Sequence[str]]
"""Facet or flag name to the value, or the values one of which must hold."""

MAX_TOKENS = 64
_RELAXED_SHARE = 0.6  # of the tokens, where not all of them occur in any document

# Constant scores by how a field is met. BM25 of a rare token reaches about 15, so each step stands above it.
_EXACT = {"exact_code": 400.0, "exact_title": 200.0, "exact_item": 60.0}
_WHOLE_RUN = {"title": 100.0, "items": 30.0}
_ADJACENT = {"title": 50.0, "items": 20.0, "body": 10.0}
_BM25 = {"title": 1.0, "items": 0.5, "body": 0.3}


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


def matching(schema: Schema, typed: TypedText, *, relaxed: bool = False) -> Query:
    """Documents that hold every token, or with `relaxed` most of them. No token at all matches everything."""
    if not typed.tokens:
        return Query.all_query()
    terms = [Query.term_query(schema, "all", token, "basic") for token in typed.tokens]
    if not relaxed:
        return Query.boolean_query([(Occur.Must, term) for term in terms])
    needed = -int(-len(terms) * _RELAXED_SHARE // 1)
    return Query.boolean_query([(Occur.Should, term) for term in terms], minimum_number_should_match=needed)


def ranking(schema: Schema, typed: TypedText) -> Query | None:
    """What adds to the score of a document that matches; None where nothing was typed."""
    if not typed.tokens:
        return None
    parts = [
        Query.const_score_query(Query.term_query(schema, field, typed.folded, "basic"), score)
        for field, score in _EXACT.items()
    ]
    for run in typed.runs:
        for field, score in _WHOLE_RUN.items():
            terms = [(Occur.Must, Query.term_query(schema, field, token)) for token in run]
            parts.append(Query.const_score_query(Query.boolean_query(terms), score / len(typed.runs)))
        for field, score in _ADJACENT.items():
            if len(run) > 1:  # tantivy panics on a phrase of one word
                phrase = Query.phrase_query(schema, field, list(run))
                parts.append(Query.const_score_query(phrase, score / len(typed.runs)))
    for field, boost in _BM25.items():
        for token in typed.tokens:
            parts.append(Query.boost_query(Query.term_query(schema, field, token), boost))
    return Query.boolean_query([(Occur.Should, part) for part in parts])


def restriction(schema: Schema, filters: Filters) -> Query:
    """Documents that meet every filter; an empty mapping restricts nothing.

    Raises:
        UnknownFilter: a name that is neither facet nor flag.
    """
    parts: list[tuple[Occur, Query]] = []
    for name, wanted in filters.items():
        if name not in FACETS and name not in FLAGS:
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
    """Every query holds, without adding to the score."""
    return Query.const_score_query(Query.boolean_query([(Occur.Must, query) for query in queries]), 0.0)
