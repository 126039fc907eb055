"""A provider's own system: the civil affairs bureau's API of persons on the subsistence allowance.

Its own process, as a provider's system is: `python -m app.demo.provider_api --port N --secret-file F`.
Serves whole records to who holds its credential; what a requester may see of them is the gateway's.
"""

from __future__ import annotations

import argparse
import hmac
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from pydantic import BaseModel

from app.demo.synthetic import Row, subsistence_rows

PATH = "/subsistence-allowance"
PAGE_SIZE_LIMIT = 500


class RowPage(BaseModel):
    """One page, counted from 1; `total` counts every row that the filters let through."""

    total: int
    page: int
    size: int
    rows: list[Row]


def create_app(*, secret: str, rows: list[Row] | None = None) -> FastAPI:
    """The API over `rows` (default: the generated ones), for callers sending `Authorization: Bearer <secret>`.

    Errors: 401 without the credential, 422 for a page or size out of range.
    """
    held = subsistence_rows() if rows is None else rows
    expected = f"Bearer {secret}".encode()
    app = FastAPI(title="云江市民政局社会救助系统接口", version="1.0", docs_url=None, redoc_url=None)

    def credential(request: Request) -> None:
        given = request.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, expected):
            raise HTTPException(401, "credential required", {"WWW-Authenticate": "Bearer"})

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(PATH, dependencies=[Depends(credential)])
    def read(
        page: Annotated[int, Query(ge=1)] = 1,
        size: Annotated[int, Query(ge=1, le=PAGE_SIZE_LIMIT)] = 100,
        division_code: str | None = None,
        id_number: str | None = None,
    ) -> RowPage:
        wanted = {"division_code": division_code, "id_number": id_number}
        filters = {field: value for field, value in wanted.items() if value is not None}
        found = [row for row in held if all(row[field] == value for field, value in filters.items())]
        start = (page - 1) * size
        return RowPage(total=len(found), page=page, size=size, rows=found[start : start + size])

    return app


def main() -> None:
    """Serve on the loopback address until stopped."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    # A file, as arguments are visible to every user of the machine.
    arguments.add_argument("--secret-file", type=Path, required=True, help="the credential callers must send")
    chosen = arguments.parse_args()
    secret = chosen.secret_file.read_text("utf-8").strip()
    if not secret:
        arguments.error("the secret file is empty")
    uvicorn.run(create_app(secret=secret), host="127.0.0.1", port=chosen.port, log_level="warning")


if __name__ == "__main__":
    main()
