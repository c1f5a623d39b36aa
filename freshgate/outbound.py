"""Guards each connection to a URL from the settings: where it may lead is checked on the address that it connects to.

`workers/esp/connection.py` opens its sockets here; `workers/esp/base_url.py` checks URLs at start.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# What socket.getaddrinfo returns for a host and a port.
Resolve = Callable[..., list[tuple[Any, ...]]]

LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
PRIVATE: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)
# IANA's special-purpose registries, where Python 3.11 takes them for global: CGNAT, 6to4 relays, local NAT64, ORCHID,
# segment routing, site-local.
SPECIAL: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "64:ff9b:1::/48",
        "2001:10::/28",
        "2001:20::/28",
        "5f00::/16",
        "fec0::/10",
    )
)
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
HTTPS_PORT = 443
NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


class UrlError(ValueError):
    """The URL is not one to connect to. The text says why, and quotes nothing of it: the URL may be a secret."""


class ForbiddenAddress(OSError):
    """The host's name leads to an address that is not allowed. Nothing was connected to."""


class Target(NamedTuple):
    """Where a URL leads. `authority` is the Host header's value, `path` begins with a slash and has the query."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str


def parse_url(url: str) -> Target:
    """The parts of an http or https URL. Raises UrlError for whatever two parsers could read in two ways."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise UrlError("it has a character that no URL has")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UrlError("it cannot be read") from None
    if parts.scheme not in ("http", "https") or not host:
        raise UrlError("it does not begin with https:// and a host")
    if "@" in parts.netloc:
        raise UrlError("it has credentials before an @")
    if "#" in url:
        raise UrlError("it has a #, which is not sent")
    if port == 0 or "%" in parts.netloc:
        raise UrlError("its host or port cannot be used")
    if NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]) and not _is_address(host):
        raise UrlError("its host is a number that programs read in different ways; write an address as 203.0.113.7")
    port = port or (HTTPS_PORT if parts.scheme == "https" else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, parts.netloc, path)


def is_loopback(host: str | None) -> bool:
    """Whether a name or address can only be this machine."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks such as "10.0.0.0/8". Raises UrlError for anything else."""
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError:
        raise UrlError("one of them is not a network") from None


def is_allowed(address: Address, allowed: Sequence[Network] = ()) -> bool:
    """Whether to connect to this address: it is of the public internet, in all that it embeds, or of `allowed`."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    if any((mapped or address) in network for network in allowed):
        return True
    # A host of a network without IPv4 reaches the internet's IPv4 by NAT64: there only what is embedded counts.
    parts = _embedded(address) if mapped or address in NAT64 else (address, *_embedded(address))
    return all(_is_public(part) for part in parts)


def connect(
    target: Target,
    timeout_s: float,
    *,
    allowed: Sequence[Network] = (),
    resolve: Resolve = socket.getaddrinfo,
) -> socket.socket:
    """A connected socket, `timeout_s` at most for all addresses together.

    The host is resolved once, each of its addresses is checked, and the socket goes to a checked one: a name that leads
    elsewhere a moment later changes nothing. Raises ForbiddenAddress if any is not allowed, else the last OSError.
    """
    deadline = time.monotonic() + timeout_s
    resolved = resolve(target.host, target.port, type=socket.SOCK_STREAM)
    ends = [(family, end) for family, _, _, _, end in resolved]
    if not all(is_allowed(ipaddress.ip_address(end[0].partition("%")[0]), allowed) for _, end in ends):
        raise ForbiddenAddress("the host's address is not one of the public internet")
    failure: OSError = OSError("the host has no address")
    for number, (family, end) in enumerate(ends):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            # One dead address of several does not use up the time of the others.
            sock.settimeout(max(0.001, (deadline - time.monotonic()) / (len(ends) - number)))
            sock.connect(end)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_public(address: Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in SPECIAL)
    )


def _embedded(address: Address) -> Iterator[Address]:
    """The IPv4 addresses to which a gateway may translate an IPv6 one: mapped, 6to4, NAT64. Others are not public."""
    if not isinstance(address, ipaddress.IPv6Address):
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address in NAT64:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
