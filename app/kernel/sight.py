"""What a transaction may see of rows that are some agencies' own: the second line behind `visible_to`.

Owns the settings that row-level security (migration 0016) reads, and the role that is bound by it. Asks
nothing about roles or states: a row is seen by the agencies it concerns, whatever the query forgot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.kernel.actor import Actor, Role, Scope

SETTINGS = ("zhengtong.sees", "zhengtong.agency", "zhengtong.overseer")
_SET = text("SELECT " + ", ".join(f"set_config('{name}', :v{n}, true)" for n, name in enumerate(SETTINGS)))
_SEES = text("SELECT set_config('zhengtong.sees', :sees, true)")


def see_as(session: Session, actor: Actor) -> None:
    """From here to the end of the transaction, only what concerns the actor's agency is there; for an audit
    administrator of an authority also what the authorities below decide on. Without it nothing is. A gateway
    sees all: it carries agreements of others, and its operations ask which."""
    sees = "all" if actor.scopes == {Scope.GATEWAY} else ""
    agency = str(actor.agency_id or "")
    oversees = actor.is_authority and Role.AUDIT_ADMINISTRATOR in actor.roles
    overseer = str(actor.jurisdiction_id) if oversees else ""
    session.execute(_SET, {"v0": sees, "v1": agency, "v2": overseer})


@contextmanager
def seeing_all(session: Session) -> Iterator[None]:
    """Within the block the transaction sees every agency's rows: for what the service works out by rule and
    tells only in part (how often a resource is used), never for what is handed to the actor as it is."""
    before = session.scalar(text("SELECT current_setting('zhengtong.sees', true)"))
    session.execute(_SEES, {"sees": "all"})
    try:
        yield
    except DBAPIError:  # the transaction, or the savepoint, is lost, and the setting with it
        raise
    except BaseException:
        session.execute(_SEES, {"sees": before or ""})
        raise
    session.execute(_SEES, {"sees": before or ""})
