"""Event types → plans: which members of an element to decode, and how to reach each field in the typed envelope.

`source.py` decodes its elements into envelopes of these members only: a batch decoded into plain dicts would cost more
than its goal in `python -m bench`. `reading/fields.py` reads the values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from adapter.sources.reading.names import fold
from adapter.sources.reading.paths import Spelling, alternatives, compile_spelling
from adapter.sources.reading.salvage import decode_leniently
from freshgate.declare import EventType, From
from freshgate.errors import CatalogError

# Where the person's own address stands in every element (docs, connections/spec/common.md, "context.traits").
CONTEXT_EMAIL = "context.traits.email"
# RudderStack's Shopify source writes it beside the event (rudder-transformer, src/sources/shopify), and so may any
# sender; Segment's destinations look there first (facade, lib/track.js). Of a Group these are the account's traits.
ROOT_EMAIL = "traits.email"
DEFAULT_EMAILS = (CONTEXT_EMAIL, ROOT_EMAIL, "context.traits.email_address", "traits.email_address")


def plan(event: EventType, dialect: str, junk: frozenset[str]) -> Spelling:
    """The plan of one event type. Raises CatalogError, naming it, for what cannot be compiled."""
    is_group = "group" in alternatives(event.sources[dialect].when.get("type", ()))
    own_emails = DEFAULT_EMAILS[::2] if is_group else DEFAULT_EMAILS
    return compile_spelling(dialect, event, own_emails, _reach, _page_url, junk)


def _reach(container: str, keys: tuple[str, ...]) -> Callable[[Any], Any]:
    """How to reach the object in the envelope. Of `context` two steps are attributes: only its named members are
    decoded."""
    steps = container.split(".") if container else []
    depth = 2 if steps[:1] == ["context"] and len(steps) > 1 else 1
    attributes = [*steps[:depth], *(keys if container in ("", "context") else ())]
    if not all(step.isidentifier() for step in attributes):
        raise CatalogError(f"path {'.'.join([*steps, keys[0]])!r}: write the names of members, joined by dots")
    if container in ("", "context"):
        prefix = f"{container}." if container else ""
        members_of = [(key, attrgetter(prefix + key)) for key in keys]
        return lambda envelope: {key: member(envelope) for key, member in members_of}
    head, rest = attrgetter(".".join(steps[:depth])), steps[depth:]
    if not rest:
        return head
    return lambda envelope: _walk(head(envelope), rest)


def _page_url(envelope: Any) -> Any:
    """The address of the page, which is decoded here unless the catalog reads something of it."""
    page = envelope.context.page
    if type(page) is msgspec.Raw:
        try:
            page = decode_leniently(bytes(page))
        except (ValueError, RecursionError):
            return None
    return page.get("url") if type(page) is dict else None


def _walk(value: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        if type(value) is not dict:
            return None
        value = value[step] if step in value else _spelled_otherwise(value, step)
    return value


def _spelled_otherwise(container: dict[str, Any], step: str) -> Any:
    """The value of the key that is this name in another spelling; the first one, None without any."""
    name = fold(step)
    return next((value for key, value in container.items() if type(key) is str and fold(key) == name), None)


def members(spellings: Sequence[From], always: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The top-level members that any path mentions, and those of `context`: the only ones to decode."""
    paths = [option for spelling in spellings for path in spelling.paths.values() for option in alternatives(path)]
    steps = [path.split(".") for path in (*paths, *DEFAULT_EMAILS)]
    top = {*always, *(path[0] for path in steps)} - {"context"}
    context = {path[1] for path in steps if path[0] == "context" and len(path) > 1}
    return tuple(sorted(top)), tuple(sorted(context))
