"""An address is the same, however it was typed, pasted or exported; what looks like another is marked."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshgate.addresses import INVISIBLE, is_lookalike, mailbox_of, read_address

INVISIBLES = [
    "\u200b",
    "\u200c",
    "\u200d",
    "\u2060",
    "\ufeff",
    "\u00ad",
    "\u200e",
    "\u200f",
    "\u202a",
    "\u202c",
    "\u2066",
]
INVISIBLES += ["\u2069", "\u061c", "\u180e", "\u034f", "\u3164", "\ufe0f"]


@pytest.mark.parametrize("invisible", INVISIBLES, ids=lambda char: f"U+{ord(char):04X}")
@pytest.mark.parametrize(
    "form", ["{}ada@example.com", "ada@example.com{}", "a{}da@exam{}ple.com", "ada{}@{}example.com"]
)
def test_an_invisible_character_is_no_part_of_an_address(invisible: str, form: str) -> None:
    assert read_address(form.replace("{}", invisible)) == "ada@example.com"


@pytest.mark.parametrize(
    ("sent", "address"),
    [
        ("ada@example.com", "ada@example.com"),
        (" Ada@Example.com\t", "Ada@Example.com"),
        ("\u00a0ada@example.com\u3000", "ada@example.com"),
        ("jose\u0301@example.com", "jos\u00e9@example.com"),
        # A domain in the one form that every ESP takes; ß is its own letter since IDNA 2008, not ss.
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@bu\u0308cher.example", "ada@xn--bcher-kva.example"),
        ("ada@BÜCHER.example", "ada@xn--bcher-kva.example"),
        ("ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
        ("ada@straße.example", "ada@xn--strae-oqa.example"),
        ("ада@пример.рф", "ада@xn--e1afmkfd.xn--p1ai"),
        ("ada@例え。jp", "ada@xn--r8jz45g.jp"),
        ("'ada@example.com'", "ada@example.com"),
        ("ada@example.com.", "ada@example.com"),
        ("ada@mail.eu.shop.example.com", "ada@mail.eu.shop.example.com"),
        ("o'brien%sales@example.com", "o'brien%sales@example.com"),
    ],
)
def test_each_spelling_of_an_address_is_read_as_that_address(sent: str, address: str) -> None:
    assert read_address(sent) == address


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "@",
            "ada",
            "ada@",
            "@example.com",
            "ada@@example.com",
            "ada@example.com, bob@example.com",
            "a b@example.com",
        ),
        *("Ada <ada@example.com>", "ada@exa\x00mple.com", "\u200b", "\u200b@\ufeff", "ada@exa\ufffdmple.com"),
        *("ad\ufffda@example.com", "ada\uff20example.com", "ada@-ü.example", "ada@" + "ü" * 70 + ".example"),
        *(
            "a" * 250 + "@example.com",
            "ü" + "a" * 250 + "@example.com",
            None,
            7,
            ["ada@example.com"],
            {},
            "\ud83d@example.com",
        ),
    ],
    ids=repr,
)
def test_what_is_not_one_address_is_none(value: Any) -> None:
    assert read_address(value) is None


@pytest.mark.parametrize(
    "lookalike",
    # Cyrillic а, е, о and ѕ, Greek ο, a fullwidth a; a word of Cyrillic letters that are all drawn as Latin ones.
    ["аda@example.com", "ada@еxample.com", "bоb@example.com", "ѕam@example.com", "bοb@example.com", "ａda@example.com"]
    + ["сора@example.com", "ada@сосо.com"],
)
def test_letters_of_another_script_that_look_alike_are_marked(lookalike: str) -> None:
    assert is_lookalike(lookalike)
    assert read_address(lookalike) != lookalike.encode("ascii", "ignore").decode()


@pytest.mark.parametrize(
    "honest",
    [
        "ada@example.com",
        "josé@example.com",
        "ада@пример.рф",
        "ελενη@example.com",
        "ada@例え.jp",
        "łukasz@example.pl",
        7,
    ],
)
def test_an_address_in_its_own_script_is_not_marked(honest: Any) -> None:
    assert not is_lookalike(honest)


PARTS = st.text(st.sampled_from("abcxyz0189._-+öéłжя"), min_size=1, max_size=12)


@settings(deadline=None)
@given(PARTS, st.lists(st.tuples(st.integers(0, 30), st.sampled_from(sorted({*INVISIBLES, *INVISIBLE}))), max_size=4))
def test_what_cannot_be_seen_never_makes_another_address(name: str, invisibles: list[tuple[int, str]]) -> None:
    address = f"{name}@bücher.example"
    sent = address
    for place, invisible in invisibles:
        sent = sent[:place] + invisible + sent[place:]
    assert read_address(unicodedata.normalize("NFD", sent)) == read_address(address)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_an_address_that_was_read_is_read_as_itself(text: str) -> None:
    for value in (text, f"{text}@example.com", f"ada@{text}.example"):
        address = read_address(value)
        assert address is None or (read_address(address) == address and address.rpartition("@")[2].isascii())


@pytest.mark.parametrize(
    ("address", "mailbox"),
    [
        ("Ada@Example.com", "ada@example.com"),
        (" ada+shop@example.com", "ada@example.com"),
        ("ada+a+b@example.com", "ada@example.com"),
        ("+ada@example.com", "+ada@example.com"),
        ("a.d.a@example.com", "a.d.a@example.com"),
        ("a.d.a+x@gmail.com", "ada@gmail.com"),
        ("A.Da@GoogleMail.com", "ada@gmail.com"),
        ("...@gmail.com", "...@gmail.com"),
        ("ada+x@exämple.com", "ada@xn--exmple-cua.com"),
        ("no address", "no address"),
    ],
)
def test_aliases_are_one_mailbox(address: str, mailbox: str) -> None:
    assert mailbox_of(address) == mailbox


@pytest.mark.parametrize(
    "value",
    [
        "ada@example..com",
        "ada@.example.com",
        "{{email}}@example.com",
        "${user}@example.com",
        "%%email%%@example.com",
        "'@'",
    ],
)
def test_a_gap_in_the_domain_and_a_template_that_was_not_filled_in_are_no_address(value: str) -> None:
    assert read_address(value) is None
