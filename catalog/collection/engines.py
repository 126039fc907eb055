"""What runs the audit's statements: DuckDB on one machine, Spark on many. Both give the same rows.

Owns connections and how batches reach the scorer. Spark is an optional part; without it only its engine fails.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from catalog.collection.audit_tables import Batches

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Scorer = Callable[[Batches], Batches]
Progress = Callable[[int, int], None]
_BATCH = 20_000
_MEMORY = "1GB"
_FEW = 100_000  # rows that are scored in this process

_scorer: Scorer | None = None  # of a scoring process


def _untold(_done: int, _total: int) -> None:
    pass


def _begin(scorer: Scorer) -> None:
    global _scorer  # noqa: PLW0603 - what the process was started for
    _scorer = scorer


def _score(batch: pa.RecordBatch) -> list[pa.RecordBatch]:
    assert _scorer is not None
    return list(_scorer(iter([batch])))


class DuckEngine:
    """DuckDB in this process; long tables are scored by as many processes as there are cores."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, workers: int) -> None:
        self._connection, self._workers, self.few = connection, workers, _FEW

    def put(self, name: str, table: pa.Table) -> None:
        self._connection.register("given", table)
        self._connection.execute(f"CREATE TABLE {name} AS SELECT * FROM given")
        self._connection.unregister("given")

    def keep(self, name: str, sql: str) -> None:
        self._connection.execute(f"CREATE TABLE {name} AS {sql}")

    def map(
        self, name: str, source: str, scorer: Scorer, schema: pa.Schema, told: Progress = _untold
    ) -> None:
        rows = self.rows(f"SELECT count(*) AS n FROM {source}")["n"][0].as_py()
        read = self._connection.cursor().sql(f"SELECT * FROM {source}").to_arrow_reader(_BATCH)
        self.put(name, schema.empty_table())
        done = 0
        with _scoring(scorer, self._workers if rows > self.few else 1) as score:
            for batches in score(read):
                self._connection.register("given", pa.Table.from_batches(batches, schema))
                self._connection.execute(f"INSERT INTO {name} SELECT * FROM given")
                self._connection.unregister("given")
                done += sum(batch.num_rows for batch in batches)
                told(done, rows)

    def rows(self, sql: str) -> pa.Table:
        return self._connection.sql(sql).to_arrow_table()


@contextmanager
def _scoring(
    scorer: Scorer, workers: int
) -> Iterator[Callable[[pa.RecordBatchReader], Iterator[list[pa.RecordBatch]]]]:
    if workers == 1:
        yield lambda read: (list(scorer(iter([batch]))) for batch in read)
        return
    with ProcessPoolExecutor(workers, get_context("fork"), _begin, (scorer,)) as pool:

        def in_processes(read: pa.RecordBatchReader) -> Iterator[list[pa.RecordBatch]]:
            batches = iter(read)
            while some := list(islice(batches, workers * 4)):  # no more in memory than is being scored
                yield from pool.map(_score, some)

        yield in_processes


@contextmanager
def duck(workers: int | None = None) -> Iterator[DuckEngine]:
    """A database in memory that spills to disk beyond its share."""
    with duckdb.connect(config={"memory_limit": _MEMORY, "preserve_insertion_order": False}) as connection:
        yield DuckEngine(connection, workers or len(os.sched_getaffinity(0)))


class SparkEngine:
    """Spark: the same statements as views, the same scorer through mapInArrow."""

    def __init__(self, session: SparkSession) -> None:
        self._session = session

    def put(self, name: str, table: pa.Table) -> None:
        self._view(name, self._session.createDataFrame(table))

    def keep(self, name: str, sql: str) -> None:
        self._view(name, self._session.sql(sql))

    def map(
        self, name: str, source: str, scorer: Scorer, schema: pa.Schema, told: Progress = _untold
    ) -> None:
        from pyspark.sql.pandas.types import from_arrow_schema  # noqa: PLC0415 - only where Spark is asked for

        found = self._session.table(source).mapInArrow(scorer, from_arrow_schema(schema))
        self._view(name, found)

    def rows(self, sql: str) -> pa.Table:
        return self._session.sql(sql).toArrow()

    @staticmethod
    def _view(name: str, found: DataFrame) -> None:
        found.cache().createOrReplaceTempView(name)


@contextmanager
def spark(master: str) -> Iterator[SparkEngine]:
    """A session on `master` (`local[2]`, `spark://…`). Errors: ModuleNotFoundError where pyspark is absent."""
    from pyspark.sql import SparkSession  # noqa: PLC0415 - an optional part

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else whichever python3 is found first

    builder: Any = SparkSession.builder
    session = (
        builder.master(master).appName("zhengtong audit-duplicates")
        .config("spark.ui.enabled", "false").config("spark.sql.shuffle.partitions", "8")
        .config("spark.sql.ansi.enabled", "true").getOrCreate()
    )  # fmt: skip
    try:
        yield SparkEngine(session)
    finally:
        session.stop()
