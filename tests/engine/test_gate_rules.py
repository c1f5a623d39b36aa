"""Each rule of the gate at its boundary: a millisecond before, exactly at, and after. Pure: no Redis.

`tests/engine/test_triggers.py` has the same rules from the event to the mail.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from freshgate import DAY, MINUTE, Trigger, Withdrawn
from freshgate.state.keys import TimerRef
from freshgate.state.orders import OrderView
from freshgate.state.stamps import millis, stamp
from freshgate.state.views import AddressView, PersonView
from workers.decisions import Decision, Records
from workers.gate import decide, due_at

NOON = 1_760_000_000_000
DELAY, SETTLE = 30 * MINUTE, 2 * MINUTE
DUE = NOON + DELAY
ADA = "ada@example.com"
VERSION = stamp(NOON, "cart")
CART = Trigger(
    name="cart",
    on=("Product Added",),
    about="activity",
    version="cart",
    kind="marketing",
    delay=DELAY,
    max_age=DAY,
    cap=(2, DAY),
    address_cap=(3, DAY),
    template_id="d-cart",
    withdrawn=lambda person, order: None,
    compose=lambda person, order: {},
)
WELCOME = replace(CART, name="welcome", delay=0, version=None, cap=None, address_cap=None)
CONFIRMATION = replace(WELCOME, name="confirmation", subject="order", about="order", kind="transactional")


def person(record_id: str = "pada", **fields: str) -> PersonView:
    """A person with an address whose cart changed at noon; a field is named without its colon: m_activity."""
    raw = {"m:activity": VERSION, "m:cart": VERSION, "t:email": stamp(NOON, "email") + ADA, "rx": str(NOON), "rev": "1"}
    raw |= {name.replace("_", ":", 1): value for name, value in fields.items()}
    return PersonView(record_id, [(record_id, raw)])


def claim(state: str = "sent", at: int = NOON, version: str = VERSION, until: int = 0, tries: str = "0") -> str:
    return f"s1 {state} token {until} {at} {tries} {version or '-'}"


def records(subject: PersonView | None = None, **parts: Any) -> Records:
    parts = {"address": AddressView("a1", {})} | parts
    return Records(TimerRef.parse("cart|p:pada"), DUE, subject or person(), **parts)


def outcome(decision: Decision) -> tuple[str, str]:
    return decision.outcome or decision.do, decision.reason


def mails(*ats: int, send: str = "other", trigger: str = "cart") -> AddressView:
    return AddressView("a1", {"mails": ";".join(f"{at} {send} {trigger}" for at in ats)})


def test_a_mail_is_sent_when_it_is_due_and_not_a_millisecond_before() -> None:
    early = decide(CART, records(), DUE - 1)
    assert (early.do, early.reason, early.due, early.occurred_at) == ("retime", "moved", DUE, NOON)
    sent = decide(CART, records(), DUE)
    assert sent == Decision(
        do="send", due=DUE, version=VERSION, occurred_at=NOON, limit=DAY, to=ADA, compared={"activity": NOON}
    )


def test_a_disabled_trigger_sends_nothing() -> None:
    assert outcome(decide(replace(CART, enabled=False), records(), DUE)) == ("cancelled", "disabled")


def test_nothing_known_is_not_sent_and_erasure_is_named() -> None:
    stranger = PersonView("pada", [("pada", {"rx": "1"})])
    assert outcome(decide(CART, records(stranger), DUE)) == ("cancelled", "nothing_known")
    erased = PersonView("pada", [("pada", {"asked": "1"})])
    assert outcome(decide(CART, records(erased), DUE)) == ("suppressed", "deleted")


@pytest.mark.parametrize(("deleted_at", "do"), [(NOON - 1, "send"), (NOON, "withhold"), (NOON + 1, "withhold")])
def test_what_occurred_up_to_the_erasure_is_not_mailed_about(deleted_at: int, do: str) -> None:
    order = OrderView("o1", {"F:order": VERSION + '{"o":"1"}'})
    erased = records(person(asked=str(deleted_at)), order=order)
    assert decide(CONFIRMATION, erased, DUE).do == do


def test_an_order_of_nobody_is_not_confirmed() -> None:
    order = OrderView("o1", {"F:order": VERSION + '{"o":"1"}', "F:email": VERSION + ADA})
    nobody = records(PersonView("", []), order=order)
    decision = decide(CONFIRMATION, nobody, DUE)
    assert (*outcome(decision), decision.occurred_at) == ("cancelled", "ambiguous_buyer", NOON)


def test_an_unproven_device_gets_no_mail_of_its_own_and_its_order_is_confirmed() -> None:
    device = person(unproven="1")
    decision = decide(CART, records(device), DUE)
    assert (*outcome(decision), decision.occurred_at) == ("cancelled", "unproven_identity", NOON)
    order = OrderView("o1", {"F:order": VERSION + '{"o":"1"}'})
    assert decide(CONFIRMATION, records(device, order=order), DUE).do == "send"


def test_after_a_gap_a_waiting_mail_settles_once_more_and_an_immediate_mail_does_not() -> None:
    decision = decide(CART, records(refused_at=DUE), DUE)
    assert (*outcome(decision), decision.due) == ("retime", "after_gap", DUE + SETTLE)
    assert decision.occurred_at == NOON
    assert decide(CART, records(refused_at=DUE), DUE + SETTLE - 1).do == "retime"
    assert decide(CART, records(refused_at=DUE), DUE + SETTLE).do == "send"
    assert decide(replace(WELCOME, settle=SETTLE), records(refused_at=NOON), NOON).do == "send"


def test_refusals_without_end_hold_a_mail_for_ten_settles() -> None:
    for since, bound in ((NOON, DUE + 10 * SETTLE), (DUE + MINUTE, DUE + MINUTE + 10 * SETTLE)):
        refused = records(refused_since=since, refused_at=NOON + DAY)
        assert decide(CART, refused, bound - 1).due == bound
        assert decide(CART, refused, bound).do == "send"


def test_a_clock_that_runs_ahead_never_delays_a_mail() -> None:
    ahead = person(m_activity=stamp(NOON + DAY, "m"))
    mark = ahead.mark("activity")
    assert mark
    assert due_at(CART, ahead, mark, CART.name) == DUE
    assert due_at(WELCOME, ahead, mark, WELCOME.name) == NOON
    late = person(rx=str(NOON + MINUTE))
    late_mark = late.mark("activity")
    assert late_mark
    assert due_at(WELCOME, late, late_mark, CART.name) == NOON
    assert due_at(replace(WELCOME, settle=SETTLE), late, late_mark, CART.name) == NOON
    assert due_at(replace(CART, delay=1, settle=SETTLE), late, late_mark, CART.name) == NOON + MINUTE + SETTLE


@pytest.mark.parametrize(
    ("fields", "due"),
    [
        ({"b_cart": str(NOON + 5 * MINUTE)}, DUE + 5 * MINUTE),
        ({"b_cart": str(NOON - 5 * MINUTE)}, DUE),
        ({"rx": str(DUE - SETTLE)}, DUE),
        ({"rx": str(DUE)}, DUE + SETTLE),
        # Settling ends: 10 times after what was the first due, and after the due itself where none is known.
        ({"rx": str(NOON + DAY)}, DUE + 10 * SETTLE),
        ({"rx": str(NOON + DAY), "f_cart": "0"}, DUE + 10 * SETTLE),
        ({"rx": str(NOON + DAY), "f_cart": str(DUE - MINUTE)}, DUE - MINUTE + 10 * SETTLE),
        ({"rx": str(NOON + DAY), "f_cart": str(DUE - DAY)}, DUE),
    ],
)
def test_a_burst_settles_and_settling_is_bounded(fields: dict[str, str], due: int) -> None:
    waiting = person(**fields)
    mark = waiting.mark("activity")
    assert mark
    assert due_at(CART, waiting, mark, CART.name) == due


@pytest.mark.parametrize(("until", "do"), [(DUE + 1, "retime"), (DUE, "orphan"), (DUE - 1, "orphan")])
def test_an_open_claim_is_waited_for_and_then_taken_over(until: int, do: str) -> None:
    decision = decide(CART, records(person(c_cart=claim("claimed", until=until, tries="2"))), DUE)
    assert decision.do == do
    if do == "retime":
        assert (decision.reason, decision.due) == ("claimed_elsewhere", until)
    else:
        assert decision.claim
        assert (decision.claim.token, decision.attempts) == ("token", 2)


def test_a_claim_of_ones_own_is_not_held_against_the_send() -> None:
    held = records(person(c_cart=claim("claimed", until=DUE + 1)))
    assert decide(CART, held, DUE, "token").do == "send"


@pytest.mark.parametrize(("until", "do"), [(DUE + 1, "retime"), (DUE, "send")])
def test_a_retry_binds_whoever_comes_before_its_time(until: int, do: str) -> None:
    decision = decide(CART, records(person(c_cart=claim("retry", until=until, tries="3"))), DUE)
    assert decision.do == do
    if do == "retime":
        assert (decision.reason, decision.due) == ("retry", until)
    else:
        assert decision.attempts == 3


def test_the_attempts_of_all_records_count_by_their_most() -> None:
    both = "\n".join(claim("retry", tries=tries) for tries in ("3", "1"))
    assert decide(CART, records(person(c_cart=both)), DUE).attempts == 3


def test_a_retry_or_the_limit_of_an_older_version_binds_no_newer_one() -> None:
    older = stamp(NOON - 1, "cart")
    decision = decide(
        CART, records(person(c_cart=claim("retry", until=DUE + 1, version=older, tries="3+99999999999"))), DUE
    )
    assert (decision.do, decision.attempts, decision.limit) == ("send", 0, DAY)


def test_a_replay_raises_the_limit_and_never_lowers_it() -> None:
    raised = records(person(c_cart=claim("replay", tries=f"1+{3 * DAY}")))
    assert decide(CART, raised, NOON + 2 * DAY).do == "send"
    assert decide(CART, raised, DUE).limit == 3 * DAY
    assert decide(CART, records(person(c_cart=claim("replay", tries="1+5"))), DUE).limit == DAY


@pytest.mark.parametrize("state", ["sent", "fallback_sent", "rejected", "unknown", "dead"])
def test_a_version_that_is_over_is_a_duplicate_and_an_older_one_too(state: str) -> None:
    for version in (VERSION, stamp(NOON + 1, "cart")):
        decision = decide(CART, records(person(c_cart=claim(state, at=7, version=version))), DUE)
        assert outcome(decision) == ("duplicate", f"already_{state}")
        assert decision.compared == {"activity": NOON, "sent_version": millis(version), "sent_at": 7}
    assert decide(CART, records(person(c_cart=claim(state, version=stamp(NOON - 1, "cart")))), DUE).do == "send"
    just_now = records(person(c_cart=claim(state, until=DUE + 1)))
    assert outcome(decide(CART, just_now, DUE)) == ("duplicate", f"already_{state}"), "the lease of a claim outlives it"


def test_what_is_sent_once_for_ever_has_no_version() -> None:
    about_welcome = records(person(c_welcome=claim(at=7, version="")))
    about_welcome.timer = TimerRef.parse("welcome|p:pada")
    decision = decide(WELCOME, about_welcome, DUE)
    assert (outcome(decision), decision.compared) == (("duplicate", "already_sent"), {"activity": NOON, "sent_at": 7})
    assert decide(replace(CART, version="order"), records(), DUE).version == ""


@pytest.mark.parametrize("kind", ["unsubscribed", "bounced", "spam"])
def test_an_opt_out_of_the_person_or_the_address_suppresses(kind: str) -> None:
    mark = stamp(NOON - DAY, "out")
    by_person = decide(CART, records(person(**{f"m_{kind}": mark})), DUE)
    by_address = decide(CART, records(address=AddressView("a1", {f"m:{kind}": mark})), DUE)
    assert by_person == by_address
    assert outcome(by_person) == ("suppressed", kind)
    assert by_person.compared == {"activity": NOON, kind: NOON - DAY}
    assert decide(CART, records(person(**{f"m_{kind}": mark}), address=None), DUE) == by_person
    transactional = decide(replace(CART, kind="transactional"), records(person(**{f"m_{kind}": mark})), DUE)
    assert transactional.do == ("send" if kind == "unsubscribed" else "withhold")


def test_who_left_a_topic_gets_its_transactional_mail() -> None:
    unsubscribed = AddressView("a1", {"m:topic_carts": stamp(NOON - DAY, "out")})
    about_carts = replace(CART, topic="carts")
    assert outcome(decide(about_carts, records(address=unsubscribed), DUE)) == ("suppressed", "topic_carts")
    assert decide(replace(about_carts, kind="transactional"), records(address=unsubscribed), DUE).do == "send"


@pytest.mark.parametrize(("opt_in", "do"), [(NOON - 1, "withhold"), (NOON, "withhold"), (NOON + 1, "send")])
def test_only_a_newer_opt_in_lifts_an_unsubscribe_and_nothing_else(opt_in: int, do: str) -> None:
    out, back = stamp(NOON, "m"), stamp(opt_in, "m")
    for subject, address in (
        (person(m_unsubscribed=out, m_subscribed=back), {}),
        (person(m_unsubscribed=out), {"m:subscribed": back}),
        (person(m_subscribed=back), {"m:unsubscribed": out}),
    ):
        assert decide(CART, records(subject, address=AddressView("a1", address)), DUE).do == do
    assert decide(CART, records(person(m_bounced=out, m_subscribed=back)), DUE).outcome == "suppressed"


def test_the_newest_opt_out_of_person_and_address_counts() -> None:
    address = AddressView("a1", {"m:unsubscribed": stamp(NOON, "b"), "m:subscribed": stamp(NOON + 5, "b")})
    assert decide(CART, records(person(m_unsubscribed=stamp(NOON + 9, "a")), address=address), DUE).do == "withhold"
    assert decide(CART, records(person(m_unsubscribed=stamp(NOON - 9, "a")), address=address), DUE).do == "send"


def test_the_triggers_own_rule_withdraws() -> None:
    empty = replace(CART, withdrawn=lambda person, order: Withdrawn("superseded", "newer", {"newer": 5}))
    decision = decide(empty, records(), DUE)
    assert (*outcome(decision), decision.compared) == ("superseded", "newer", {"activity": NOON, "newer": 5})
