"""Firehose, mParticle's other format: its requests → the batches that the webhook sends.

A relay posts what its Lambda was handed (github.com/mParticle/mparticle-firehose-java-sdk, examples/json);
`source.py` reads the batch. Requests that are no events become one element, named after their type.
"""

from __future__ import annotations

from typing import Any

from adapter.sources.mparticle.batch import Batch

# Firehose's name of an identity → the webhook's.
IDENTITIES = {"customer": "customer_id", "controller_customer_id": "customer_id"}


class Request(Batch, gc=False):
    """A request that is about no event, such as an erasure: nobody's profile follows from whom it names."""


def as_batch(request: Batch) -> Batch:
    """The same told as a batch; what is none of Firehose's requests comes back as it is."""
    if type(request.type) is not str or not request.type.endswith("_request"):
        return request
    if request.type == "event_processing_request":
        return Batch(
            events=[_event(event) for event in request.events] if type(request.events) is list else request.events,
            mpid=request.mpid,
            user_identities=_identities(request.user_identities),
            user_attributes=request.user_attributes,
            consent_state=_consent(request.consent_state),
            batch_id=request.id,
            timestamp_unixtime_ms=request.timestamp_ms,
        )
    about = {"type": request.subject_request_type, "source_message_id": request.subject_request_id or request.id}
    told = {"event_type": request.type, "data": about | {"timestamp_unixtime_ms": request.submitted_time}}
    return Request(
        events=[told],
        mpid=request.mpid,
        user_identities=_identities(request.subject_identities),
        timestamp_unixtime_ms=request.timestamp_ms,
    )


def _identities(given: Any) -> list[dict[str, Any]]:
    """[{type, encoding, value}] or {type: {encoding, value}} → [{identity_type, identity}]."""
    if type(given) is dict:
        given = [{**one, "type": name} for name, one in given.items() if type(one) is dict]
    told = []
    for one in given if type(given) is list else ():
        if type(one) is dict and type(one.get("type")) is str:
            kind = IDENTITIES.get(one["type"], one["type"])
            if one.get("encoding") in (None, "raw"):
                told.append({"identity_type": kind, "identity": one.get("value")})
            elif kind == "email":
                # A hashed address can be counted as unreadable, but never written to.
                told.append({"identity_type": kind, "identity": "(hashed)"})
    return told


def _consent(given: Any) -> Any:
    if type(given) is not dict:
        return given
    return {name.removesuffix("_consent_state"): purposes for name, purposes in given.items()}


def _event(given: Any) -> Any:
    """{type, id, timestamp_ms, …} → {event_type, data}; the members that both formats know have one name in both."""
    if type(given) is not dict:
        return given
    kind = given.get("type")
    data = {
        "source_message_id": given.get("id"),
        "timestamp_unixtime_ms": given.get("timestamp_ms"),
        "custom_attributes": given.get("attributes"),
        "currency_code": given.get("currency_code"),
    }
    if kind in ("product_action", "promotion_action"):
        return {"event_type": "commerce_event", "data": data | {kind: given}}
    if kind == "impression":
        return {"event_type": "commerce_event", "data": data | {"product_impressions": given.get("impressions")}}
    if kind == "privacy_setting_change":
        return {"event_type": "opt_out", "data": data | {"is_opted_out": given.get("is_enabled") is not True}}
    if kind == "custom_event":
        data["event_name"] = given.get("name")
    elif kind == "screen_view":
        data["screen_name"] = given.get("screen_name")
    return {"event_type": kind, "data": data}
