"""Suppressions as they are written by hand or by a link: of an address, with who said so, on whoever's trail it is.

The operator's command and the receiver write them; `workers/gate.py` reads them before each mail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from freshgate.clock import AHEAD_MS
from freshgate.declare import DAY
from freshgate.state import keys
from freshgate.state.records import Mark, Record
from freshgate.state.stamps import BY_DEVICE, GUESSED, TIME_LENGTH, stamp
from freshgate.state.store import fcall, with_library

# Why an address gets no mail; of a topic, "topic_" and its name.
KINDS = ("unsubscribed", "bounced", "spam")
TOPIC = "topic_"
# How far the time of an opt-out or opt-in may be off, by the rank in its stamp (ms).
_DOUBT: Mapping[str, int] = {BY_DEVICE: AHEAD_MS, GUESSED: DAY}
_pack = msgspec.msgpack.Encoder().encode
_encode = msgspec.json.Encoder().encode


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """An opt-out, or the lift of a suppression, of one address.

    kind    one of KINDS, or `topic_<name>`
    at      ms UTC
    author  makes two changes of one millisecond different, and the same change the same
    value   who said so, and why
    state   what the trail says, and `details` beside it
    outcome what the shop hears of it, as `freshgate.outcomes` has it; None is nothing
    """

    address: str
    kind: str
    at: int
    author: str
    value: str
    state: str
    lifts: bool = False
    details: Mapping[str, Any] = {}
    outcome: Mapping[str, Any] | None = None


def write(client: Any, shop: str, change: Change) -> None:
    """Writes it, unless something newer stands there. Raises RedisError."""
    with_library(client, lambda: write_all(client, shop, [change]))


def write_all(client: Any, shop: str, changes: Sequence[Change]) -> int:
    """Writes them in one trip; returns how many were news. Raises RedisError, also where the functions are missing."""
    pipe = client.pipeline(transaction=False)
    for change in changes:
        fcall(pipe, "suppress", keys.shop(shop), "", _pack(_body(change)))
    return sum(int(reply) for reply in pipe.execute())


def _body(change: Change) -> dict[str, Any]:
    trigger = change.kind.removeprefix(TOPIC) if change.kind.startswith(TOPIC) else "all mail"
    line = {"t": change.at, "trigger": trigger, "state": change.state, "reason": change.value, **change.details}
    return {
        "outcome": change.outcome,
        "address": change.address,
        "field": f"{'l' if change.lifts else 'm'}:{change.kind}",
        "stamp": stamp(change.at, change.author),
        "value": change.value,
        "note": _encode(line).decode(),
    }


def in_force(raw: Mapping[bytes, bytes]) -> dict[str, Mark]:
    """kind → the mark of each suppression that holds, of an address' record as Redis has it."""
    record = Record("", {name.decode(): value.decode("utf-8", "replace") for name, value in raw.items()}, "a")
    topics = sorted(field.removeprefix("m:") for field in record.fields(f"m:{TOPIC}"))
    holding = {}
    for kind in (*KINDS, *topics):
        mark = record.register(f"m:{kind}")
        lifted, opt_in = record.register(f"l:{kind}"), record.register("m:subscribed")
        if mark and not is_over(kind, mark, [lifted], [opt_in]):
            holding[kind] = mark
    return holding


def is_over(kind: str, mark: Mark, lifted: Sequence[Mark | None], opt_ins: Sequence[Mark | None]) -> bool:
    """Whether the suppression has ended: an operator lifted it since, or its person opted in again.

    An opt-in is newer only if no clock makes it so. A device's may be ahead, or behind, by five minutes, and a guessed
    time is off by up to a day: in doubt the opt-out holds, and of the same millisecond too.
    """
    if any(end and end.stamp > mark.stamp for end in lifted):
        return True
    return is_opt_out(kind) and any(opt_in and _is_surely_newer(opt_in, mark) for opt_in in opt_ins)


def _is_surely_newer(opt_in: Mark, opt_out: Mark) -> bool:
    doubt = max(_DOUBT.get(mark.stamp[TIME_LENGTH], 0) for mark in (opt_in, opt_out))
    return opt_in.at - opt_out.at > doubt


def is_opt_out(kind: str) -> bool:
    """Whether a person's own, newer opt-in takes it back. A bounce or a spam report is lifted by an operator only."""
    return kind == "unsubscribed" or kind.startswith(TOPIC)
