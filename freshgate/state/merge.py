"""One person's record moves into another's: the four steps of `merge.lua`, in order, each repeatable.

The receiver runs them when an anonymous id turns out to be a user; a gate that meets an unfinished merge ends it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import redis

from freshgate.state import keys
from freshgate.state.planner import MAX_MERGED, PERSON_TTL
from freshgate.state.stamps import LENGTH
from freshgate.state.store import fcall

MAX_HOPS = 8
_pack = msgspec.msgpack.Encoder().encode

MergeResult = Literal["merged", "full", "cycle", "other"]


def resolve(client: redis.Redis, person: str) -> str:
    """Follow tombstones to the person that lives: at most 8 hops."""
    for _ in range(MAX_HOPS):
        to = client.hget(keys.person(person), "to")
        if to is None:
            return person
        person = bytes(to).decode()  # type: ignore[arg-type]
    return person


def merge(client: redis.Redis, source: str, target: str, at: int) -> MergeResult:
    """Move `source` into `target`. `at` is the occurred_at of the event that linked them, in milliseconds."""
    target = resolve(client, target)
    if target == source:
        return "cycle"
    begun = _text(fcall(client, "fg1_merge_begin", [keys.person(target)], source, MAX_MERGED))
    if begun == "full":
        return "full"
    return finish(client, source, target, at)


def finish(client: redis.Redis, source: str, target: str, at: int) -> MergeResult:
    """Steps 2 to 4; safe to repeat at any point, by anybody who finds the merge unfinished."""
    taken = fcall(client, "fg1_merge_take", [keys.person(source)], target, PERSON_TTL)
    if not isinstance(taken, list):
        fcall(client, "fg1_merge_fold", [keys.person(target)], _pack(_folded(source, target, [[], [], [], []], at)))
        return "other"
    folded = _text(fcall(client, "fg1_merge_fold", [keys.person(target)], _pack(_folded(source, target, taken, at))))
    if folded != "ok":
        # The target moved on in between: everything follows it, the tombstone already points at its old name.
        final = resolve(client, target)
        fcall(client, "fg1_merge_fold", [keys.person(final)], _pack(_folded(source, final, taken, at)))
    fcall(client, "fg1_merge_drop", [keys.person(source)])
    return "merged"


def _folded(source: str, target: str, taken: list[Any], at: int) -> dict[str, Any]:
    raw = {_text(key): _text(value) for key, value in _pairs(taken[0])}
    registers, fields = [], []
    for field, value in raw.items():
        head = field[:2]
        if head in ("m:", "t:", "q:") or field[0] in "+-":
            registers.append((field, value[:LENGTH], value[LENGTH:]))
        elif head in ("c:", "z:"):
            fields.append((field, value))
        elif head == "p:":
            fields.append((field.replace(f"|p:{source}", f"|p:{target}"), value))
        elif head == "k:":
            fields += [(_parked_field(field, source, target), value), ("parked", "1")]
    timers = [
        (_text(member).replace(f"|p:{source}", f"|p:{target}"), int(float(due))) for member, due in _pairs(taken[3])
    ]
    return {
        "from": source,
        "at": at,
        "regs": registers,
        "fields": fields,
        "clear": raw["cc"][:LENGTH] if "cc" in raw else None,
        "events": [_text(entry) for entry in taken[1]],
        "decisions": [_text(entry) for entry in taken[2]],
        "timers": timers,
        "rx": int(raw.get("rx", "0")),
        "ls": int(raw.get("ls", "0")),
        "ttl": PERSON_TTL,
    }


def _parked_field(field: str, source: str, target: str) -> str:
    """A parked send of the person itself lives in the person's shard, and so moves; one of an order stays."""
    if not field.endswith(f"|p:{source}"):
        return field
    trigger = field[field.index("}:") + 2 :].partition("|")[0]
    return f"k:{keys.shard(target)}:{keys.member(trigger, 'p', target)}"


def _pairs(flat: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _text(reply: Any) -> str:
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)
