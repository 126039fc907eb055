"""What can go wrong, named as facts: each a status and a stable problem type (RFC 9457).

Owns the tree and its rendering. Features derive their own facts from the classes here and raise them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from app.kernel.text import Text

PROBLEM_MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with what was sent: where (JSON pointer or cell), what is wrong, and the rule."""

    field: str
    message: Text
    rule: Text | None = None

    def as_wire(self, locale: str) -> dict[str, str]:
        body = {"field": self.field, "message": self.message.in_(locale)}
        if self.rule is not None:
            body["rule"] = self.rule.in_(locale)
        return body


class Problem(Exception):
    """Base of every refusal the service gives. Subclasses set `status`, `slug` and `title`.

    `detail` says what happened in this case; `basis` names the article it rests on; `extra` adds
    members to the problem body (plain JSON).
    """

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    title: ClassVar[Text] = Text("服务内部错误", "Internal error")

    def __init__(
        self,
        detail: Text | None = None,
        *,
        faults: Sequence[Fault] = (),
        basis: str | None = None,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        self.detail = detail or self.title
        self.faults = tuple(faults)
        self.basis = basis
        self.headers = headers or {}
        self.extra = extra
        super().__init__(self.detail.en)

    def as_wire(self, locale: str, instance: str | None = None) -> dict[str, Any]:
        """The problem body in the caller's language."""
        body: dict[str, Any] = {
            "type": f"/problems/{self.slug}",
            "title": self.title.in_(locale),
            "status": self.status,
            "detail": self.detail.in_(locale),
        }
        if instance:
            body["instance"] = instance
        if self.basis:
            body["legal_basis"] = self.basis
        if self.faults:
            body["errors"] = [fault.as_wire(locale) for fault in self.faults]
        body.update({k: v.in_(locale) if isinstance(v, Text) else v for k, v in self.extra.items()})
        return body


class MalformedBody(Problem):
    status, slug = 400, "malformed-body"
    title = Text("请求体无法解析", "The body cannot be parsed")


class NotSignedIn(Problem):
    status, slug = 401, "not-signed-in"
    title = Text("未登录或凭证无效", "Not signed in, or the credential is not valid")


class NotPermitted(Problem):
    """The actor may know the object but its role or party may not do this."""

    status, slug = 403, "not-permitted"
    title = Text("无权进行此操作", "Not permitted")


class SameHand(NotPermitted):
    """经办与审核不得为同一人: who wrote a step does not approve it, who decided does not decide on the appeal."""

    slug = "same-hand"
    title = Text("经办人与审核人不得为同一人", "Who took the first step may not take this one")


class NotFound(Problem):
    """Not there, or not the actor's to know: one answer for both."""

    status, slug = 404, "not-found"
    title = Text("没有找到", "Not found")


class NotAcceptable(Problem):
    status, slug = 406, "not-acceptable"
    title = Text("不能以所要求的内容类型提供", "Not available in the content type asked for")


class WrongMoment(Problem):
    """The act exists but the entity's state does not allow it now."""

    status, slug = 409, "wrong-moment"
    title = Text("当前状态不允许此操作", "The current state does not allow this")


class Conflict(Problem):
    status, slug = 409, "conflict"
    title = Text("与现有记录冲突", "Conflicts with an existing record")


class StaleVersion(Problem):
    status, slug = 412, "stale-version"
    title = Text("记录已被他人更新", "The record has changed since you read it")


class TooLarge(Problem):
    status, slug = 413, "too-large"
    title = Text("内容过大", "Too large")


class UnsupportedMedia(Problem):
    status, slug = 415, "unsupported-media"
    title = Text("不支持的内容类型", "Unsupported media type")


class Invalid(Problem):
    """What was sent can be read but breaks a rule; each fault names field, value's fault and rule."""

    status, slug = 422, "invalid"
    title = Text("内容不符合要求", "Invalid content")


class VersionMissing(Problem):
    status, slug = 428, "version-missing"
    title = Text("缺少 If-Match 版本号", "If-Match is missing")


class TooMany(Problem):
    status, slug = 429, "too-many"
    title = Text("请求过于频繁", "Too many requests")


class Unavailable(Problem):
    status, slug = 503, "unavailable"
    title = Text("服务暂不可用", "Temporarily unavailable")
