"""Mail by SMTP (RFC 5321), to the one server that the deployment names; off where it names none.

Owns the connection and the form of a message. Addresses and words are the caller's.
"""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from urllib.parse import parse_qs, unquote, urlsplit

from app.kernel.clock import now

TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Mailer:
    """One SMTP server. `tls` is "none", "starttls" or "tls" from the first byte."""

    host: str
    port: int
    sender: str
    tls: str
    user: str | None = None
    password: str | None = None

    def send(self, to: str, subject: str, body: str) -> None:
        """Hand one plain-text message to the server. Errors: OSError, smtplib.SMTPException."""
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self.sender, to, subject
        message["Date"] = format_datetime(now())
        message["Message-ID"] = make_msgid(domain=self.sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(body, cte="base64")  # any server takes it
        context = ssl.create_default_context()
        server: smtplib.SMTP = (
            smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_S, context=context)
            if self.tls == "tls"
            else smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S)
        )
        with server:
            if self.tls == "starttls":
                server.starttls(context=context)
            if self.user is not None:
                server.login(self.user, self.password or "")
            server.send_message(message)


def mailer(url: str) -> Mailer | None:
    """`smtp://user:password@host:25?from=zhengtong@example.gov.cn&tls=starttls` (or `smtps://`, TLS from the
    first byte) as a Mailer; None for "". TLS is on unless it says `tls=none`. Errors: ValueError."""
    if not url:
        return None
    parts = urlsplit(url)
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    tls = "tls" if parts.scheme == "smtps" else asked.get("tls", "starttls")
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or "@" not in asked.get("from", ""):
        raise ValueError("the mail server is smtp[s]://[user:password@]host[:port]?from=address")
    if tls not in ("none", "starttls", "tls"):
        raise ValueError("tls is none, starttls or tls")
    if parts.username and tls == "none":
        raise ValueError("a password is not sent without TLS")
    return Mailer(
        host=parts.hostname, port=parts.port or (465 if tls == "tls" else 25), sender=asked["from"], tls=tls,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )  # fmt: skip
