"""docs/REDIS.md is complete: every key and field that Redis ever holds has a row, and every row stands for something.

A shop lives through everything (`tests/harness/shop_life.py`) on a real Redis, which is read after each step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.harness.shop_life import live_through_everything

PAGE = Path(__file__).parents[1] / "docs" / "REDIS.md"
# Heading on the page → the keys whose fields its table lists.
HASHES = {
    "Fields of a person's record": re.compile(r"fg:\{main\}:p:[^:]+"),
    "Fields of an order": re.compile(r"fg:\{main\}:o:[^:]+"),
    "Fields of an address": re.compile(r"fg:\{main\}:a:[^:]+"),
}


def names_of(heading: str) -> list[str]:
    """The first cells of the tables under a heading."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)
    return [cell.replace("\\|", "|") for cell in cells]


def pattern(name: str) -> re.Pattern[str]:
    """A row's name as a pattern: `<…>` stands for any text, without a colon unless it is a field's last part."""
    is_key = name.startswith(("fg:", "rq:"))
    *heads, last = re.split(r"<[^>]+>", name)
    placeholders = ["[^:]+"] * len(heads)
    if placeholders and not last and not is_key:
        # A product's id, a timer.
        placeholders[-1] = ".+"
    parts = [re.escape(head) + text for head, text in zip(heads, placeholders, strict=True)]
    return re.compile("".join(parts) + re.escape(last))


def row_of(name: str, rows: Iterable[str]) -> str | None:
    """The row that describes a key or field: the one that leaves the least open."""
    matching = [row for row in rows if pattern(row).fullmatch(name)]
    return max(matching, key=lambda row: len(re.sub(r"<[^>]+>", "", row)), default=None)


class Watcher:
    """Remembers each key, and each field of the records, that Redis had at any of the moments of `watch`."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self.keys: set[str] = set()
        self.fields: dict[str, set[str]] = {heading: set() for heading in HASHES}

    def watch(self) -> None:
        for raw in self._client.scan_iter("*", count=1000):
            key = raw.decode()
            self.keys.add(key)
            for heading, records in HASHES.items():
                if records.fullmatch(key):
                    self._watch_fields(heading, key)

    def _watch_fields(self, heading: str, key: str) -> None:
        fields: Any = self._client.hkeys(key)
        self.fields[heading] |= {field.decode() for field in fields}


@pytest.fixture
def watcher(redis: Redis, redis_server: str) -> Watcher:
    """What Redis held while a shop lived through everything."""
    watcher = Watcher(redis)
    for _ in live_through_everything(redis, redis_server):
        watcher.watch()
    return watcher


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("fg:{main}:p:u1", "fg:{main}:p:<id>"),
        ("fg:{main}:p:u1:ev", None),
        ("fg:{main}:q:u1", None),
        ("m:refunded:2.00", "m:refunded:<amount>"),
        ("m:refunded", "m:<mark>"),
        ("n:a:b", "n:<line>"),
        ("revision", None),
    ],
)
def test_a_name_is_described_by_its_own_row_only(name: str, row: str | None) -> None:
    assert row_of(name, ["fg:{main}:p:<id>", "m:<mark>", "m:refunded:<amount>", "n:<line>", "rev"]) == row


def test_every_key_and_field_has_a_row_and_every_row_was_seen(watcher: Watcher) -> None:
    missing, unused = [], []
    for heading, names in {"Keys": watcher.keys, **watcher.fields}.items():
        rows = names_of(heading)
        described = {name: row_of(name, rows) for name in names}
        missing += [f"{heading}: {name}" for name, row in sorted(described.items()) if row is None]
        unused += [f"{heading}: {row}" for row in rows if row not in described.values()]
    assert missing == [], "docs/REDIS.md has no row for these"
    assert unused == [], "docs/REDIS.md describes what Redis never held"
