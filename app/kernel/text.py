"""Text for people: every sentence the service says exists in zh-CN and in English.

Owns the pair, the choice between the two, and which text from outside can be stored. Dates and numbers
are formatted elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pydantic import AfterValidator

Locale = Literal["zh-CN", "en"]
DEFAULT_LOCALE: Locale = "zh-CN"


@dataclass(frozen=True, slots=True)
class Text:
    """One sentence or label in both languages, Chinese first."""

    zh: str
    en: str

    def in_(self, locale: str) -> str:
        """The sentence in `locale` ("en…" is English, anything else Chinese)."""
        return self.en if locale.lower().startswith("en") else self.zh

    def with_(self, **values: object) -> Text:
        """The same sentence with its `{name}` places filled; a Text value is filled in its own language."""
        chinese = {k: v.zh if isinstance(v, Text) else v for k, v in values.items()}
        english = {k: v.en if isinstance(v, Text) else v for k, v in values.items()}
        return Text(self.zh.format(**chinese), self.en.format(**english))


def negotiate_locale(accept_language: str | None) -> Locale:
    """The locale an `Accept-Language` header asks for (RFC 9110 §12.5.4); Chinese where it asks for neither."""
    best: Locale = DEFAULT_LOCALE
    best_quality = 0.0
    for part in (accept_language or "")[:1000].split(","):
        tag, _, parameters = part.strip().partition(";")
        language = tag.strip().lower().split("-")[0]
        if language not in ("zh", "en"):
            continue
        try:
            quality = float(parameters.strip().removeprefix("q=")) if parameters.strip() else 1.0
        except ValueError:
            continue
        if quality > best_quality:
            best, best_quality = ("en" if language == "en" else "zh-CN"), quality
    return best


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # valid in JSON, and no text that PostgreSQL can store


def storable(value: str) -> str:
    """The text, if the database can hold it. Errors: ValueError with a Text."""
    if _UNSTORABLE.search(value):
        raise ValueError(Text("含有不能保存的字符", "has characters that cannot be stored"))
    return value


Storable = AfterValidator(storable)
"""Of every text type that is taken from outside and has no narrower pattern."""
