"""The OpenAPI document: what every operation has in common is written here once, for all of them.

Owns how callers prove themselves and how refusals look. What an operation takes and gives is its route's.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from app.identity.permissions import REGISTRY
from app.identity.sessions import HOST_COOKIE
from app.kernel.errors import PROBLEM_MEDIA_TYPE

SCHEMES: dict[str, Any] = {
    "session": {
        "type": "http", "scheme": "bearer",
        "description": "人员会话 / a person's session, from POST /api/v1/sessions",
    },
    "token": {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "应用系统的访问令牌 / a system's access token (RFC 9068), from POST /oauth/token; "
        "bound to a key it comes as `DPoP` with a proof (RFC 9449)",
    },
    "cookie": {
        "type": "apiKey", "in": "cookie", "name": HOST_COOKIE,
        "description": "控制台的会话 / the console's session; changes must come from its own pages",
    },
}  # fmt: skip
_TEXT: dict[str, Any] = {"type": "string"}
PROBLEM: dict[str, Any] = {
    "type": "object", "title": "Problem",
    "description": "拒绝的原因（RFC 9457）/ why something was refused",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": _TEXT | {"description": "/problems/… : the same for the same kind of refusal"},
        "title": _TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": _TEXT,
        "instance": _TEXT,
        "request_id": {"type": ["string", "null"]},
        "legal_basis": _TEXT,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": _TEXT, "message": _TEXT, "rule": _TEXT},
                "additionalProperties": False,
            },
        },
    },
}  # fmt: skip
_PROBLEM = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
RESPONSES: dict[str, Any] = {
    "Refused": {"description": "拒绝，并说明依据 / refused, with the rule", "content": _PROBLEM},
    "Unavailable": {"description": "服务或其数据库不可用 / not available", "content": _PROBLEM},
}


class Described(FastAPI):
    """A FastAPI whose document names the credentials and the refusals of every operation."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            components = document["components"]
            components["securitySchemes"] = SCHEMES
            components["schemas"]["Problem"] = PROBLEM
            components["responses"] = RESPONSES
            for unused in ("HTTPValidationError", "ValidationError"):
                components["schemas"].pop(unused, None)
            for methods in document["paths"].values():
                for operation in methods.values():
                    _complete(operation)
        assert self.openapi_schema is not None
        return self.openapi_schema


def _complete(operation: dict[str, Any]) -> None:
    name, responses = operation["operationId"], operation["responses"]
    operation["security"] = [{}] if REGISTRY[name].anonymous else []
    operation["security"] += [{scheme: []} for scheme in SCHEMES]
    responses.pop("422", None)
    if own := responses.get("4XX"):  # refuses in a form of its own, too
        own["content"] |= RESPONSES["Refused"]["content"]
    else:
        responses["4XX"] = {"$ref": "#/components/responses/Refused"}
    responses["5XX"] = {"$ref": "#/components/responses/Unavailable"}
