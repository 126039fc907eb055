"""The client library: an agency's system asks for grants and fetches what was agreed, sync or async.

    with Exchange("https://share.example.gov.cn", "civil-register", load_key(Path("client.pem"))) as exchange:
        for record in exchange.records(Wanted(agreement, resource, purpose="check")):
            ...

Knows the wire and no other part of this product, but the kernel's text and key handling.
"""

from exchange.client.calls import AsyncExchange, Exchange, load_key
from exchange.client.extracting import Extracted
from exchange.client.flows import Grant, NotAsReceipted, Refused, Unreachable, Wanted
from exchange.client.gathering import Gathered, Part
from exchange.client.pulling import NotThisPull, Pulled

__all__ = [
    "AsyncExchange",
    "Exchange",
    "Extracted",
    "Gathered",
    "Grant",
    "NotAsReceipted",
    "NotThisPull",
    "Part",
    "Pulled",
    "Refused",
    "Unreachable",
    "Wanted",
    "load_key",
]
