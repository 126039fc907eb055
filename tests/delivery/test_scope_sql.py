"""A scope means the same to PostgreSQL as to the record test, whichever of the two applies it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from exchange.scope import parse_scope, sql_of
from exchange.scope import test_of as predicate_of

TEXTS = [None, "", "a", "A", "ab", "中", "中文", "a%b", "a_b", "a\\b", "it's", "é", "Z", "~", "\U0001f600"]
NUMBERS = [None, 0, 1, -1, Decimal("0.1"), Decimal("0.10"), Decimal("2.5"), 3, 10**15]
FLAGS = [None, True, False]
DAYS = [None, date(2019, 12, 31), date(2020, 1, 1), date(2020, 1, 2), date(1, 1, 1)]
MOMENTS = [
    None,
    datetime(2020, 1, 1, tzinfo=UTC),
    datetime(2020, 1, 1, 0, 0, 1, tzinfo=UTC),
    datetime(2019, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
]

ordering = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
words = st.sampled_from([text for text in TEXTS if text is not None]) | st.text("ab中%_'\\Z~", max_size=3)
quoted = words.map(lambda text: "'" + text.replace("'", "''") + "'")
number = st.sampled_from(["0", "1", "-1", "0.1", "2.5", "3", "1000000000000000"])
day = st.sampled_from(["DATE('2020-01-01')", "TIMESTAMP('2020-01-01T00:00:00Z')", "DATE('0001-01-01')"])
pattern = quoted.filter(lambda text: not text.rstrip("'").endswith("\\"))
simple = (
    st.builds("t {} {}".format, ordering, quoted)
    | st.builds("n {} {}".format, ordering, number)
    | st.builds("{} {} {}".format, st.sampled_from(["d", "m"]), ordering, day)
    | st.builds("f {} {}".format, st.sampled_from(["=", "<>"]), st.sampled_from(["TRUE", "FALSE"]))
    | st.builds("{} IS NULL".format, st.sampled_from("tnfdm"))
    | st.builds("t LIKE {}".format, pattern)
    | st.builds("n BETWEEN {} AND {}".format, number, number)
    | st.builds("t IN ({}, {})".format, quoted, quoted)
)
conditions = st.recursive(
    simple,
    lambda inner: (
        st.builds("({} AND {})".format, inner, inner)
        | st.builds("({} OR {})".format, inner, inner)
        | st.builds("NOT ({})".format, inner)
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def rows(server: str) -> Iterator[tuple[psycopg.Connection[dict[str, Any]], list[dict[str, Any]]]]:
    with psycopg.connect(server, row_factory=dict_row, options="-c TimeZone=UTC") as connection:
        connection.execute(
            "CREATE TEMP TABLE held (id int, t text, n numeric, f boolean, d date, m timestamptz)"
        )
        columns: list[list[Any]] = [TEXTS, NUMBERS, FLAGS, DAYS, MOMENTS]
        size = max(map(len, columns))
        for turn in range(3):
            for n in range(size):
                pick = [values[(n + turn * step) % len(values)] for step, values in enumerate(columns)]
                connection.execute(
                    "INSERT INTO held VALUES (%s, %s, %s, %s, %s, %s)", (turn * size + n, *pick)
                )
        yield connection, connection.execute("SELECT * FROM held ORDER BY id").fetchall()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=conditions)
def test_both_admit_the_same_rows(
    rows: tuple[psycopg.Connection[dict[str, Any]], list[dict[str, Any]]], text: str
) -> None:
    connection, held = rows
    condition = parse_scope(text)
    where = sql_of(condition)
    found = connection.execute(f"SELECT id FROM held WHERE {where.text} ORDER BY id".encode(), where.values)
    predicate = predicate_of(condition)
    assert [row["id"] for row in found] == [row["id"] for row in held if predicate(row) is True]
