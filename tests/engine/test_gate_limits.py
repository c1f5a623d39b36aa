"""The gate's limits at their boundaries, max_age and caps; and what a mail is judged by afterwards. Pure: no Redis."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from freshgate import DAY, Trigger, Withdrawn
from freshgate.state.orders import OrderView
from freshgate.state.records import Claim
from freshgate.state.stamps import stamp
from freshgate.state.views import AddressView
from tests.engine.test_gate_rules import (
    ADA,
    CART,
    CONFIRMATION,
    DUE,
    NOON,
    VERSION,
    WELCOME,
    claim,
    mails,
    outcome,
    person,
    records,
)
from workers.decisions import Decision
from workers.gate import contradiction, decide, send_id_of


def test_a_mail_is_stale_a_millisecond_after_its_limit() -> None:
    assert decide(CART, records(), NOON + DAY).do == "send"
    decision = decide(CART, records(), NOON + DAY + 1)
    assert outcome(decision) == ("stale", "older_than_max_age")
    assert decision.compared == {"activity": NOON, "max_age": DAY}


@pytest.mark.parametrize(("sent_until", "do"), [(DUE - 1, "send"), (DUE, "withhold"), (DUE + 1, "withhold")])
def test_what_was_due_while_the_lost_store_still_sent_leaves_only_as_a_replay(sent_until: int, do: str) -> None:
    decision = decide(CART, records(sent_until=sent_until), DUE + 2)
    assert decision.do == do
    if do == "withhold":
        assert outcome(decision) == ("stale", "before_restore")
        assert decision.compared == {"activity": NOON, "sent_until": sent_until}
    tried = records(person(c_cart=claim("retry", tries="1")), sent_until=sent_until)
    assert decide(CART, tried, DUE + 2).do == do
    replayed = records(person(c_cart="\n".join(claim(state) for state in ("replay", "retry"))), sent_until=sent_until)
    assert decide(CART, replayed, DUE + 2).do == "send"


def test_a_mail_that_waited_for_an_address_in_vain_says_so() -> None:
    waits = {"k_cart|p:pada": "1 1"}
    nobody = person(t_email=stamp(NOON, "email"), **waits)
    assert outcome(decide(CART, records(nobody), NOON + DAY + 1)) == ("no_address", "none_arrived")
    assert outcome(decide(CART, records(person(**waits)), NOON + DAY + 1))[0] == "stale"
    by_page = person(t_email=stamp(NOON, "email"), t_said_email=VERSION + ADA, **waits)
    assert outcome(decide(CART, records(by_page), NOON + DAY + 1)) == ("no_address", "unproven")
    unasked = person(t_email=stamp(NOON, "email"))
    assert outcome(decide(CART, records(unasked), NOON + DAY + 1))[0] == "stale"


def test_without_an_address_the_mail_waits_until_it_is_stale() -> None:
    decision = decide(CART, records(person(t_email=stamp(NOON, "email"))), DUE)
    assert (*outcome(decision), decision.due, decision.to) == ("park", "no_address_yet", NOON + DAY + 1, "")
    by_page = person(t_email=stamp(NOON, "email"), t_said_email=VERSION + ADA)
    assert decide(CART, records(by_page), DUE).reason == "address_unproven"


@pytest.mark.parametrize(("at", "do"), [(DUE - DAY + 1, "withhold"), (DUE - DAY, "send"), (DUE - DAY - 1, "send")])
def test_a_mail_counts_for_the_cap_within_the_window_and_not_at_its_end(at: int, do: str) -> None:
    older = [claim(at=at, version=stamp(NOON - 10, name)) for name in "ab"]
    decision = decide(CART, records(person(c_cart="\n".join(older))), DUE)
    assert decision.do == do
    if do == "withhold":
        assert (*outcome(decision), decision.compared) == ("capped", "2_in_86400s", {"activity": NOON, "sent_at": at})
    two = decide(CART, records(address=mails(at, at)), DUE)
    assert two.do == do
    if do == "withhold":
        assert (*outcome(two), two.compared["sent_at"]) == ("capped", "address_2_in_86400s", at)


def test_a_cap_counts_what_went_out_and_takes_the_newest_for_the_trail() -> None:
    older = stamp(NOON - 10, "m")
    failed = "\n".join(claim(state, version=older) for state in ("rejected", "dead", "rejected"))
    assert decide(CART, records(person(c_cart=failed)), DUE).do == "send"
    sent = "\n".join(claim(at=at, version=older) for at in (NOON, NOON - 5))
    assert decide(CART, records(person(c_cart=sent)), DUE).compared["sent_at"] == NOON
    assert decide(CART, records(person(c_cart=claim(version=older))), DUE).do == "send"
    assert decide(replace(CART, cap=None), records(person(c_cart=sent)), DUE).do == "send"
    open_claim = records(person(c_cart=claim("claimed", until=DUE + 1)))
    assert decide(replace(CART, cap=(1, DAY)), open_claim, DUE, "token").do == "send", "its own claim does not count"


def test_the_cap_of_an_address_counts_all_triggers_for_marketing_only() -> None:
    three = mails(NOON, NOON + 1, NOON + 2, trigger="browse")
    decision = decide(CART, records(address=three), DUE)
    assert (*outcome(decision), decision.compared["sent_at"]) == ("capped", "address_3_in_86400s", NOON + 2)
    assert decide(CART, records(address=mails(NOON, NOON, trigger="browse")), DUE).do == "send"
    assert decide(replace(CART, kind="transactional"), records(address=three), DUE).do == "send"
    assert decide(replace(CART, address_cap=None), records(address=three), DUE).do == "send"
    assert decide(CART, records(address=None), DUE).do == "send"
    own = mails(NOON, NOON, NOON, send=send_id_of(records(), VERSION))
    assert decide(CART, records(address=own), DUE).do == "send"


def test_a_mail_was_wrong_by_what_is_known_of_its_time_and_not_by_what_came_later() -> None:
    def judge(at: int, trigger: Trigger = CART, **fields: str) -> Decision | None:
        subject = records(person(c_cart=claim(at=at), **fields))
        return contradiction(trigger, subject, subject.person.claims("cart")[0])

    assert judge(DUE) is None
    early = judge(DUE - 1)
    assert early
    assert (*outcome(early), early.compared) == ("cancelled", "not_quiet_yet", {"activity": NOON, "sent_at": DUE - 1})
    assert judge(NOON, WELCOME) is None
    suppressed = judge(DUE, m_unsubscribed=stamp(DUE, "m"))
    assert suppressed
    assert suppressed.reason == "unsubscribed"
    assert judge(DUE, m_unsubscribed=stamp(DUE + 1, "m")) is None
    withdrawn = judge(DUE, replace(CART, withdrawn=lambda person, order: Withdrawn("cancelled", "ordered")))
    assert withdrawn
    assert withdrawn.reason == "ordered"
    assert judge(NOON - 1) is None
    ahead = judge(NOON, WELCOME, m_activity=stamp(NOON, "m"))
    assert ahead is None


def test_an_order_and_an_address_are_judged_by_what_was_known_then() -> None:
    order = OrderView("o1", {"F:order": VERSION + '{"o":"1"}', "m:cancelled": stamp(DUE + 1, "c")})
    address = AddressView("a1", {"m:spam": stamp(DUE + 1, "s")})
    cancels = replace(
        CONFIRMATION,
        withdrawn=lambda person, order: Withdrawn("superseded", "cancelled") if order and order.cancelled else None,
    )
    sent = Claim("s1", "sent", "t", 0, DUE, 0, "")
    for parts in ({"order": order, "address": address}, {"order": order, "address": None}):
        assert contradiction(cancels, records(**parts), sent) is None
        assert contradiction(cancels, records(**parts), replace(sent, at=DUE + 1))
