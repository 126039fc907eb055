"""Logs: one JSON object a line, with the request they belong to, and without credentials.

Owns the format and the redaction. What is logged is said where it happens.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

REQUEST: ContextVar[str | None] = ContextVar("request", default=None)

_OWN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CREDENTIALS = re.compile(
    r"eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*"  # JWTs: tokens, grants, assertions, proofs
    r"|zts_[\w-]{10,}"  # session tokens
    r"|(?<=://)[^/@\s:]+:[^/@\s]+(?=@)"  # name and password in an address
    r"|(?i:(?<=bearer )|(?<=dpop )|(?<=basic ))[\w.~+/=-]{8,}"
    r"|(?i:(?<=password=)|(?<=secret=)|(?<=code=)|(?<=state=)|(?<=access_token=))[^&\s\"']+"
    r"|\b\d{17}[\dXx]\b"  # identity numbers (GB 11643)
)


def redacted(text: str) -> str:
    """The text without credentials and identity numbers."""
    return _CREDENTIALS.sub("[redacted]", text)


class JsonLines(logging.Formatter):
    """A record as one JSON object: when (UTC), how grave, who says what, in which request, and what goes with it."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage(),
            "request": REQUEST.get(), **{k: v for k, v in vars(record).items() if k not in _OWN},
        }  # fmt: skip
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        kept = {name: value for name, value in line.items() if value is not None}
        return redacted(json.dumps(kept, ensure_ascii=False, default=str))


def log_as_json(level: int) -> None:
    """Let this process log so, on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("app", "catalog", "exchange"):
        logging.getLogger(name).setLevel(level)
