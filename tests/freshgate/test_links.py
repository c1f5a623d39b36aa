"""Links to unsubscribe: they name a send, hold for a year, say nothing to whoever reads them, and cannot be made up."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshgate import links
from freshgate.links import TTL_MS, LinkError, Links, LinkToken, LinkTokens, unsubscribe_headers
from freshgate.state import keys

NOW = 1_790_000_000_000
PII_KEY = b"a key for tests"
TOKEN = LinkToken(
    shop="main",
    address=keys.address_id(PII_KEY, "ada@example.com"),
    send_id=keys.send_id("abandoned_cart", "u1", "v"),
    topic="cart_reminders",
    expires_at=NOW + TTL_MS,
)
# As version 1 seals it.
SEALED_BEFORE = (
    "7FSKCua9foLkMgFyDMK-"
    "LlHHb_qdnXaZga58RiZZ"
    "aj04M-MFqarqrveTihxS"
    "G-bwgpmdbbCFIsHJ5Qod"
    "P9IxNvMKskb1zCS7-dwc"
    "n-Fv9_HE9yq91C1uGcc"
)
OLD, NEW = "the old secret, long", "the new secret, long"


@pytest.fixture
def tokens() -> LinkTokens:
    return LinkTokens(PII_KEY)


def test_a_token_says_what_was_sealed(tokens: LinkTokens) -> None:
    assert tokens.open(tokens.seal(TOKEN), NOW) == TOKEN


def test_the_same_send_has_the_same_link_and_another_send_another(tokens: LinkTokens) -> None:
    assert tokens.seal(TOKEN) == LinkTokens(PII_KEY).seal(TOKEN)
    assert tokens.seal(TOKEN) != tokens.seal(msgspec.structs.replace(TOKEN, send_id="00" * 12))


def test_a_token_reveals_neither_shop_nor_topic_nor_address(tokens: LinkTokens) -> None:
    sealed = tokens.seal(TOKEN)
    raw = base64.urlsafe_b64decode(sealed + "==")
    for secret in (TOKEN.topic, TOKEN.shop, TOKEN.address, TOKEN.send_id):
        assert secret not in sealed
        assert secret.encode() not in raw
    # Two mails to one address do not show that they are.
    other = base64.urlsafe_b64decode(tokens.seal(msgspec.structs.replace(TOKEN, send_id="11" * 12)) + "==")
    assert all(raw[i : i + 8] not in other for i in range(len(raw) - 8))


def test_a_token_expires(tokens: LinkTokens) -> None:
    sealed = tokens.seal(TOKEN)
    assert tokens.open(sealed, TOKEN.expires_at) == TOKEN
    with pytest.raises(LinkError) as raised:
        tokens.open(sealed, TOKEN.expires_at + 1)
    assert raised.value.expired


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_token_altered_by_one_bit_is_not_ours(place: int, bit: int) -> None:
    tokens = LinkTokens(PII_KEY)
    raw = bytearray(base64.urlsafe_b64decode(tokens.seal(TOKEN) + "=="))
    raw[place % len(raw)] ^= 1 << bit
    with pytest.raises(LinkError) as raised:
        tokens.open(base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode(), NOW)
    assert not raised.value.expired


@pytest.mark.parametrize(
    "text", ["", "x", "A" * 64, "A" * 65, "A" * 100, "A" * 500, "Ä" * 90, "a" * 90 + "\n", "../" * 30, "%41" * 30]
)
def test_what_is_no_token_is_refused(tokens: LinkTokens, text: str) -> None:
    with pytest.raises(LinkError) as raised:
        tokens.open(text, NOW)
    assert not raised.value.expired


def test_a_token_with_more_in_it_is_not_ours(tokens: LinkTokens) -> None:
    sealed = tokens.seal(TOKEN)
    # What is decoded would be the same.
    with pytest.raises(LinkError):
        tokens.open(f"{sealed[:8]}....{sealed[8:]}", NOW)


def test_a_token_of_any_length_opens_also_of_a_shop_with_spaces(tokens: LinkTokens) -> None:
    for length in range(1, 21):
        token = msgspec.structs.replace(TOKEN, shop=("m y" * 7)[:length])
        assert tokens.open(tokens.seal(token), NOW) == token


def test_a_link_in_a_mailbox_is_opened_by_later_versions_for_a_year(tokens: LinkTokens) -> None:
    assert links.TTL_MS == 365 * 86_400_000
    assert tokens.open(SEALED_BEFORE, NOW) == TOKEN


def test_another_installations_token_is_not_ours(tokens: LinkTokens) -> None:
    with pytest.raises(LinkError):
        tokens.open(LinkTokens(b"another key").seal(TOKEN), NOW)


def test_a_new_secret_is_put_before_the_old_one_and_no_link_dies() -> None:
    derived, first, second = LinkTokens(PII_KEY), LinkTokens(PII_KEY, [OLD]), LinkTokens(PII_KEY, [NEW, OLD])
    sealed = [tokens.seal(TOKEN) for tokens in (derived, first, second)]
    assert len(set(sealed)) == 3
    assert [second.open(text, NOW) for text in sealed] == [TOKEN] * 3
    with pytest.raises(LinkError):
        LinkTokens(PII_KEY, [NEW]).open(sealed[1], NOW)


@given(
    shop=st.text(min_size=1, max_size=30),
    topic=st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True),
    at=st.integers(0, 2**47),
)
def test_any_shop_topic_and_time_comes_back(shop: str, topic: str, at: int) -> None:
    try:
        shop.encode()
    except UnicodeEncodeError:
        return
    token = msgspec.structs.replace(TOKEN, shop=shop, topic=topic, expires_at=at)
    tokens = LinkTokens(PII_KEY)
    assert tokens.open(tokens.seal(token), 0) == token


def test_the_headers_are_those_of_one_click(tokens: LinkTokens) -> None:
    url = Links(tokens, "https://mails.shop.example/fg/").url(TOKEN)
    assert url == f"https://mails.shop.example/fg/unsubscribe/{tokens.seal(TOKEN)}"
    headers = unsubscribe_headers(url)
    assert headers == {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    assert all(len(name) + len(value) + 2 < 998 and value.isascii() for name, value in headers.items())
