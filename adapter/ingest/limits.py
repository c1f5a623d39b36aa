"""How much may be told in a time: by one source, from one network, and of how many addresses.

`record.lua` counts it in the trip that records; what goes beyond is answered 429, and nothing of it is recorded.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

import msgspec

from freshgate.errors import RateLimited
from freshgate.events import Event
from freshgate.settings import SourceSettings
from freshgate.settings_parsing import setting_name
from freshgate.state import keys

SETTINGS = {"source": "rate", "ip": "rate_per_ip", "addresses": "addresses_per_ip"}
# Of a key that anybody can read. A shopper clicks now and then, and has an address or two.
_OF_PAGES = {
    "source": (60_000, 60_000),
    "ip": (600, 60_000),
    "addresses": (20, 3_600_000),
}


class Limit(msgspec.Struct, frozen=True, array_like=True):
    """At most `most` in `window` ms; this request adds `cost`, or those of the `members` that are not known yet."""

    name: str
    key: str
    most: int
    window: int
    cost: int
    members: tuple[str, ...] = ()


def network_of(remote: str) -> str:
    """Whom a limit per IP holds for: an IPv4 address, or the /64 that one customer has of IPv6.

    Empty for a private address: that is a proxy's, not a visitor's, and all visitors would share one limit.
    """
    try:
        address = ip_address(remote.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    if not address.is_global:
        return ""
    return address.exploded[:19] if isinstance(address, IPv6Address) else str(address)


def limits_of(
    name: str, settings: SourceSettings, events: Sequence[Event], remote: str, pii_key: bytes
) -> Sequence[Limit]:
    """What the request counts for. `remote` is the caller's IP address; who is hidden by a proxy has none per IP."""
    if settings.trust == "server" and not (settings.rate or settings.rate_per_ip or settings.addresses_per_ip):
        return ()
    network = network_of(remote)
    whom = hmac.digest(pii_key, network.encode(), "sha256").hex()[:20] if network else ""
    limits = []
    for limit, setting in SETTINGS.items():
        given: tuple[int, int] | None = getattr(settings, setting)
        allowed = given or (_OF_PAGES[limit] if settings.trust == "browser" else None)
        if allowed is None or (limit != "source" and not whom):
            continue
        told = {event.email for event in events if event.email} if limit == "addresses" else set()
        if limit == "addresses" and not told:
            continue
        key = f"{keys.PREFIX}limit:{limit}:{name}:{'' if limit == 'source' else whom}"
        members = tuple(sorted(keys.address_id(pii_key, address)[:16] for address in told))
        limits.append(Limit(limit, key, *allowed, len(events), members))
    return limits


def within(replies: Sequence[bytes]) -> list[str]:
    """What `record.lua` answered, a text a write. Raises RateLimited if it was that a limit is reached."""
    said = [reply.decode() for reply in replies]
    if said and said[0].startswith("limited "):
        _, limit, wait_ms = said[0].split(" ")
        raise RateLimited("too many requests", limit=limit, retry_after_s=-(-int(wait_ms) // 1000))
    return said


def hint_of(source: str, limit: str) -> str:
    """Which setting to look at."""
    return f"{setting_name('sources', source, SETTINGS[limit])} is reached"
