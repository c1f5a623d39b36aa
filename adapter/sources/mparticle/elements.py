"""mParticle's events → elements: the dicts that the catalog's paths read, with what the batch says beside its events.

`source.py` builds canonical events from them. `event_type` and `data` stay as mParticle sent them; a path may also
begin with:

user_identities  {"email": …, "customer_id": …}, whichever shape the batch has
user_attributes  names in lower case and without the $ of reserved ones: `$FirstName` is `firstname`
products         of a commerce event, absent where it lists none; `product` is the first
promotion        the first of a promotion event
list             the name of an impression's first list

Six event types are Freshgate's own: `impression` (a commerce event that only says what was shown), `user_profile`
(what a batch says about its person), the custom events `opt_out` and `consent_withdrawn` (a refusal),
and `opt_out_false` and `consent_renewed` (a refusal taken back).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from adapter.sources.reading.converters import flag, money
from adapter.sources.reading.limits import MAX_NAME_LENGTH
from adapter.sources.reading.names import fold
from adapter.sources.reading.paths import alternatives
from adapter.sources.reading.product_lists import MAX_LINES
from adapter.sources.reading.timestamps import time_ms
from freshgate.declare import EventType
from freshgate.events import Refused

AMOUNTS = ("total_amount", "tax_amount", "shipping_amount")
# Event type → what makes two elements of it different event types.
DETAILS = {
    "custom_event": "data.event_name",
    "commerce_event": "data.product_action.action",
    "dsr_processing_request": "data.type",
}
# docs, developers/server/json-reference, the Firehose's, and Freshgate's own.
EVENT_TYPES = (
    *("custom_event", "commerce_event", "screen_view", "session_start", "session_end", "first_run", "crash_report"),
    *("application_state_transition", "breadcrumb", "network_performance", "pre_attribution", "attribution", "media"),
    *("push_registration", "push_message", "push_reaction", "profile", "opt_out", "uninstall", "validation", "error"),
    *("user_attribute_change", "user_identity_change", "dsr_processing_request", "audience_membership_change_request"),
    *("impression", "user_profile"),
)
PRODUCT_LINKS = ("url", "image_url", "imageUrl")
# The actions of products (docs, developers/server/json-reference).
ACTIONS = (
    *("add_to_cart", "remove_from_cart", "checkout", "checkout_option", "click", "view", "view_detail", "purchase"),
    *("refund", "add_to_wishlist", "remove_from_wishlist"),
)
# As SDKs and relays spell them: AddToCart, ADD_TO_CART, CommerceEvent, CustomerId.
SPELLINGS = {fold(name): name for name in (*EVENT_TYPES, *ACTIONS, "email", "customer_id")}


def spelled(name: str) -> str:
    """The name in mParticle's own spelling; another name as it is."""
    return SPELLINGS.get(fold(name), name)


def read_identities(user_identities: Any) -> dict[str, Any]:
    """The newest value of each type of identity, from the webhook's array or from the raw data feed's map."""
    if type(user_identities) is dict:
        # As the Python models of mParticle spell it (models/user_identities.py), among others.
        named = {spelled(name): identity for name, identity in user_identities.items() if identity is not None}
        return {**named, **{name: identity for name, identity in user_identities.items() if identity is not None}}
    identities: dict[str, Any] = {}
    times: dict[str, int] = {}
    for entry in user_identities if type(user_identities) is list else ():
        if type(entry) is not dict or type(entry.get("identity_type")) is not str:
            continue
        identity_type, identity = spelled(entry["identity_type"]), entry.get("identity")
        if identity in (None, ""):
            continue
        at = time_ms(entry.get("timestamp_unixtime_ms")) or 0
        if identity_type not in identities or at > times[identity_type]:
            identities[identity_type], times[identity_type] = identity, at
    return identities


