"""Addresses with something around them: where there is one reading, it is taken; never another's."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.sources.reading.sent_addresses import read_sent_address


@pytest.mark.parametrize(
    "sent",
    [
        "ada@example.com",
        " ada@example.com ",
        "Ada <ada@example.com>",
        '"Lovelace, Ada" <ada@example.com>',
        '"ada@old.example.com" <ada@example.com>',
        "<ada@example.com>",
        "mailto:ada@example.com",
        "MAILTO:ada@example.com?subject=hi",
        '"ada@example.com"',
        "\u201cada@example.com\u201d",
        "ada@example.com;",
        "ada@example.com,",
        ["ada@example.com"],
        ["Ada <ada@example.com>"],
    ],
    ids=repr,
)
def test_what_stands_around_one_address_is_left_out(sent: Any) -> None:
    assert read_sent_address(sent) == "ada@example.com"


@pytest.mark.parametrize(
    "sent",
    [
        "ada@example.com, bob@example.com",
        "ada@example.com;bob@example.com",
        "Ada <ada@example.com>, Bob <bob@example.com>",
        "ada@old.example.com <ada@example.com>",
        ["ada@example.com", "bob@example.com"],
        [],
        [["ada@example.com"]],
        [None],
        {"address": "ada@example.com"},
        "<>",
        "mailto:",
        '"',
        "",
        None,
        7,
        "Ada " * 200 + "<ada@example.com>",
    ],
    ids=lambda sent: repr(sent)[:50],
)
def test_of_several_addresses_none_is_guessed(sent: Any) -> None:
    assert read_sent_address(sent) is None


@pytest.mark.parametrize(
    "sent", ["undefined@undefined", "undefined@example.com", "ada@undefined", "null@null", "Ada <ada@null>", "x@None"]
)
def test_an_address_whose_part_was_missing_is_none(sent: str) -> None:
    assert read_sent_address(sent) is None


def test_a_mailbox_may_be_called_null() -> None:
    assert read_sent_address("null@example.com") == "null@example.com"
