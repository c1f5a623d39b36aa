"""Names of everything in Redis. No id and no address stands in a key: they are hashed first.

All keys of a shop (`id_space`) carry the shop's hash tag, so that one function call is atomic over all of them.
docs/REDIS.md lists every key and field.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import blake2b, sha256
from typing import Any, Literal, NamedTuple

from freshgate.addresses import DOTLESS_DOMAINS, mailbox_of, read_address

PREFIX = "fg:"
QUEUE = "freshgate-"
HOLD = PREFIX + "hold"
HEARTBEAT = PREFIX + "heartbeat"
# Set while the timers are stopped as they were told to.
STOPPED = PREFIX + "stopped"
# What is known of a store that was restored from a copy, until an operator has released its mail; the newest copy.
RESTORED = PREFIX + "restored"
BACKUP = PREFIX + "backup"
UNMAPPED = PREFIX + "unmapped"
QUARANTINE = PREFIX + "quarantine"
OPERATIONS = PREFIX + "operations"
DELAYS = PREFIX + "delays"
# The names of all shops that ever had a receiver: whose timers are claimed, whose lists are read.
SHOPS = PREFIX + "shops"
LAYOUT = PREFIX + "layout"
# What an account's ESP reported of late; with the account's name.
FEEDBACK = PREFIX + "feedback:"
# Sends that an operator has to look at.
OPERATOR_LISTS = ("unknown", "dead", "rejected")

# The People API: documents of the cache, by shop and id; requests of a token in its window.
PEOPLE_CACHE = PREFIX + "people:"
PEOPLE_LIMIT = PREFIX + "api:"
# In `HOLD`, before the name of an account whose marketing mail waits.
HELD_ESP = "esp:"
# In `HOLD`, before a time: mails that were due until then may have left before the store was restored.
SENT_UNTIL = "sent_until:"

Entity = Literal["p", "o", "a"]
SHA256_BLOCK = 64
# A shopper sends a dozen events in a row, under the same ids.
CACHED_HASHES = 4096


def shop(id_space: str) -> str:
    """What every key of a shop begins with."""
    return f"{PREFIX}{{{id_space}}}:"


def account(name: str) -> str:
    """What every key of an ESP account begins with."""
    return f"{PREFIX}account:{{{name}}}:"


def person_id(
    id_space: str, user_id: str | None, anonymous_id: str | None = None, address_id: str | None = None
) -> str:
    """The id of the record of a user id, an anonymous id, or an address: 'u', 'a' or 'e', then 14 characters."""
    if user_id is not None:
        return "u" + _digest(f"{id_space}\0u\0{user_id}")
    if anonymous_id is not None or address_id is None:
        return "a" + _digest(f"{id_space}\0a\0{anonymous_id or ''}")
    return "e" + address_id[:14]


def order_id(id_space: str, order: str) -> str:
    """Two shops number their orders alike; sources of one shop share an id space. Shopify's orders have a name, #1001,
    beside their number: one source may tell the one, another one the other."""
    return "o" + _digest(f"{id_space}\0o\0{order.removeprefix('#') or order}")


def product_id(id_space: str, line: str) -> str:
    """The id of what servers told of a product; `line` is `Product.line`."""
    return "g" + _digest(f"{id_space}\0g\0{line}")


@lru_cache(maxsize=CACHED_HASHES)
def address_id(pii_key: bytes, address: str) -> str:
    """HMAC of the address in its one form, lower-cased: a leaked Redis is no list of addresses."""
    form = (read_address(address) or address.strip()).lower()
    # As hmac.digest(pii_key, …, "sha256"), which lets other threads run at each call and waits to go on: a batch
    # would wait that often.
    inner, outer = (keyed.copy() for keyed in _keyed_hashes(pii_key))
    inner.update(_utf8(form))
    outer.update(inner.digest())
    return _text(outer.digest()[:16])


def mailbox_id(pii_key: bytes, address: str) -> str:
    """As `address_id`, the same for all aliases of one mailbox: for caps and limits alone."""
    return address_id(pii_key, mailbox_of(address))


def alias_mailbox_id(pii_key: bytes, address: str) -> str:
    """`mailbox_id` of an address that is another name of its mailbox; "" for the mailbox's own, as most are."""
    if "+" not in address and address.rpartition("@")[2].strip().lower() not in DOTLESS_DOMAINS:
        return ""
    mailbox = mailbox_id(pii_key, address)
    return "" if mailbox == address_id(pii_key, address) else mailbox


