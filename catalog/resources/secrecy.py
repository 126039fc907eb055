"""The marks by which documents say that they hold a secret (国家秘密标志、工作秘密标志).

Pure. Owns how such a mark is written. That it is refused is the record's rule (Decree 809 Art. 3).
"""

from __future__ import annotations

import re

from catalog.text import fold

# Level, star and term (机密★10年), the level after “密级”, alone in brackets, or at the head of a text. Lists of the
# levels (“绝密、机密、秘密”) are no marks, nor are words that hold one (商业秘密、国家秘密).
_LEVEL = "(?:绝密|机密|工作秘密|(?<!商业)(?<!国家)(?<!工作)秘密)"
_MARK = re.compile(
    rf"{_LEVEL}级?\s?[★☆⭐✩]"
    rf"|{_LEVEL}\s?(?:[1-3]?\d年|长期)"
    rf"|[(\[【〔《「]\s?{_LEVEL}级?\s?[)\]】〕》」]"
    rf"|密级\s?[:为是]\s?{_LEVEL}(?!级?\s?[、/,;或|和及]\s?(?:绝密|机密|秘密|内部))"
    rf"|^{_LEVEL}级?\s?[:—|-]"
)


def secret_mark(text: str) -> str | None:
    """The mark that a text carries, folded, in Simplified or Traditional characters; None where it carries none."""
    if "密" not in text:
        return None
    found = _MARK.search(fold(text))
    return found.group() if found else None
