"""The person of an mParticle batch: ids, profile, consent and erasure.

`test_mparticle.py` tests requests, bodies and events.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from adapter.sources.mparticle.source import MPARTICLE
from catalog import EVENTS
from freshgate.events import Event, Refused
from freshgate.settings import SourceSettings
from tests.adapter.sources.contract import RECEIVED_AT, from_page
from tests.adapter.sources.test_mparticle import AT, MPID, SIGNED_IN, batch, names, read


def consent(consented: Any, at: Any = AT) -> dict[str, Any]:
    return {"consented": consented, "timestamp_unixtime_ms": at}


# ---- ids


def test_a_missing_message_id_is_replaced_by_a_hash_of_the_person_and_the_event() -> None:
    def message_id(event: Any, **members: Any) -> str:
        return str(read({**batch(event), **members})[0].message_id)

    bare = {"event_type": "custom_event", "data": {"event_name": "Signed In"}}
    assert message_id(bare) == message_id({"data": {"event_name": "Signed In"}, "event_type": "custom_event"})
    assert message_id(bare) == message_id(bare, batch_id=6)
    assert message_id(bare) != message_id(bare, mpid=MPID + 1)
    assert message_id(bare) != message_id({**bare, "data": {"event_name": "Signed In", "event_num": 1}})


@pytest.mark.parametrize("junk", ["", None, 0, "0", "null", "undefined", {}, [], 1.5, "x" * 300])
def test_a_junk_message_id_is_passed_over(junk: Any) -> None:
    event = {
        "event_type": "custom_event",
        "data": {"event_name": "Signed In", "source_message_id": junk, "event_id": 7},
    }
    assert read(batch(event))[0].message_id == "7"


@pytest.mark.parametrize("mpid", [None, 0, "0", "", 1.8e19, "null", {}, []])
def test_a_junk_mpid_identifies_nobody(mpid: Any) -> None:
    assert read(batch(SIGNED_IN, mpid=mpid))[0].anonymous_id is None
    assert names(read(batch(SIGNED_IN, mpid=mpid, user_identities=None))) == ["Refused"]


def test_a_shops_own_junk_ids_identify_nobody() -> None:
    assert read(batch(SIGNED_IN), junk_ids=("U-1",))[0].user_id is None


# ---- what a batch says beside its events


def test_a_batch_has_one_profile_which_is_the_same_event_when_redelivered() -> None:
    delivered = batch(SIGNED_IN, SIGNED_IN, user_attributes={"$FirstName": "Ada"})
    verdicts = read(delivered)
    assert names(verdicts) == ["Signed In", "Signed In", "Identify"]
    assert verdicts == read(delivered)
    changed_back = read({**delivered, "batch_id": 6})
    assert verdicts[2].fields == changed_back[2].fields and verdicts[2].message_id != changed_back[2].message_id


def test_a_batch_of_an_anonymous_visitor_without_events_or_attributes_says_nothing() -> None:
    assert names(read({"mpid": 5, "events": [{"event_type": "session_start"}]})) == ["Ignored"]
    assert read({"mpid": 5, "events": []}) == []


def test_a_batch_without_events_still_links_its_two_ids() -> None:
    (verdict,) = read(batch())
    assert (verdict.name, verdict.user_id, verdict.anonymous_id) == ("Identify", "u-1", str(MPID))


@pytest.mark.parametrize(
    ("state", "purposes", "refused"),
    [
        ({"gdpr": {"newsletter": consent(False)}}, (), True),
        ({"gdpr": {"newsletter": consent("false")}}, (), True),
        ({"gdpr": {"newsletter": consent(True)}}, (), False),
        ({"gdpr": {"newsletter": consent(None)}}, (), False),
        ({"gdpr": {"newsletter": consent(False)}}, ("Newsletter ",), True),
        ({"gdpr": {"Newsletter": consent(False)}}, ("newsletter",), True),
        ({"gdpr": {"analytics": consent(False)}}, ("newsletter",), False),
        ({"ccpa": {"data_sale_opt_out": consent(True)}}, ("newsletter",), True),
        ({"ccpa": {"data_sale_opt_out": consent(False)}}, (), False),
        ({"gdpr": None, "ccpa": None}, (), False),
        ({"gdpr": {"newsletter": False}, "ccpa": [consent(True)]}, (), False),
        ([], (), False),
        (None, (), False),
    ],
)
def test_a_refusal_of_consent_unsubscribes(state: Any, purposes: tuple[str, ...], refused: bool) -> None:
    verdicts = read(batch(SIGNED_IN, consent_state=state), consent_purposes=purposes)
    assert names(verdicts) == ["Signed In", *["Unsubscribed"] * refused]


@pytest.mark.parametrize(
    ("state", "purposes", "renewed"),
    [
        ({"gdpr": {"newsletter": consent(True)}}, ("newsletter",), True),
        ({"gdpr": {"Newsletter": consent("true")}}, ("newsletter",), True),
        # Without a name for it, it may be a consent to cookies.
        ({"gdpr": {"newsletter": consent(True)}}, (), False),
        ({"gdpr": {"analytics": consent(True)}}, ("newsletter",), False),
        ({"gdpr": {"newsletter": consent(True), "offers": consent(False)}}, ("newsletter", "offers"), False),
        ({"gdpr": {"newsletter": consent(True), "analytics": consent(False)}}, ("newsletter",), True),
        ({"gdpr": {"newsletter": consent(True), "offers": consent(None)}}, ("newsletter", "offers"), False),
        ({"gdpr": {"newsletter": consent(True, None)}}, ("newsletter",), False),
        ({"gdpr": {"newsletter": consent(True)}, "ccpa": {"data_sale_opt_out": consent(True)}}, ("newsletter",), False),
        ({"gdpr": {"newsletter": True}}, ("newsletter",), False),
    ],
)
def test_a_renewed_consent_to_what_stands_for_mail_takes_an_unsubscribe_back(
    state: Any, purposes: tuple[str, ...], renewed: bool
) -> None:
    verdicts = read(batch(SIGNED_IN, consent_state=state), consent_purposes=purposes)
    assert ("Subscribed" in names(verdicts)) == renewed


def test_one_refusal_is_one_event_however_many_batches_repeat_it() -> None:
    def refusal(state: Any, **members: Any) -> Event:
        (verdict,) = read(batch(SIGNED_IN, consent_state=state, **members))[1:]
        assert isinstance(verdict, Event)
        return verdict

    state = {"gdpr": {"newsletter": consent(False, AT - 5000)}}
    assert refusal(state) == refusal(state, batch_id=6, timestamp_unixtime_ms=AT + 9)
    assert refusal(state).occurred_at == AT - 5000
    newer = refusal({"gdpr": {"newsletter": consent(False, AT)}})
    # An address that became known since then is suppressed too.
    with_address = refusal(state, user_identities={"customer_id": "u-1", "email": "ada@example.com"})
    assert len({refusal(state).message_id, newer.message_id, with_address.message_id}) == 3
    assert with_address.email == "ada@example.com"


def test_a_refusal_with_an_address_alone_suppresses_it() -> None:
    person = {"mpid": None, "user_identities": {"email": "ada@example.com"}}
    (verdict,) = read(batch(**person, consent_state={"ccpa": {"data_sale_opt_out": consent(True)}}))
    assert (verdict.name, verdict.email, verdict.user_id) == ("Unsubscribed", "ada@example.com", None)


@pytest.mark.parametrize(("opted_out", "name"), [(True, "Unsubscribed"), (None, "Unsubscribed"), (False, "Subscribed")])
def test_only_a_plain_no_takes_an_opt_out_back(opted_out: Any, name: str) -> None:
    event = {"event_type": "opt_out", "data": {"is_opted_out": opted_out, "timestamp_unixtime_ms": AT}}
    assert names(read(batch(event)))[0] == name


# ---- erasure


ERASURE = {
    "type": "dsr_processing_request",
    "timestamp_ms": AT,
    "subject_request_id": "dsr-1",
    "subject_request_type": "erasure",
    "subject_identities": {
        "controller_customer_id": {"encoding": "raw", "value": "u-1"},
        "email": {"encoding": "raw", "value": "ada@example.com"},
    },
}


def test_an_erasure_is_taken_from_a_server_only_and_records_no_address() -> None:
    (verdict,) = read(ERASURE)
    assert (verdict.name, verdict.user_id, verdict.email) == ("Delete", "u-1", None)
    assert from_page(read(ERASURE, trust="browser")) == [Refused("not_trusted")]


def test_an_erasure_of_a_hashed_id_erases_nobody_else() -> None:
    hashed = {"controller_customer_id": {"encoding": "sha256", "value": "u-1"}}
    assert read({**ERASURE, "subject_identities": hashed}) == [Refused("no_identity")]


def test_a_profile_that_cannot_be_read_does_not_hide_a_refusal_of_consent() -> None:
    def fails(_element: Any) -> dict[str, Any]:
        raise KeyError("plan")

    catalog = [
        replace(event, sources={**event.sources, "mparticle": replace(event.sources["mparticle"], read=fails)})
        if event.name == "Identify"
        else event
        for event in EVENTS
    ]
    shop = MPARTICLE.configure("shop", SourceSettings(kind="mparticle", secrets=("s",)), catalog)
    state = {"gdpr": {"newsletter": consent(False)}}
    body = json.dumps(batch(SIGNED_IN, consent_state=state, user_attributes={"$firstname": "Ada"})).encode()
    verdicts = shop.read(body, RECEIVED_AT)
    assert [verdict.reason for verdict in verdicts if isinstance(verdict, Refused)] == ["internal"]
    assert "Unsubscribed" in [verdict.name for verdict in verdicts if isinstance(verdict, Event)]
