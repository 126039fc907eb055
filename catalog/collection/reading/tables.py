"""Table definitions read as plans, one plan a table: SQL CREATE TABLE in any dialect, or an export of
information_schema.columns as CSV. The comment of a column is its name, the column's own name its code.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from app.kernel.text import Text
from catalog.collection.reading.described import Described
from catalog.formats.reading import FileRefused
from catalog.resources.codes import DataType

_DIALECTS = ("postgres", "mysql", "oracle", "tsql", "sqlite")
# By the words that names of types are made of, in the order in which they tell.
_TYPES: tuple[tuple[str, DataType], ...] = (
    ("timestamp", DataType.DATETIME), ("datetime", DataType.DATETIME), ("date", DataType.DATE),
    ("bool", DataType.LOGICAL), ("bit", DataType.LOGICAL), ("money", DataType.CURRENCY),
    ("double", DataType.DOUBLE), ("float", DataType.FLOAT), ("real", DataType.FLOAT),
    ("dec", DataType.NUMERIC), ("num", DataType.NUMERIC), ("serial", DataType.INTEGER), ("int", DataType.INTEGER),
    ("text", DataType.MEMO), ("clob", DataType.MEMO), ("char", DataType.CHARACTER),
    ("string", DataType.CHARACTER), ("uuid", DataType.CHARACTER), ("time", DataType.CHARACTER),
    ("blob", DataType.GENERAL), ("bytea", DataType.GENERAL), ("binary", DataType.GENERAL),
    ("json", DataType.GENERAL), ("xml", DataType.GENERAL), ("geo", DataType.GENERAL),
)  # fmt: skip
_NO_TABLE = Text("没有 CREATE TABLE。", "There is no CREATE TABLE.")
_OTHER = Text("不是表的定义，未读取", "defines no table")

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of each statement that it passes on unread


def type_of(name: str) -> DataType | None:
    """The data type that a database's type reads as; None for one we do not know."""
    return next((kind for word, kind in _TYPES if word in name.lower()), None)


def read_sql(text: str) -> list[Described]:
    """The tables of a script. Errors: FileRefused with the place where it cannot be read."""
    wrong: SqlglotError | None = None
    best: list[Described] = []
    for dialect in _DIALECTS:
        try:
            statements = [s for s in sqlglot.parse(text, dialect=dialect) if s is not None]
        except (SqlglotError, RecursionError) as error:
            wrong = error if isinstance(error, SqlglotError) else wrong
            continue
        found = _tables(statements)
        if sum(len(table.items) for table in found) > sum(len(table.items) for table in best):
            best = found
    if best:
        return best
    if wrong is not None:
        reason = str(wrong).split("\n")[0][:200]
        raise FileRefused(Text("SQL 无法解析：{why}", "The SQL cannot be parsed: {why}").with_(why=reason))
    raise FileRefused(_NO_TABLE)


def _tables(statements: Sequence[exp.Expr]) -> list[Described]:
    comments = dict(_comments(statements))
    tables = []
    for statement in statements:
        schema = statement.this
        if not (
            isinstance(statement, exp.Create) and statement.kind == "TABLE" and isinstance(schema, exp.Schema)
        ):
            continue
        name = schema.this.name
        own = statement.find(exp.SchemaCommentProperty)
        table = Described(comments.get((name.lower(), "")) or (own.this.name if own else "") or name)
        table.title_en = name if table.title != name else None
        keys = {
            c.name.lower()
            for key in schema.expressions
            if isinstance(key, exp.PrimaryKey)
            for c in key.expressions
        }
        for column in schema.expressions:
            if isinstance(column, exp.ColumnDef):
                _column(table, column, comments.get((name.lower(), column.name.lower()), ""), keys)
        if table.items:
            tables.append(table)
    return tables


def _column(table: Described, column: exp.ColumnDef, comment: str, keys: set[str]) -> None:
    kind = column.args.get("kind")
    own = column.find(exp.CommentColumnConstraint)
    sizes = [size.name for size in kind.expressions if isinstance(size, exp.DataTypeParam)] if kind else []
    reference = column.find(exp.Reference)
    listed = [value.name for value in kind.expressions if isinstance(value, exp.Literal)] if kind else []
    table.add(
        column.name, comment or (own.this.name if own else ""),
        data_type=DataType.CHARACTER if listed else type_of(kind.sql()) if kind else None,
        length=int(sizes[0]) if sizes and sizes[0].isdigit() else None,
        codes=listed or ([reference.this.this.name] if reference and isinstance(reference.this, exp.Schema) else []),
        is_identifier=column.name.lower() in keys or column.find(exp.PrimaryKeyColumnConstraint) is not None,
    )  # fmt: skip


def _comments(statements: Sequence[exp.Expr]) -> Iterator[tuple[tuple[str, str], str]]:
    """COMMENT ON TABLE and COMMENT ON COLUMN, by table and column."""
    for statement in statements:
        if not isinstance(statement, exp.Comment):
            continue
        said = statement.expression.name
        if statement.args.get("kind") == "COLUMN":
            column = statement.this
            yield (column.text("table").lower(), column.name.lower()), said
        elif statement.args.get("kind") == "TABLE":
            yield (statement.this.name.lower(), ""), said


# --- information_schema


_COMMENT_HEADS = ("column_comment", "comment", "description", "remarks")
_LENGTH_HEADS = ("character_maximum_length", "numeric_precision", "data_length")


def is_columns_csv(text: str) -> bool:
    """Whether the text begins with headings of information_schema.columns."""
    heads = text.lstrip().partition("\n")[0].lower()
    return "column_name" in heads and "data_type" in heads


def read_columns_csv(text: str) -> list[Described]:
    """The tables of an export of information_schema.columns (or all_tab_columns). Errors: FileRefused."""
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    tables: dict[str, Described] = {}
    try:
        for row in csv.DictReader(StringIO(text), delimiter=delimiter):
            values = {str(k).strip().lower(): (v or "").strip() for k, v in row.items() if isinstance(v, str)}
            name = values.get("table_name", "")
            table = tables.setdefault(name, Described(values.get("table_comment") or name))
            if values.get("column_name"):
                _listed_column(table, values)
    except csv.Error as error:
        raise FileRefused(Text("不是完好的 CSV。", "Not an intact CSV.")) from error
    return list(tables.values())


def _listed_column(table: Described, values: Mapping[str, str]) -> None:
    sizes = [values[head] for head in _LENGTH_HEADS if values.get(head, "").isdigit()]
    kind = values.get("data_type", "")
    table.add(
        values["column_name"], next((values[h] for h in _COMMENT_HEADS if values.get(h)), ""),
        data_type=type_of(kind), length=int(sizes[0]) if sizes else None,
        is_identifier=values.get("column_key", "").upper() == "PRI",
    )  # fmt: skip
