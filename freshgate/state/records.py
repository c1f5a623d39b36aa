"""A hash of Redis as it is read: registers, and the claims of sends.

`views.py` and `orders.py` say what the registers mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any, Self

import msgspec

from freshgate.events import Product
from freshgate.state.stamps import LENGTH, millis


class Mark(msgspec.Struct, frozen=True):
    """The newest time that something happened: its stamp, milliseconds, and what the event said about it."""

    stamp: str
    at: int
    value: str

    @property
    def fields(self) -> Mapping[str, Any]:
        """The fields that the mark carries: texts and amounts as str, numbers and times as they are, a product as
        Product; of the mark "view" those of its product. Empty for a mark that carries none."""
        text = self.value.removeprefix("?")
        if not text.startswith("{"):
            return {}
        fields: dict[str, Any] = msgspec.json.decode(text)
        return {
            name: msgspec.convert(value, Product) if isinstance(value, dict) else value
            for name, value in fields.items()
        }


def without(mark: Mark, fields: Mapping[str, Any]) -> Mark:
    """The mark with other values of these fields; without those that are None."""
    values = {name: value for name, value in {**mark.fields, **fields}.items() if value is not None}
    return Mark(mark.stamp, mark.at, msgspec.json.encode(values).decode() if values else "")


class Claim(msgspec.Struct, frozen=True):
    """One send that was begun. `state` is claimed, retry, replay, or an outcome; times in milliseconds.

    limit    how old the mail may be at most, where a replay raised that; 0 is the trigger's max_age
    owner    the record that holds it: "p:u3f…"
    account  the ESP account that may have the mail, where another one could be asked; else ""
    """

    send_id: str
    state: str
    token: str
    until: int
    at: int
    attempts: int
    version: str
    limit: int = 0
    owner: str = ""
    account: str = ""

    def text(self) -> str:
        """The form in Redis, after the send's id; `claim.lua` reads its first two words."""
        tries = f"{self.attempts}+{self.limit}" if self.limit else f"{self.attempts}"
        tries += f"@{self.account}" if self.account else ""
        return f"{self.state} {self.token} {self.until} {self.at} {tries} {self.version or '-'}"


# A send in one of these states has left, or may have: it counts for caps.
WENT_OUT = frozenset({"claimed", "sent", "fallback_sent", "unknown"})
# A mail of which the ESP said that it has it.
WITH_ESP = frozenset({"sent", "fallback_sent"})
# A send in one of these states is over; the same version is a duplicate.
OVER = frozenset({"sent", "fallback_sent", "rejected", "unknown", "dead"})


def parse_claims(text: str, owner: str = "") -> list[Claim]:
    """The claims of one trigger in one record, newest first."""
    claims = []
    for line in text.split("\n"):
        if not line:
            continue
        send_id, state, token, until, at, tries, version = line.split(" ")
        tries, _, account = tries.partition("@")
        attempts, _, limit = tries.partition("+")
        version = "" if version == "-" else version
        claims.append(
            Claim(send_id, state, token, int(until), int(at), int(attempts), version, int(limit or 0), owner, account)
        )
    return claims


class Record:
    """Registers of one hash. Values are `stamp + text`."""

    def __init__(self, record_id: str, raw: Mapping[str, str], kind: str = "o") -> None:
        self.id = record_id
        self.kind = kind
        self._raw = raw
        self.revision = raw.get("rev", "0")

    @property
    def owner(self) -> str:
        """The record's name within its shop: `o:o3f…`."""
        return f"{self.kind}:{self.id}"

    def register(self, field: str) -> Mark | None:
        value = self._raw.get(field)
        if value is None:
            return None
        return Mark(value[:LENGTH], millis(value), value[LENGTH:])

    def fields(self, head: str) -> Iterator[str]:
        """The names of all fields that begin so."""
        return (field for field in self._raw if field.startswith(head))

    def trace(self, trigger: str) -> str:
        """The trace of the event that set this trigger's timer, if that was sampled: a `traceparent`."""
        return self._raw.get(f"p:{trigger}", "")

    def claims(self, trigger: str) -> list[Claim]:
        """Every send of this trigger that was begun for this subject and is still remembered."""
        return parse_claims(self._raw.get(f"c:{trigger}", ""), self.owner)

    def as_of(self, moment: int) -> Self:
        """What is known now of the time up to `moment` (ms). A register holds its newest value only, so something
        older that a newer value replaced is missing."""
        before = copy(self)
        before._raw = {
            field: value for field, value in self._raw.items() if not _is_moment(field) or millis(value) <= moment
        }
        return before


def _is_moment(field: str) -> bool:
    return field[:2] in ("m:", "F:", "l:")


def to_fields(flat: list[bytes]) -> dict[str, str]:
    """A record as `read.lua` returns it: field, value, field, value …"""
    text = [value.decode("utf-8", "replace") for value in flat]
    return dict(zip(text[::2], text[1::2], strict=True))
