"""What a page may put into a mail: short texts that hold no link, and links to hosts that the settings list.

Whoever reads a page's key can post with it. `receive.py` calls this for sources with `trust = "browser"`, before
anything is recorded.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from freshgate.declare import EventType
from freshgate.events import CONTACT_EMAIL, ORDER_EMAIL, Event, Product
from freshgate.settings import SourceSettings

# A person's name, and a product's.
MAX_TRAIT_LENGTH = 50
MAX_TEXT_LENGTH = 120
# A URL with or without its scheme, an address, markup, a template's placeholder: in no text and in no id.
_LINK = r"//|\bwww\.|\b(?:mailto|javascript|data|tel|sms|callto|whatsapp):|\S@\S|[<>]|\{[{%]|\$\{"
_LINK_IN_ID = re.compile(_LINK, re.IGNORECASE)
# What a mail program makes a link or a number to call of: a host such as evil.example, seven digits. Ids have both.
_LINK_IN_TEXT = re.compile(_LINK + r"|[^\W_]\.[^\W\d_]{2}|(?:\d[\s().\-/]*){7}", re.IGNORECASE)
# No user, no backslash, nothing that two readers take for two hosts.
_URL = re.compile(r"https?://([a-z0-9.-]+)(?::\d{1,5})?(?:[/?#][!#$%&()*+,./0-9:;=?@A-Z\[\]_a-z~-]*)?", re.IGNORECASE)


def bound_page_data(event: Event, event_type: EventType, settings: SourceSettings) -> Event:
    """The event without what a stranger must not write into a mail of the shop; the trail names it as unreadable.

    Ids stay as they are, since they say what is what; a product whose id holds a link is left out as a whole.
    """
    hosts = allowed_hosts(settings.link_hosts, settings.allowed_origins)
    dropped: list[str] = []
    fields: dict[str, Any] = {}
    for name, value in event.fields.items():
        bound = value
        if isinstance(value, Product):
            bound = _bound_product(value, name, hosts, dropped)
        elif type(value) is tuple:
            lines = [_bound_product(line, f"{name}.{index}", hosts, dropped) for index, line in enumerate(value)]
            bound = tuple(line for line in lines if line is not None)
        elif type(value) is str and name not in (CONTACT_EMAIL, ORDER_EMAIL):
            # A mark may carry any field of its event into a mail.
            max_length = MAX_TRAIT_LENGTH if name in event_type.profile else MAX_TEXT_LENGTH
            bound = _bound_text(value, max_length, hosts, is_id=event_type.fields.get(name) == "id")
            if not bound:
                dropped.append(name)
        if bound not in (None, ""):
            fields[name] = bound
    return replace(event, fields=fields, unreadable=(*event.unreadable, *dropped))


@lru_cache(maxsize=64)
def allowed_hosts(link_hosts: tuple[str, ...], allowed_origins: tuple[str, ...]) -> frozenset[str]:
    """Hosts that links of a page may name, in lower case; `*.example.com` stands for all below example.com.

    Without `link_hosts`, those of the pages that may use the key.
    """
    origins = (origin.partition("://")[2].partition("/")[0].partition(":")[0] for origin in allowed_origins)
    return frozenset(host.lower() for host in (link_hosts or origins) if host)


def is_allowed_link(url: str, hosts: Collection[str]) -> bool:
    """Whether the URL is of one of these hosts, in a form that every reader understands alike."""
    match = _URL.fullmatch(url)
    if match is None:
        return False
    host = match[1].lower()
    parents = host.split(".")[1:]
    return host in hosts or any(f"*.{'.'.join(parents[index:])}" in hosts for index in range(len(parents)))


def _bound_product(line: Product, place: str, hosts: Collection[str], dropped: list[str]) -> Product | None:
    # The variant is both: it says which line it is, and mails show it.
    if line.variant and (len(line.variant) > MAX_TEXT_LENGTH or not _plain_text(line.variant, MAX_TEXT_LENGTH)):
        dropped.append(place)
        return None
    if any(_LINK_IN_ID.search(text) for text in (line.product_id, line.sku, line.id)):
        dropped.append(place)
        return None
    name = _plain_text(line.name, MAX_TEXT_LENGTH)
    url = line.url if is_allowed_link(line.url, hosts) else ""
    image_url = line.image_url if is_allowed_link(line.image_url, hosts) else ""
    bound = {"name": name, "url": url, "image_url": image_url}
    dropped += [f"{place}.{field}" for field, text in bound.items() if getattr(line, field) and not text]
    return replace(line, **bound, from_page=True)


def _bound_text(text: str, max_length: int, hosts: Collection[str], *, is_id: bool) -> str:
    if is_id:
        return "" if _LINK_IN_ID.search(text) else text
    return text if is_allowed_link(text, hosts) else _plain_text(text, max_length)


def _plain_text(text: str, max_length: int) -> str:
    """The text in plain characters, cut to so many; empty if it holds what could become a link."""
    shown = "".join(" " if char.isspace() else char for char in unicodedata.normalize("NFKC", text))
    # Invisible characters and controls, of which some turn the direction of writing.
    shown = "".join(char for char in shown if unicodedata.category(char)[0] != "C")
    # The ideographic full stop separates the parts of a host, too.
    if _LINK_IN_TEXT.search(shown.replace("\u3002", ".")):
        return ""
    return " ".join(shown.split())[:max_length].rstrip()
