"""mParticle's events → the elements that the catalog's paths are about, with what their batch says beside them.

`source.py` makes canonical events of them. Beside `event_type` and `data`, which stay as they were sent, a path may
begin with:

user_identities  {"email": …, "customer_id": …}, whichever shape the batch has
user_attributes  names in small letters and without the $ of reserved ones: `$FirstName` is `firstname`
products         of a commerce event, absent where it lists none; `product` is the first
promotion        the first of a promotion event
list             the name of an impression's first list

Some event types are ours: `impression` (a commerce event that only says what was shown), `user_profile` (what a batch
says about its person), and the custom events `opt_out` and `consent_withdrawn` (a refusal).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from adapter.sources.reading.converters import MAX_LINES, flag
from adapter.sources.reading.limits import MAX_NAME_LENGTH
from adapter.sources.reading.timestamps import time_ms

ADDRESSES = ("url", "image_url", "imageUrl")


def identities(given: Any) -> dict[str, Any]:
    """One value a kind of identity, from the webhook's array or from the raw data feed's map."""
    if type(given) is dict:
        return given
    found: dict[str, Any] = {}
    times: dict[str, int] = {}
    for one in given if type(given) is list else ():
        if type(one) is dict and type(one.get("identity_type")) is str and one.get("identity") not in (None, ""):
            kind, at = one["identity_type"], time_ms(one.get("timestamp_unixtime_ms")) or 0
            if kind not in found or at > times[kind]:
                found[kind], times[kind] = one["identity"], at
    return found


def attributes(given: Any) -> dict[str, Any]:
    """The attributes that have a value. A reserved one ($firstname) wins over the shop's own of the same name."""
    found: dict[str, Any] = {}
    for name, value in given.items() if type(given) is dict else ():
        if value is not None and name[:1] == "$":
            found[name[1:].lower()] = value
        elif value is not None:
            found.setdefault(name.lower(), value)
    return found


def element(event: Mapping[str, Any], who: Mapping[str, Any], what: Mapping[str, Any]) -> dict[str, Any]:
    """The element of one event of a batch whose person has the identities `who` and the attributes `what`."""
    kind, data = event.get("event_type"), event.get("data")
    if type(data) is not dict:
        data = {}
    made = {"event_type": kind, "data": data, "user_identities": who, "user_attributes": what}
    if kind == "commerce_event":
        _commerce(made, data)
    elif kind == "opt_out":
        # `false` takes an earlier refusal back. Whatever else stands there is one: better no mail than a wrong one.
        if flag(data.get("is_opted_out")) is not False:
            made |= {"event_type": "custom_event", "data": {**data, "event_name": "opt_out"}}
    elif kind == "user_attribute_change":
        name, new = data.get("user_attribute_name"), data.get("new")
        if type(name) is str:
            # The batch has only what is true at its end.
            made["user_attributes"] = attributes({name: new})
    elif kind == "user_identity_change":
        made["user_identities"] = {**who, **identities([data.get("new")])}
    return made


def _commerce(made: dict[str, Any], data: Mapping[str, Any]) -> None:
    # Of the three one is an object, and the others are null or empty (docs, developers/server/json-reference).
    action, promotion, shown = (
        data.get(name) for name in ("product_action", "promotion_action", "product_impressions")
    )
    lines: Any = None
    if type(action) is dict and action.get("action"):
        lines = action.get("products")
        if action["action"] == "refund" and not action.get("total_amount"):
            # No number is written as 0 too (docs, static/schema, its sample); nobody gives back nothing.
            made["data"] = {**data, "product_action": {**action, "total_amount": None}}
    elif type(promotion) is dict and promotion.get("action"):
        promotions = promotion.get("promotions")
        made["promotion"] = promotions[0] if type(promotions) is list and promotions else None
    elif type(shown) is list:
        lists = [one for one in shown if type(one) is dict]
        made["event_type"] = "impression"
        made["list"] = next((name for one in lists if (name := _list_name(one))), None)
        lines = [line for one in lists if type(one.get("products")) is list for line in one["products"]]
    if type(lines) is list:
        # The web SDK sends [] with every checkout step: that says nothing about the cart.
        if lines:
            made["products"] = [_product(line) for line in lines[:MAX_LINES]]
            made["product"] = made["products"][0]
    elif lines is not None:
        made["products"] = made["product"] = lines


def _list_name(shown: Mapping[str, Any]) -> Any:
    return shown.get("product_impression_list") or shown.get("impression_list_name")


def _product(line: Any) -> Any:
    """The product with its links, which can only stand among its custom attributes (Firehose: attributes)."""
    if type(line) is not dict:
        return line
    own = line.get("custom_attributes") or line.get("attributes")
    return {**{name: own[name] for name in ADDRESSES if name in own}, **line} if type(own) is dict else line


class Withdrawal(NamedTuple):
    """A refusal: of which purpose, and when (ms UTC, None if it is not told)."""

    purpose: str
    at: int | None


def withdrawal(given: Any, purposes: Collection[str]) -> Withdrawal | None:
    """The newest refusal in a consent_state, or None.

    GDPR counts for the named purposes, without any for all. CCPA's `consented: true` is consent to being left alone
    (docs, developers/server/json-reference, "consent_state"), and always counts.
    """
    found = []
    for regulation, refused in (("gdpr", False), ("ccpa", True)):
        states = given.get(regulation) if type(given) is dict else None
        for purpose, state in states.items() if type(states) is dict else ():
            counts = refused or not purposes or purpose.lower() in purposes
            if counts and type(state) is dict and flag(state.get("consented")) is refused:
                found.append(Withdrawal(purpose[:MAX_NAME_LENGTH], time_ms(state.get("timestamp_unixtime_ms"))))
    return max(found, key=lambda one: (one.at or 0, one.purpose), default=None)


def spelled(made: Mapping[str, Any]) -> str:
    """What the element is called, for the list of unmapped events."""
    kind, data = str(made["event_type"])[:MAX_NAME_LENGTH], made["data"]
    if kind == "custom_event":
        name = data.get("event_name")
    elif kind == "commerce_event":
        action = data.get("product_action") or data.get("promotion_action")
        name = action.get("action") if type(action) is dict else None
    elif kind == "opt_out":
        name = "false"
    else:
        name = data.get("type") if kind == "dsr_processing_request" else None
    return f"{kind} / {name[:MAX_NAME_LENGTH]}" if type(name) is str and name else kind
