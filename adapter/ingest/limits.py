"""Rate limits: events of one source, events of one IP address, and email addresses that one IP address gives.

`record.lua` counts them in the trip that records; a request beyond a limit is answered 429, and none of it recorded.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

import msgspec

from freshgate.errors import RateLimited
from freshgate.events import CONTACT_EMAIL, Event
from freshgate.settings import Cap, SourceSettings
from freshgate.settings_parsing import setting_name
from freshgate.state import keys

# Limit → its setting.
SETTINGS = {"source": "rate", "ip": "rate_per_ip", "addresses": "addresses_per_ip"}
# Defaults for browser keys, which are public: (n, window in ms). Sized for real shoppers, who have an address or two.
_BROWSER_DEFAULTS = {
    "source": (60_000, 60_000),
    "ip": (600, 60_000),
    "addresses": (20, 3_600_000),
}


class Limit(msgspec.Struct, frozen=True, array_like=True):
    """One limit that a request must keep to. On the wire an array, in this order.

    name     a key of SETTINGS
    key      where Redis counts it
    maximum  at most so many in `window` ms
    cost     what this request adds, unless it has `members`
    members  what is counted once each: hashes of addresses
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
    if settings.trust == "server" and not (settings.rate or settings.rate_per_ip or settings.addresses_per_ip):
        return ()
    network = client_network(remote_ip)
    client = hmac.digest(pii_key, network.encode(), "sha256").hex()[:20] if network else ""
    limits = []
    for name, setting in SETTINGS.items():
        configured: Cap | None = getattr(settings, setting)
        allowed = configured or (_BROWSER_DEFAULTS[name] if settings.trust == "browser" else None)
        if allowed is None or (name != "source" and not client):
            continue
        addresses = _addresses(events) if name == "addresses" else set()
        if name == "addresses" and not addresses:
            continue
        key = f"{keys.shop(settings.id_space)}limit:{name}:{source}:{'' if name == 'source' else client}"
        members = tuple(sorted(keys.address_id(pii_key, address)[:16] for address in addresses))
        limits.append(Limit(name, key, *allowed, len(events), members))
    return limits


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
