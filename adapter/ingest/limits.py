"""Rate limits: events, email addresses and recorded bytes, of one source and of one IP address.

`record.lua` counts them in the trip that records; a request beyond a limit is answered 429, and none of it recorded.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

import msgspec
from msgspec.structs import replace

from freshgate.errors import RateLimited
from freshgate.events import CONTACT_EMAIL, Event
from freshgate.settings import Cap, SourceSettings
from freshgate.settings_parsing import setting_name
from freshgate.state import keys

# Limit → its setting.
SETTINGS = {
    "source": "rate",
    "ip": "rate_per_ip",
    "source_addresses": "addresses",
    "addresses": "addresses_per_ip",
    "source_bytes": "recorded_bytes",
    "ip_bytes": "recorded_bytes_per_ip",
}
_OF_SOURCE = frozenset({"source", "source_addresses", "source_bytes"})
_OF_ADDRESSES = frozenset({"source_addresses", "addresses"})
OF_BYTES = frozenset({"source_bytes", "ip_bytes"})
# Defaults for browser keys, which are public: (n, window in ms). Sized for real shoppers, who have an address or two,
# and record about 1.5 KB an event.
_BROWSER_DEFAULTS = {
    "source": (60_000, 60_000),
    "ip": (600, 60_000),
    "source_addresses": (5_000, 3_600_000),
    "addresses": (20, 3_600_000),
    "source_bytes": (200_000_000, 3_600_000),
    "ip_bytes": (5_000_000, 3_600_000),
}
# What Redis needs for an event, at most: this for the keys of a new person, and so much for each byte of its plan, as a
# line of the cart stands there under two names.
EVENT_BYTES, PLAN_FACTOR = 600, 1.5


class Limit(msgspec.Struct, frozen=True, array_like=True):
    """One limit that a request must keep to. On the wire an array, in this order.

    name     a key of SETTINGS
    key      where Redis counts it
    maximum  at most so many in `window` ms
    cost     what this request adds, unless it has `members`; of bytes: `with_bytes`, once they are known
    members  what is counted once each: hashes of mailboxes
    """

    name: str
    key: str
    maximum: int
    window: int
    cost: int
    members: tuple[str, ...] = ()


def client_network(remote_ip: str) -> str:
    """The network that shares a limit per IP: one IPv4 address, or the /64 of IPv6 that one customer has.

    Empty for a private address, which is a proxy's: all visitors would share its limit.
    """
    try:
        address = ip_address(remote_ip.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    if not address.is_global:
        return ""
    return address.exploded[:19] if isinstance(address, IPv6Address) else str(address)


def build_limits(
    source: str, settings: SourceSettings, events: Sequence[Event], remote_ip: str, pii_key: bytes
) -> Sequence[Limit]:
    """The limits that a request counts against. A caller behind an undeclared proxy has none per IP."""
    if settings.trust == "server" and not any(getattr(settings, setting) for setting in SETTINGS.values()):
        return ()
    network = client_network(remote_ip)
    client = hmac.digest(pii_key, network.encode(), "sha256").hex()[:20] if network else ""
    # `ada+1@…`, `ada+2@…` are one mailbox: aliases are no way around a limit.
    mailboxes = tuple(sorted({keys.mailbox_id(pii_key, address)[:11] for address in _addresses(events)}))
    limits = []
    for name, setting in SETTINGS.items():
        configured: Cap | None = getattr(settings, setting)
        allowed = configured or (_BROWSER_DEFAULTS[name] if settings.trust == "browser" else None)
        if allowed is None or (name not in _OF_SOURCE and not client):
            continue
        members = mailboxes if name in _OF_ADDRESSES else ()
        if name in _OF_ADDRESSES and not members:
            continue
        key = f"{keys.shop(settings.id_space)}limit:{name}:{source}:{'' if name in _OF_SOURCE else client}"
        limits.append(Limit(name, key, *allowed, len(events), members))
    return limits


def with_bytes(limits: Sequence[Limit], packed: Sequence[bytes]) -> list[Limit]:
    """The limits, of which those of bytes cost what Redis may need for these packed plans, one an event."""
    cost = int(PLAN_FACTOR * sum(map(len, packed))) + EVENT_BYTES * len(packed)
    return [replace(limit, cost=cost) if limit.name in OF_BYTES else limit for limit in limits]


def _addresses(events: Sequence[Event]) -> set[str]:
    """The addresses to which mail may go because of these events."""
    sent = (event.email or event.fields.get(CONTACT_EMAIL) for event in events)
    return {address for address in sent if address}


def within(replies: Sequence[bytes]) -> list[str]:
    """The verdicts of `record.lua`'s reply, which begins with Redis' time. Raises RateLimited if a limit is reached."""
    texts = [reply.decode() for reply in replies[1:]]
    if texts and texts[0].startswith("limited "):
        _, limit, wait_ms = texts[0].split(" ")
        raise RateLimited("too many requests", limit=limit, retry_after_s=-(-int(wait_ms) // 1000))
    return texts


def limit_hint(source: str, limit: str) -> str:
    """The setting of the limit, for the log."""
    return f"{setting_name('sources', source, SETTINGS[limit])} is reached"
