"""docs/refusals.md lists every case that identity refuses, under the clause it comes from.

`python -m tests.identity.test_refusals` writes it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType

from tests.identity import test_machine_refusals, test_people, test_provider

PAGE = Path(__file__).parent.parent.parent / "docs" / "refusals.md"
PARTS: dict[str, list[tuple[ModuleType, tuple[str, ...]]]] = {
    "Assertions and token requests": [(test_machine_refusals, ("ASSERTIONS", "REQUESTS"))],
    "DPoP proofs": [(test_machine_refusals, ("PROOFS", "USES"))],
    "Access tokens": [(test_machine_refusals, ("TOKENS",))],
    "The provider's callback and id token": [(test_provider, ("CALLBACKS",))],
    "Sessions and what other sites send": [(test_people, ("SESSIONS", "FOREIGN"))],
}
CLAUSE = re.compile(r"((?:FAPI|BCP|OIDC|ASVS|RFC \d+) [\d.]+(?: \(\d+\))?):? (.+)")
HEAD = """# What is refused, and by which clause

Written by `python -m tests.identity.test_refusals` from the tests, each of which changes one fact of a call that is
granted otherwise. FAPI is the FAPI 2.0 Security Profile, BCP is RFC 9700 (Best Current Practice for OAuth 2.0 Security),
OIDC is OpenID Connect Core 1.0, ASVS is OWASP ASVS 5.0.
"""


def cases() -> dict[str, dict[str, list[str]]]:
    """Of each part: the clauses, in order, each with its cases."""
    found: dict[str, dict[str, list[str]]] = {part: defaultdict(list) for part in PARTS}
    for part, sources in PARTS.items():
        for module, tables in sources:
            for name in (name for table in tables for name in getattr(module, table)):
                matched = CLAUSE.fullmatch(name)
                if matched:
                    found[part][matched[1]].append(matched[2])
    return found


def in_order(row: tuple[str, list[str]]) -> list[str]:
    """Clause 4.3 (2) before 4.3 (11)."""
    return [part.zfill(4) for part in re.findall(r"\w+", row[0])]


def page() -> str:
    """The page as it is to be."""
    lines = [HEAD]
    for part, clauses in cases().items():
        count = sum(map(len, clauses.values()))
        lines += [f"## {part}: {count}", "", "| Clause | Refused |", "| --- | --- |"]
        lines += [
            f"| {clause} | {'; '.join(refused)} |"
            for clause, refused in sorted(clauses.items(), key=in_order)
        ]
        lines.append("")
    return "\n".join(lines)


def test_at_least_sixty_cases_are_refused_by_clauses_of_fapi_and_rfc_9700() -> None:
    counts = Counter(
        {(part, clause): len(refused) for part, of in cases().items() for clause, refused in of.items()}
    )
    assert counts.total() >= 100
    assert sum(n for (_, clause), n in counts.items() if clause.startswith(("FAPI", "BCP"))) >= 60


def test_the_page_lists_them() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.identity.test_refusals"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
