"""Settings of one process: read once from the environment and the command line, handed down as values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.kernel.keys import ServiceKeys, load_keys
from app.kernel.limits import Rates
from app.kernel.mail import Mailer, mailer
from app.kernel.outbound import Network, Outbound, networks
from app.kernel.scanning import Scanner, scanner

DEFAULT_DATA = "var"
DEFAULT_PORT = 8000


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process needs to know of its surroundings.

    `database_url` is a libpq URL. `public_url` is how others reach the service: issuer of tokens and
    name of the ledger. `gateway_url` is where requesters find the central gateway. `private_sources` lets
    providers register data in private networks and on this machine, where a government extranet has it.
    `private_networks` are those the service itself may call: harvested catalogs, webhooks, key sets.
    `mailer` sends the daily mails; None sends none.
    `timestamp_url` is a time-stamping authority (RFC 3161) for the ledger's checkpoints.
    `national_algorithms` seals secrets with SM4-GCM; `national_signatures` signs
    checkpoints by SM2 too. `identity_provider` is a file that describes where people
    sign in (`app.identity.provider.IdentityProvider`). `rates` limit how often somebody may call; None: not at all.
    `scanner` looks at attachments before anybody may download them; None: nobody does. `breached_passwords` is a
    file of hashes of passwords that nobody may choose (`app.identity.breaches`), beside the list that ships.
    `embeddings` compares collection plans by meaning too (the extra `embeddings`).
    """

    data: Path
    database_url: str
    public_url: str
    gateway_url: str | None = None
    private_sources: bool = True
    private_networks: tuple[Network, ...] = ()
    mailer: Mailer | None = None
    timestamp_url: str | None = None
    national_algorithms: bool = False
    national_signatures: bool = False
    identity_provider: Path | None = None
    rates: Rates | None = None
    scanner: Scanner | None = None
    breached_passwords: Path | None = None
    embeddings: bool = False

    @property
    def keys(self) -> Path:
        return self.data / "keys"

    @property
    def index(self) -> Path:
        return self.data / "index"

    @property
    def outbound(self) -> Outbound:
        """The client for addresses that others wrote down."""
        return Outbound(self.private_networks)


def data_folder(option: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """The data folder: the option, else ZHENGTONG_DATA, else ./var."""
    return (option or Path(environ.get("ZHENGTONG_DATA", DEFAULT_DATA))).expanduser().absolute()


def external_database(environ: Mapping[str, str] = os.environ) -> str | None:
    """ZHENGTONG_DATABASE_URL, which replaces the embedded database; None where it is not set."""
    return environ.get("ZHENGTONG_DATABASE_URL") or None


def private_networks(environ: Mapping[str, str] = os.environ) -> tuple[Network, ...]:
    """ZHENGTONG_PRIVATE_NETWORKS ("10.0.0.0/8, 192.168.7.0/24"); none unless it is set. Errors: ValueError."""
    return networks(environ.get("ZHENGTONG_PRIVATE_NETWORKS", ""))


def settings_from_environment(data: Path, url: str, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings a child process was handed."""
    return Settings(
        data=data, database_url=url, public_url=environ.get("ZHENGTONG_PUBLIC_URL", "http://127.0.0.1:8000"),
        gateway_url=environ.get("ZHENGTONG_GATEWAY_URL") or None, private_networks=private_networks(environ),
        mailer=mailer(environ.get("ZHENGTONG_SMTP_URL", "")),
        timestamp_url=environ.get("ZHENGTONG_TIMESTAMP_URL") or None,
        national_signatures=environ.get("ZHENGTONG_NATIONAL_SIGNATURES") == "1",
        national_algorithms=environ.get("ZHENGTONG_NATIONAL_ALGORITHMS") == "1",
        breached_passwords=Path(file) if (file := environ.get("ZHENGTONG_BREACHED_PASSWORDS")) else None,
        scanner=scanner(environ.get("ZHENGTONG_SCANNER", "")),
        embeddings=environ.get("ZHENGTONG_EMBEDDINGS") == "1",
        rates=None if environ.get("ZHENGTONG_RATES") == "off" else Rates(),
        identity_provider=Path(file) if (file := environ.get("ZHENGTONG_IDENTITY_PROVIDER")) else None,
    )  # fmt: skip


def keys_of(settings: Settings) -> ServiceKeys:
    """The deployment's keys; a new ledger is named after the public URL."""
    origin = settings.public_url.split("://", 1)[-1].rstrip("/") + "/ledger"
    return load_keys(
        settings.keys, origin, national=settings.national_algorithms, sm2=settings.national_signatures
    )
