"""Grants bound to a key (DPoP, RFC 9449): presented with a proof of that key, and never as Bearer.

Owns what this gateway remembers of proofs. The memory ends with the process, so proofs made before it began
are refused.
"""

from __future__ import annotations

from datetime import datetime

from app.kernel.dpop import ALGORITHMS, Proof, ProofInvalid, read_proof
from app.kernel.errors import NotSignedIn
from app.kernel.text import Text
from exchange.delivery.protocol import Grant

REMEMBERED = 100_000


class GrantNotProved(NotSignedIn):
    """A bound grant without a proof that holds, or one that is not bound under the scheme DPoP."""

    slug = "grant-not-proved"
    title = Text("未能证明持有授权凭证所绑定的密钥", "Possession of the grant's key is not proved")

    def __init__(self, why: str) -> None:
        challenge = f'DPoP error="invalid_dpop_proof", algs="{" ".join(ALGORITHMS)}"'
        detail = Text("持有证明无效：{why}。", "The proof of possession: {why}.").with_(why=why)
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class Possession:
    """The proofs that this gateway, reached at `url`, has taken since `began_at`."""

    def __init__(self, url: str, began_at: datetime) -> None:
        self._url = url.rstrip("/")
        self._began_at = began_at
        self._used: dict[tuple[str, str], datetime] = {}  # (thumbprint, jti) → until when, oldest first

    def require(
        self,
        grant: Grant,
        scheme: str,
        token: str,
        proofs: list[str],
        *,
        method: str,
        path: str,
        at: datetime,
    ) -> None:
        """Nothing where the grant is not bound and came as Bearer. Errors: GrantNotProved."""
        if grant.cnf is None:
            if scheme != "bearer":
                raise GrantNotProved("this grant is not bound to a key")
            return
        if scheme != "dpop":
            raise GrantNotProved("a bound grant is never presented as Bearer")
        try:
            if len(proofs) != 1:
                raise ProofInvalid("one DPoP header with one proof")
            proof = read_proof(
                proofs[0], method=method, url=self._url + path, at=at, token=token, bound_to=grant.cnf.jkt,
                not_before=self._began_at,
            )  # fmt: skip
        except ProofInvalid as error:
            raise GrantNotProved(str(error)) from None
        self._use(proof, at)

    def _use(self, proof: Proof, at: datetime) -> None:
        for known, until in list(self._used.items()):
            if until > at:
                break
            del self._used[known]
        key = proof.thumbprint, proof.jti
        if key in self._used or len(self._used) >= REMEMBERED:
            raise GrantNotProved("the proof has been used")
        self._used[key] = proof.until
