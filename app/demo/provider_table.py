"""A provider's own table: the market supervision bureau's register of enterprises, in a schema of its own.

Creates and fills it once. The catalog and the exchange never read it; a gateway does, under terms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import psycopg
from psycopg import sql

from app.demo.synthetic import Row, enterprise_rows

SCHEMA = "provider_market"
TABLE = "enterprise"
COLUMNS: Mapping[str, str] = {
    "credit_code": "text PRIMARY KEY",
    "enterprise_name": "text NOT NULL",
    "enterprise_type": "text NOT NULL",
    "legal_representative": "text NOT NULL",
    "registered_capital": "numeric(16,2) NOT NULL",
    "established_on": "date NOT NULL",
    "business_scope": "text NOT NULL",
    "registered_address": "text NOT NULL",
    "division_code": "text NOT NULL",
    "industry_code": "text NOT NULL",
    "registration_status": "text NOT NULL",
    "registration_authority": "text NOT NULL",
    "contact_phone": "text NOT NULL",
    "inspector_note": "text",
}


def fill_enterprises(connection: psycopg.Connection, *, rows: Iterable[Row] | None = None) -> int:
    """Create `provider_market.enterprise` with `rows` (default: 20,000 generated ones) in one transaction.

    Returns how many rows the table holds. A table that exists is left as it is.
    """
    table = sql.Identifier(SCHEMA, TABLE)
    with connection.transaction(), connection.cursor() as cursor:
        # Two services starting at once would both find the schema missing.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [SCHEMA])
        cursor.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SCHEMA)))
        cursor.execute("SELECT to_regclass(%s) IS NULL", [f"{SCHEMA}.{TABLE}"])
        missing = cursor.fetchone()
        if missing == (True,):
            columns = sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in COLUMNS.items()
            )
            cursor.execute(sql.SQL("CREATE TABLE {} ({})").format(table, columns))
            names = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
            with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(table, names)) as copy:
                for row in enterprise_rows() if rows is None else rows:
                    copy.write_row([row[name] for name in COLUMNS])
            cursor.execute(sql.SQL("ANALYZE {}").format(table))
        cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(table))
        counted = cursor.fetchone()
    assert counted is not None
    return int(counted[0])
