"""What identity keeps for a while and then forgets: proofs and assertions that were used, ended sessions."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.identity.models import ProviderSignIn, SignInSession, UsedAssertion, UsedProof
from app.kernel.clock import now

SESSIONS_KEPT = timedelta(days=180)  # security records are kept for six months (Cybersecurity Law Art. 23)


def tidy(session: Session) -> None:
    """Forget what can no longer be presented."""
    moment = now()
    for table in (UsedAssertion, UsedProof, ProviderSignIn):
        session.execute(delete(table).where(table.expires_at < moment))
    session.execute(delete(SignInSession).where(SignInSession.expires_at < moment - SESSIONS_KEPT))