def read_attributes(user_attributes: Any) -> dict[str, Any]:
    """The attributes that have a value. A reserved one ($firstname) wins over the shop's own of the same name."""
    attributes: dict[str, Any] = {}
    for name, value in user_attributes.items() if type(user_attributes) is dict else ():
        if value is not None and name[:1] == "$":
            attributes[name[1:].lower()] = value
        elif value is not None:
            attributes.setdefault(name.lower(), value)
    return attributes


def refuse_malformed(event: Any) -> Refused | None:
    """The refusal of an event that is not an object with an `event_type`, or None."""
    if isinstance(event, Refused):
        return event
    if type(event) is not dict:
        return Refused("not_an_object")
    event_type = event.get("event_type")
    return None if type(event_type) is str and event_type else Refused("no_type")


def build_element(
    event: Mapping[str, Any], identities: Mapping[str, Any], attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """The element of one event, given its batch's `read_identities` and `read_attributes`."""
    event_type, data = event["event_type"], event.get("data")
    if event_type not in EVENT_TYPES:
        event_type = spelled(event_type)
    if type(data) is not dict:
        data = {}
    element = {"event_type": event_type, "data": data, "user_identities": identities, "user_attributes": attributes}
    if event_type == "commerce_event":
        _add_commerce(element, data)
    elif event_type == "opt_out":
        # `false` takes an earlier refusal back. Any other value is a refusal: better no mail than an unwanted one.
        is_refusal = flag(data.get("is_opted_out")) is not False
        element |= {
            "event_type": "custom_event",
            "data": {**data, "event_name": "opt_out" if is_refusal else "opt_out_false"},
        }
    elif event_type == "user_attribute_change":
        name, value = data.get("user_attribute_name"), data.get("new")
        if type(name) is str:
            # The batch's own attributes are those at its end, after later changes.
            element["user_attributes"] = read_attributes({name: value})
    elif event_type == "user_identity_change":
        element["user_identities"] = {**identities, **read_identities([data.get("new")])}
    return element


def _add_commerce(element: dict[str, Any], data: Mapping[str, Any]) -> None:
    # One of the three is an object, the others are null or empty (docs, developers/server/json-reference).
    action, promotion = data.get("product_action"), data.get("promotion_action")
    impressions = data.get("product_impressions")
    lines: Any = None
    if type(action) is dict and type(name := action.get("action")) is str and name not in ACTIONS:
        action = {**action, "action": spelled(name)}
        element["data"] = data = {**data, "product_action": action}
    if type(action) is dict and action.get("action"):
        lines = action.get("products")
        # An unknown amount is sent as 0, too (docs, static/schema, its sample).
        zeros = [name for name in AMOUNTS if (amount := action.get(name)) is not None and _is_zero(amount)]
        if zeros:
            element["data"] = {**data, "product_action": {**action, **dict.fromkeys(zeros)}}
    elif type(promotion) is dict and promotion.get("action"):
        promotions = promotion.get("promotions")
        element["promotion"] = promotions[0] if type(promotions) is list and promotions else None
    elif type(impressions) is list:
        shown = [impression for impression in impressions if type(impression) is dict]
        element["event_type"] = "impression"
        element["list"] = next((name for impression in shown if (name := _list_name(impression))), None)
        lines = [
            line for impression in shown if type(impression.get("products")) is list for line in impression["products"]
        ]
    if type(lines) is list:
        # The web SDK sends [] with every checkout step, which says nothing about the cart.
        if lines:
            element["products"] = [_with_links(line) for line in lines[: MAX_LINES + 1]]
            element["product"] = element["products"][0]
    elif lines is not None:
        element["products"] = element["product"] = lines


def _is_zero(amount: Any) -> bool:
    return amount == 0 if type(amount) in (int, float) else money(amount) == 0


def _list_name(impression: Mapping[str, Any]) -> Any:
    return impression.get("product_impression_list") or impression.get("impression_list_name")


def _with_links(line: Any) -> Any:
    """The product with its links, which can only stand among its custom attributes (Firehose: attributes)."""
    if type(line) is not dict:
        return line
    custom = line.get("custom_attributes") or line.get("attributes")
    if type(custom) is not dict:
        return line
    return {**{name: custom[name] for name in PRODUCT_LINKS if name in custom}, **line}


def profile_names(catalog: Sequence[EventType]) -> frozenset[str]:
    """The names, folded, of which a batch's attributes must have one to say anything to `user_profile`. Empty if only
    reading can show it."""
    spellings = [event.sources["mparticle"] for event in catalog if "mparticle" in event.sources]
    profiles = [sp for sp in spellings if "user_profile" in alternatives(sp.when.get("event_type", "user_profile"))]
    if any(spelling.read for spelling in profiles):
        return frozenset()
    paths = (path for spelling in profiles for options in spelling.paths.values() for path in alternatives(options))
    return frozenset(fold(step) for path in paths for step in path.split("."))


class Consent(NamedTuple):
    """A refusal of consent, or a consent that may take one back: its purpose, and its time (ms UTC; as sent if it
    cannot be read, None if it was not)."""

    purpose: str
    at: Any


def find_withdrawal(consent_state: Any, purposes: Collection[str]) -> Consent | None:
    """The newest refusal in a consent_state, or None.

    GDPR counts for the named purposes, or for all if none is named. CCPA always counts, and there `consented: true` is
    the refusal: consent to opting out (docs, developers/server/json-reference, "consent_state").
    """
    withdrawals = []
    for regulation, refusing in (("gdpr", False), ("ccpa", True)):
        states = consent_state.get(regulation) if type(consent_state) is dict else None
        for purpose, state in states.items() if type(states) is dict else ():
            counts = regulation == "ccpa" or not purposes or purpose.lower() in purposes
            if counts and type(state) is dict and flag(state.get("consented")) is refusing:
                stated = state.get("timestamp_unixtime_ms")
                withdrawals.append(Consent(purpose[:MAX_NAME_LENGTH], time_ms(stated) or stated))
    return max(withdrawals, key=lambda withdrawal: (time_ms(withdrawal.at) or 0, withdrawal.purpose), default=None)


def find_renewal(consent_state: Any, purposes: Collection[str]) -> Consent | None:
    """The newest consent to one of the named purposes of the GDPR, where all that are sent of them consent; or None.

    purposes  those that stand for mail. Without any, a consent may be to cookies, and takes no unsubscribe back
    """
    states = consent_state.get("gdpr") if type(consent_state) is dict else None
    consents = []
    for purpose, state in states.items() if type(states) is dict else ():
        if purpose.lower() not in purposes:
            continue
        at = time_ms(state.get("timestamp_unixtime_ms")) if type(state) is dict else None
        # Without a time it cannot be newer than anything.
        if at is None or flag(state.get("consented")) is not True:
            return None
        consents.append(Consent(purpose[:MAX_NAME_LENGTH], at))
    return max(consents, key=lambda consent: (consent.at, consent.purpose), default=None)


def unmapped_name(element: Mapping[str, Any]) -> str:
    """The element's name in the list of unmapped events: "custom_event / Lamp Lit"."""
    event_type, data = str(element["event_type"])[:MAX_NAME_LENGTH], element["data"]
    if event_type == "custom_event":
        name = data.get("event_name")
    elif event_type == "commerce_event":
        action = data.get("product_action") or data.get("promotion_action")
        name = action.get("action") if type(action) is dict else None
    elif event_type == "dsr_processing_request":
        name = data.get("type")
    else:
        name = None
    return f"{event_type} / {name[:MAX_NAME_LENGTH]}" if type(name) is str and name else event_type


def spell(name: str) -> dict[str, str]:
    """The `when` of the elements that `unmapped_name` calls so."""
    event_type, _, detail = name.partition(" / ")
    place = DETAILS.get(event_type) if detail else None
    return {"event_type": event_type} | ({place: detail} if place else {})
