"""Where an outgoing connection may lead: addresses in all their spellings, names that lead elsewhere, odd URLs.

Names are resolved by a list of the test's own; sockets are real.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from freshgate.outbound import LOOPBACK, ForbiddenAddress, UrlError, connect, is_allowed, parse_networks, parse_url

Ends = list[tuple[Any, ...]]


class Names:
    """Resolves a name to the next of these addresses, as a name server under foreign control may."""

    def __init__(self, port: int, *turns: list[str]) -> None:
        self.turns = list(turns)
        self.asked = 0
        self._port = port

    def __call__(self, host: str, port: int, **_: object) -> Ends:
        self.asked += 1
        return [
            (socket.AF_INET6 if ":" in text else socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, self._port))
            for text in self.turns.pop(0)
        ]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def port_of(server: socket.socket) -> int:
    return int(server.getsockname()[1])


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "100.127.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "203.0.113.1", "224.0.0.1",
        "239.255.255.250", "240.0.0.1", "255.255.255.255",
        "::1", "::", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "fe80::1", "fc00::1", "fd00:ec2::254",
        "fec0::1", "ff02::1", "2001:db8::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::",
        "2002:a00:1::1", "2001:0:5ef5:79fd:0:59d:a0e5:ba1", "5f00::1", "::101:101", "4000::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_of_the_public_internet_is_refused(address: str) -> None:
    assert not is_allowed(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"],
)
def test_an_address_of_the_public_internet_is_allowed(address: str) -> None:
    assert is_allowed(ipaddress.ip_address(address))


def test_only_the_network_that_is_allowed_is() -> None:
    allowed = parse_networks(["10.1.0.0/16"])
    assert is_allowed(ipaddress.ip_address("10.1.2.3"), allowed)
    assert is_allowed(ipaddress.ip_address("::ffff:10.1.2.3"), allowed)
    assert not is_allowed(ipaddress.ip_address("10.2.0.1"), allowed)
    assert not is_allowed(ipaddress.ip_address("64:ff9b::a01:203"), allowed)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "inner.example.com", ""])
def test_what_is_not_a_network_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(UrlError) as raised:
        parse_networks(["10.1.0.0/16", text])
    assert str(raised.value) == "one of them is not a network"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/", "//example.com", "example.com", "", "https://", "http:example.com",
        "https://user:password@example.com/", "https://example.com@127.0.0.1/", "https://@example.com/",
        "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/", "https://127.1/", "https://127.0.0.1./",
        "https://0x7f.0.0.1/", "https://1.2.3.4.5/", "https://example.0x1/",
        "https://example.com\\@127.0.0.1/", "https://exa mple.com/", "https://example.com/\r\nX: y", "https://ex\u2024com/",
        "https://inner.test\\.example.com/", "https://example.com/\r\nX:y", "https://exa\tmple.com/", "https://example.com/\x7f",
        "https://[::1%25eth0]/", "https://[fe80::1%eth0]/", "https://[::1/", "https://example.com:0/",
        "https://example.com:99999/", "https://example.com:port/", "https://127.0.0.1%00.example.com/",
        "https://example.com/#part",
    ],
)  # fmt: skip
def test_a_url_that_programs_read_in_different_ways_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(UrlError) as raised:
        parse_url(url)
    assert "example" not in str(raised.value)
    assert "127" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://example.com", ("https", "example.com", 443, "example.com", "/")),
        ("HTTPS://Example.com:8443/a?b=c", ("https", "example.com", 8443, "Example.com:8443", "/a?b=c")),
        ("http://127.0.0.1:8025/x", ("http", "127.0.0.1", 8025, "127.0.0.1:8025", "/x")),
        ("http://example.com/a", ("http", "example.com", 80, "example.com", "/a")),
        ("http://[::1]:8025", ("http", "::1", 8025, "[::1]:8025", "/")),
        ("https://123.example.com/", ("https", "123.example.com", 443, "123.example.com", "/")),
    ],
)
def test_a_url_is_read_into_its_parts(url: str, parts: tuple[object, ...]) -> None:
    assert parse_url(url) == parts


def test_a_name_that_leads_to_this_machine_is_refused(listening: socket.socket) -> None:
    names = Names(port_of(listening), ["127.0.0.1"])
    with pytest.raises(ForbiddenAddress):
        connect(parse_url("https://inner.example.com"), 1, resolve=names)
    listening.settimeout(0.05)
    with pytest.raises(TimeoutError):
        listening.accept()


def test_a_name_with_a_public_and_a_private_address_is_refused(listening: socket.socket) -> None:
    with pytest.raises(ForbiddenAddress):
        connect(parse_url("https://mixed.example.com"), 1, resolve=Names(1, ["1.1.1.1", "127.0.0.1"]))


def test_a_name_is_resolved_once_so_what_was_checked_is_what_is_connected_to(listening: socket.socket) -> None:
    """The name leads to an allowed address when it is checked, and would lead to another one a moment later."""
    names = Names(port_of(listening), ["127.0.0.1"], ["127.0.0.2"])
    with connect(parse_url("http://rebinding.example.com"), 1, allowed=LOOPBACK, resolve=names) as sock:
        assert sock.getpeername() == ("127.0.0.1", port_of(listening))
    assert names.asked == 1


def test_a_dead_address_leaves_time_for_the_next(listening: socket.socket) -> None:
    # No such loopback address listens on that port, so the first is refused at once.
    names = Names(port_of(listening), ["127.0.0.9", "127.0.0.1"])
    with connect(parse_url("http://two.example.com"), 60, allowed=LOOPBACK, resolve=names) as sock:
        assert sock.getpeername()[0] == "127.0.0.1"
        assert 30 < (sock.gettimeout() or 0) <= 60, "the last address may use all that is left"


def test_a_socket_to_a_dead_address_is_closed(listening: socket.socket) -> None:
    names = Names(port_of(listening), ["127.0.0.9"])
    with pytest.raises(ConnectionRefusedError) as raised:
        connect(parse_url("http://dead.example.com"), 60, allowed=LOOPBACK, resolve=names)
    assert raised.traceback[-1].frame.f_locals["sock"].fileno() == -1


def test_a_name_without_an_address_is_an_error_of_the_network() -> None:
    with pytest.raises(OSError, match="no address"):
        connect(parse_url("https://none.example.com"), 1, resolve=Names(1, []))