def person(id_space: str, record_id: str) -> str:
    return f"{shop(id_space)}p:{record_id}"


def order(id_space: str, record_id: str) -> str:
    return f"{shop(id_space)}o:{record_id}"


def address(id_space: str, record_id: str) -> str:
    return f"{shop(id_space)}a:{record_id}"


def sent(id_space: str, send: str) -> str:
    """What is known of a send for which an ESP was called, for the ESP's feedback."""
    return f"{shop(id_space)}s:{send}"


def product(id_space: str, record_id: str) -> str:
    return f"{shop(id_space)}product:{record_id}"


def answer(id_space: str, key: str) -> str:
    """What a source of truth answered; `key` is the request's."""
    return f"{shop(id_space)}ask:{key}"


def timers(id_space: str, trigger: str) -> str:
    return f"{shop(id_space)}timers:{trigger}"


def operator_list(id_space: str, state: str) -> str:
    return f"{shop(id_space)}list:{state}"


class TimerRef(NamedTuple):
    """A timer: one for each trigger and subject. Its text in Redis is `abandoned_cart|p:u3f…`, and
    `back_in_stock#5e2c…|p:u3f…` where the subject is a field's value.

    values  key of the values (`subjects.py`); "" where the subject is the person or an order
    """

    trigger: str
    kind: str
    id: str
    values: str = ""

    @classmethod
    def parse(cls, text: str) -> TimerRef:
        """Raises ValueError for a text that names no timer."""
        scope, _, subject = text.partition("|")
        kind, _, record_id = subject.partition(":")
        if kind not in ("p", "o"):
            raise ValueError("no timer")
        trigger, _, values = scope.partition("#")
        return cls(trigger, kind, record_id, values)

    @property
    def scope(self) -> str:
        """The trigger, and the values where the subject has some: what the fields of the sends are named by."""
        return scope(self.trigger, self.values)

    @property
    def text(self) -> str:
        return f"{self.scope}|{self.kind}:{self.id}"

    @property
    def owner(self) -> str:
        """The record that holds the sends of this timer, without the shop: `p:u3f…`."""
        return f"{self.kind}:{self.id}"


def timer(trigger: str, kind: Entity, record_id: str, values: str = "") -> str:
    return TimerRef(trigger, kind, record_id, values).text


def trigger_of(timer: str) -> str:
    """The trigger in a timer's text; of any text, so that a job that nobody of ours wrote raises nothing here."""
    return timer.partition("|")[0].partition("#")[0]


def scope(trigger: str, values: str) -> str:
    return f"{trigger}#{values}" if values else trigger


def send_id(scope: str, subject: str, version: str) -> str:
    return blake2b(f"{scope}\0{subject}\0{version}".encode(), digest_size=12).hexdigest()


def dedupe_id(source: str, message_id: str, *content: str) -> str:
    """What the dedupe window remembers of a message: 64 bits, as the decimal number that Redis packs into 8 bytes.

    content  what makes two events different that broken code sends under one message id; the same in every redelivery
    """
    text = "\0".join((source, message_id, *content))
    digest = blake2b(_utf8(text), digest_size=8).digest()
    return str(int.from_bytes(digest, "big", signed=True))


@lru_cache(maxsize=CACHED_HASHES)
def _digest(text: str) -> str:
    return _text(blake2b(_utf8(text), digest_size=10).digest())


@lru_cache(maxsize=8)
def _keyed_hashes(key: bytes) -> tuple[Any, Any]:
    """The two hashes of HMAC-SHA256 (RFC 2104), with the key in them."""
    block = (key if len(key) <= SHA256_BLOCK else sha256(key).digest()).ljust(SHA256_BLOCK, b"\0")
    inner, outer = (sha256(bytes(byte ^ pad for byte in block)) for pad in (0x36, 0x5C))
    return inner, outer


def _utf8(text: str) -> bytes:
    """Half of a surrogate pair, which JSON can escape, has bytes as well; an error handler doubles the cost."""
    return text.encode() if text.isascii() else text.encode("utf-8", "surrogatepass")


def _text(digest: bytes) -> str:
    """Base 64 with the letters of URLs: ids stand in keys and fields many times, so they are short."""
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
