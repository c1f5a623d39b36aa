"""Names of everything in Redis. No id and no address stands in a key: they are hashed first.

An entity is `p` (person), `o` (order) or `a` (address); its shard is a function of its hash, and all that belongs
to it carries the shard's hash tag.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from hashlib import blake2b
from typing import Literal

SHARDS = 64
PREFIX = "fg:"
QUEUE = "freshgate-"
HOLD = PREFIX + "hold"
HEARTBEAT = PREFIX + "heartbeat"
UNMAPPED = PREFIX + "unmapped"
QUARANTINE = PREFIX + "quarantine"

Entity = Literal["p", "o", "a"]

# By the last two hex digits of an id.
_SHARD_TAGS = {f"{number:02x}": f"{{s{number % SHARDS:02d}}}" for number in range(256)}


def person_id(id_space: str, user_id: str | None, anonymous_id: str | None) -> str:
    """A user id is a person of its own; an anonymous id is one until it is linked. 'u' or 'a', then 20 hex digits."""
    kind, value = ("u", user_id) if user_id is not None else ("a", anonymous_id or "")
    return kind + _digest(f"{id_space}\0{kind}\0{value}")


def order_id(id_space: str, order: str) -> str:
    """Two shops number their orders alike; sources of one shop share an id space."""
    return "o" + _digest(f"{id_space}\0o\0{order}")


def address_id(pii_key: bytes, address: str) -> str:
    """HMAC of the trimmed, lower-cased address: a leaked Redis is no list of addresses."""
    return hmac.digest(pii_key, address.strip().lower().encode("utf-8", "surrogatepass"), "sha256").hex()[:32]


def shard(entity_id: str) -> str:
    return _SHARD_TAGS[entity_id[-2:]]


def entity(kind: Entity, entity_id: str) -> str:
    return f"{PREFIX}{shard(entity_id)}:{kind}:{entity_id}"


def person(entity_id: str) -> str:
    return entity("p", entity_id)


def timers(shard_tag: str) -> str:
    return f"{PREFIX}{shard_tag}:timers"


def all_timers() -> list[str]:
    return [timers(f"{{s{number:02d}}}") for number in range(SHARDS)]


def member(trigger: str, kind: Entity, entity_id: str) -> str:
    """One timer a trigger and subject: `abandoned_cart|p:u3f…`."""
    return f"{trigger}|{kind}:{entity_id}"


def parse_member(text: str) -> tuple[str, Entity, str]:
    trigger, _, subject = text.partition("|")
    kind, _, entity_id = subject.partition(":")
    if kind not in ("p", "o"):
        raise ValueError("no timer member")
    return trigger, ("p" if kind == "p" else "o"), entity_id


def owner_key(text: str) -> str:
    """The key of the person or order that holds the timer, and its claims."""
    _, kind, entity_id = parse_member(text)
    return entity(kind, entity_id)


def send_id(trigger: str, subject: str, version: str) -> str:
    return blake2b(f"{trigger}\0{subject}\0{version}".encode(), digest_size=12).hexdigest()


def seen_id(source: str, message_id: str, *content: str) -> str:
    """What the dedupe window remembers of a message: 64 bits, short enough to be embedded in the set.

    content  what makes two events different that broken code sends under one message id; the same in every redelivery
    """
    text = "\0".join((source, message_id, *content))
    return b64encode(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())[:11].decode()


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()
