"""Suppressions as they are written by hand or by a link: of an address, with who said so, on whoever's trail it is.

The operator's command and the receiver write them; `workers/gate.py` reads them before each mail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from freshgate.state import keys
from freshgate.state.records import Mark, Record
from freshgate.state.stamps import stamp
from freshgate.state.store import fcall, with_library

# Why an address gets no mail; of a topic, "topic_" and its name.
KINDS = ("unsubscribed", "bounced", "spam")
TOPIC = "topic_"
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
    return sum(int(reply) for reply in pipe.execute()) if changes else 0


def _body(change: Change) -> dict[str, Any]:
    trigger = change.kind.removeprefix(TOPIC) if change.kind.startswith(TOPIC) else "all mail"
    line = {"t": change.at, "trigger": trigger, "state": change.state, "reason": change.value, **change.details}
    outcome = {} if change.outcome is None else {"outcome": change.outcome}
    return {
        **outcome,
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
        ends = [record.register(f"l:{kind}"), record.register("m:subscribed") if is_opt_out(kind) else None]
        if mark and not any(end and end.stamp > mark.stamp for end in ends):
            holding[kind] = mark
    return holding


def is_opt_out(kind: str) -> bool:
    """Whether a person's own, newer opt-in takes it back. A bounce or a spam report is lifted by an operator only."""
    return kind == "unsubscribed" or kind.startswith(TOPIC)
