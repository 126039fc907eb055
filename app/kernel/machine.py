"""State machines as data: rows of who may move what from where to where, on what legal basis.

Pure. Owns the row, the lookup and the diagram; writing a state is `app.kernel.history.advance` alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.kernel.actor import Role
from app.kernel.text import Text

Party = str  # "requester", "provider", "authority", "clock", "policy", …: what the actor is to the entity
By = tuple[Party, Role | None]  # a party and the role it acts in; None for the clock, a policy, the system


@dataclass(frozen=True, slots=True)
class Transition:
    """One row: from `source` (None: creation), `act` by any of `by` leads to `target`.

    `duty` names the rule-profile clock that starts with it; `basis` the article it rests on.
    """

    source: str | None
    act: str
    by: tuple[By, ...]
    target: str
    basis: str
    duty: str | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """An act that is possible now for the asking actor, as representations list it under `allowed`."""

    name: str
    label: Text


class Machine:
    """The transition table of one kind of entity. At most one row for each (source, act)."""

    def __init__(
        self,
        kind: str,
        *,
        states: dict[str, Text],
        acts: dict[str, Text],
        rows: Iterable[Transition],
    ) -> None:
        self.kind = kind
        self.states = states
        self.acts = acts
        self.rows = tuple(rows)
        self._row = {(row.source, row.act): row for row in self.rows}
        if len(self._row) != len(self.rows):
            raise ValueError(f"{kind}: two rows for one state and act")
        for row in self.rows:
            unknown = {row.target, *([row.source] if row.source else [])} - set(states)
            if unknown or row.act not in acts:
                raise ValueError(
                    f"{kind}: {row.source} --{row.act}--> {row.target} names {unknown or row.act}"
                )

    def find(self, state: str | None, act: str) -> Transition | None:
        """The row for `act` in `state`, or None where the state does not allow it."""
        return self._row.get((state, act))

    def allowed(self, state: str, parties: frozenset[Party], roles: frozenset[Role]) -> list[str]:
        """Names of the acts that an actor with these parties and roles may do in `state`."""
        return [r.act for r in self.rows if r.source == state and may(r, parties, roles)]

    def by_whom(self, act: str) -> frozenset[By]:
        """Every (party, role) that may ever do `act`."""
        return frozenset(by for row in self.rows if row.act == act for by in row.by)

    def final_states(self) -> frozenset[str]:
        """States from which no row leads to another."""
        return frozenset(self.states) - {
            row.source for row in self.rows if row.source not in (None, row.target)
        }

    def mermaid(self) -> str:
        """The diagram of the table (Mermaid stateDiagram-v2), as committed under docs/states."""
        lines = ["stateDiagram-v2"]
        for row in self.rows:
            who = ", ".join(sorted({party if role is None else f"{party} {role}" for party, role in row.by}))
            lines.append(f"    {row.source or '[*]'} --> {row.target}: {row.act} ({who})")
        lines += [f"    {state} --> [*]" for state in sorted(self.final_states())]
        return "\n".join(lines) + "\n"


def may(row: Transition, parties: frozenset[Party], roles: frozenset[Role]) -> bool:
    """Whether an actor that is `parties` to the entity, acting in `roles`, is named by the row."""
    return any(party in parties and (role is None or role in roles) for party, role in row.by)
