"""mParticle's Firehose format → the batches that the webhook sends.

A relay posts what its Lambda was handed (github.com/mParticle/mparticle-firehose-java-sdk, examples/json);
`source.py` reads the batch. A request without events becomes one element, named after the request's type.
"""

from __future__ import annotations

from typing import Any

from adapter.sources.mparticle.batch import Batch

# Firehose's type of an identity → the webhook's.
IDENTITY_TYPES = {"customer": "customer_id", "controller_customer_id": "customer_id"}


class SubjectRequest(Batch, gc=False):
    """A request about a person instead of events, such as an erasure. What it says makes no profile."""


def to_batch(request: Batch) -> Batch:
    """The batch that says what a Firehose request says; anything else is returned as it is."""
    if type(request.type) is not str or not request.type.endswith("_request"):
        return request
    if request.type == "event_processing_request":
        return Batch(
            events=[_to_event(event) for event in request.events] if type(request.events) is list else request.events,
            mpid=request.mpid,
            user_identities=_to_identities(request.user_identities),
            user_attributes=request.user_attributes,
            consent_state=_to_consent_state(request.consent_state),
            batch_id=request.id,
            timestamp_unixtime_ms=request.timestamp_ms,
            environment=request.environment,
        )
    data = {
        # Older versions of Firehose call them otherwise.
        "type": request.subject_request_type or request.request_type,
        "source_message_id": request.subject_request_id or request.id,
        "timestamp_unixtime_ms": request.submitted_time,
    }
    return SubjectRequest(
        events=[{"event_type": request.type, "data": data}],
        mpid=request.mpid,
        user_identities=_to_identities(request.subject_identities or request.user_identities),
        timestamp_unixtime_ms=request.timestamp_ms,
    )


def _to_event(event: Any) -> Any:
    """{type, id, timestamp_ms, …} → {event_type, data}; members that both formats have keep their names."""
    if type(event) is not dict:
        return event
    event_type = event.get("type")
    data = {
        "source_message_id": event.get("id"),
        "timestamp_unixtime_ms": event.get("timestamp_ms"),
        "custom_attributes": event.get("attributes"),
        "currency_code": event.get("currency_code"),
    }
    if event_type in ("product_action", "promotion_action"):
        return {"event_type": "commerce_event", "data": data | {event_type: event}}
    if event_type == "impression":
        return {"event_type": "commerce_event", "data": data | {"product_impressions": event.get("impressions")}}
    if event_type == "privacy_setting_change":
        return {"event_type": "opt_out", "data": data | {"is_opted_out": event.get("is_enabled") is not True}}
    if event_type == "custom_event":
        data["event_name"] = event.get("name")
    elif event_type == "screen_view":
        data["screen_name"] = event.get("screen_name")
    return {"event_type": event_type, "data": data}


def _to_identities(identities: Any) -> list[dict[str, Any]]:
    """[{type, encoding, value}] or {type: {encoding, value}} → [{identity_type, identity}]."""
    if type(identities) is dict:
        identities = [{**entry, "type": name} for name, entry in identities.items() if type(entry) is dict]
    webhook_identities = []
    for entry in identities if type(identities) is list else ():
        if type(entry) is dict and type(entry.get("type")) is str:
            identity_type = IDENTITY_TYPES.get(entry["type"], entry["type"])
            if entry.get("encoding") in (None, "raw"):
                webhook_identities.append({"identity_type": identity_type, "identity": entry.get("value")})
            elif identity_type == "email":
                # A hashed address can be counted as unreadable, but no mail can go to it.
                webhook_identities.append({"identity_type": identity_type, "identity": "(hashed)"})
    return webhook_identities


def _to_consent_state(consent_state: Any) -> Any:
    if type(consent_state) is not dict:
        return consent_state
    return {name.removesuffix("_consent_state"): purposes for name, purposes in consent_state.items()}
