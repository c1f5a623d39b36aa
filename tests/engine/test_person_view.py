"""What triggers read of a person and an address, from the records that Redis keeps. Pure: no Redis.

`tests/engine/test_cart_lines.py` has the cart.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from freshgate.events import Product
from freshgate.settings import Settings
from freshgate.state.records import Claim, parse_claims, to_fields
from freshgate.state.stamps import ORDER, millis, stamp, stamp_time
from freshgate.state.stored import encode_line, to_json
from freshgate.state.views import AddressView, Mark, PersonView

NOON = 1_760_000_000_000
GRACE = 300_000


def at(moment: int, message: str = "m") -> str:
    return stamp(moment, message)


def person(*records: dict[str, str]) -> PersonView:
    """A person of several ids; the first record is the root's."""
    return PersonView("r0", [(f"r{number}", fields) for number, fields in enumerate(records)], GRACE)


def test_the_newest_register_of_all_ids_counts_whatever_their_order() -> None:
    older, newer = {"t:email": at(NOON) + "old@x.org"}, {"t:email": at(NOON + 1) + "new@x.org"}
    assert person(older, newer).email == person(newer, older).email == "new@x.org"
    first, second = {"m:view": at(NOON) + "a"}, {"m:view": at(NOON) + "b"}
    assert person(first, second).mark("view") == person(second, first).mark("view") == Mark(at(NOON), NOON, "b")


@pytest.mark.parametrize(("moment", "counts"), [(NOON - 1, True), (NOON, False), (NOON + 1, False)])
def test_what_a_device_did_from_the_moment_it_met_somebody_else_is_nobodys(moment: int, counts: bool) -> None:
    device = {"cut": stamp_time(NOON), "m:view": at(moment), "n:p1": at(moment) + "+1", "O": at(moment) + " o1\t[]"}
    view = person({}, device)
    assert (view.mark("view") is not None) == counts
    assert bool(view.purchases) == counts
    assert bool(view.facts()) == counts


@pytest.mark.parametrize(("moment", "counts"), [(NOON - 1, False), (NOON, False), (NOON + 1, True)])
def test_what_was_up_to_the_erasure_is_gone_under_all_ids(moment: int, counts: bool) -> None:
    record = {"m:view": at(moment), "O": at(moment) + " o1\t[]"}
    for records in (
        (record | {"asked": str(NOON)}, {}),
        ({"asked": str(NOON)}, record),
        ({"asked": "1"}, {"asked": str(NOON)}, record),
    ):
        view = person(*records)
        assert view.deleted_at == NOON
        assert (view.mark("view") is not None) == counts
        assert bool(view.purchases) == counts


@pytest.mark.parametrize("kind", ["unsubscribed", "bounced", "spam", "subscribed"])
def test_what_a_person_said_about_being_written_to_outlives_the_erasure(kind: str) -> None:
    view = person({"asked": str(NOON), f"m:{kind}": at(NOON - 1), "m:view": at(NOON - 1)})
    assert view.suppression(kind) == Mark(at(NOON - 1), NOON - 1, "")
    assert view.mark("view") is None


@pytest.mark.parametrize(
    ("fields", "email"),
    [
        ({"t:email": at(1) + "a@x.org", "t:said_email": at(9) + "b@x.org", "t:id": at(1) + "c@x.org"}, "a@x.org"),
        ({"t:typed_email": at(1) + "a@x.org", "t:said_email": at(9) + "b@x.org", "t:id": at(9) + "c@x.org"}, "a@x.org"),
        ({"t:said_email": at(9) + "b@x.org", "t:id": at(1) + "c@x.org"}, "c@x.org"),
        ({"t:said_email": at(9) + "b@x.org", "t:id": at(1) + "4711"}, None),
        ({"t:id": at(1) + "c@x.org"}, "c@x.org"),
        ({"t:id": at(1) + "4711"}, None),
        ({"t:id": at(1) + "c@x.o"}, None),
        ({"t:id": at(1) + "c@x.org,d@x.org"}, None),
        ({}, None),
    ],
)
def test_a_servers_address_comes_before_a_forms_and_that_before_the_user_id(
    fields: dict[str, str], email: str | None
) -> None:
    assert person(fields).email == email


def test_what_a_page_gave_comes_last_and_only_where_the_settings_allow_it() -> None:
    page = {"t:said_email": at(9) + "b@x.org"}
    for fields, email, trusted in ((page, "b@x.org", None), (page | {"t:id": at(1) + "c@x.org"}, "c@x.org", "c@x.org")):
        records = [("r0", fields)]
        assert PersonView("r0", records, page_addresses=True).email == email
        assert PersonView("r0", records, page_addresses=True, trusted_only=True).email == trusted
    assert [PersonView("r0", [("r0", page)]).has_unproven_address, person({}).has_unproven_address] == [True, False]
    assert not PersonView("r0", [("r0", page)], page_addresses=True).has_unproven_address


def test_only_the_roots_timers_and_sends_count() -> None:
    root = {"f:cart": "5", "b:cart": "6", "p:cart": "00-a", "k:cart|p:r0": "1 1", "rev": "7", "unproven": "1"}
    view = person(root, {})
    assert (view.first_due("cart"), view.floor("cart"), view.trace("cart"), view.revision) == (5, 6, "00-a", "7")
    assert (view.parked("cart|p:r0"), view.parked("welcome|p:r0"), view.unproven) == (True, False, True)
    other = person({}, root)
    assert (other.first_due("cart"), other.floor("cart"), other.trace("cart"), other.revision) == (None, 0, "", "0")
    assert (other.parked("cart|p:r0"), other.unproven) == (False, False)
    assert person({"f:cart": "0"}).first_due("cart") is None


def test_the_newest_arrival_of_any_id_counts_as_a_number() -> None:
    for records in (({"rx": "9"}, {"rx": "10"}), ({"rx": "10"}, {"rx": "9"}), ({}, {"rx": "10"})):
        assert person(*records).received_at == 10
    assert person({}).received_at == 0


def test_claims_of_all_ids_keep_their_record() -> None:
    first, second = "s1 sent t1 5 6 0 -", f"s2 retry t2 7 8 1+9 {at(NOON)}\ns3 dead t3 1 2 3 -"
    claims = person({"c:cart": first, "c:welcome": first}, {}, {"c:cart": second}).claims("cart")
    assert claims == [
        Claim("s1", "sent", "t1", 5, 6, 0, "", 0, "p:r0"),
        Claim("s2", "retry", "t2", 7, 8, 1, at(NOON), 9, "p:r2"),
        Claim("s3", "dead", "t3", 1, 2, 3, "", 0, "p:r2"),
    ]
    assert [claim.text() for claim in claims] == [line.partition(" ")[2] for line in f"{first}\n{second}".split("\n")]
    assert parse_claims("\n" + first) == parse_claims(first)


def test_purchases_come_newest_first_and_each_once() -> None:
    old, new = stamp(NOON, "a", ORDER), stamp(NOON + 1, "b", ORDER)
    view = person({"O": f'{old} o1\t["p1"]'}, {"O": f'{new} o2\t["p2"]\n{old} o1\t["p1"]'})
    assert [(order.at, order.products) for order in view.purchases] == [(NOON + 1, {"p2"}), (NOON, {"p1"})]
    assert view.last_order == view.purchases[0]
    assert view.mark("order") == Mark(new, NOON + 1, '["p2"]')
    assert view.facts() == {f"O:{NOON + 1}": '["p2"]', f"O:{NOON}": '["p1"]'}
    assert person({}).last_order is person({}).mark("order") is None


def test_of_an_order_that_several_ids_told_the_first_time_and_the_longest_list_count() -> None:
    old, new = stamp(NOON, "a", ORDER), stamp(NOON + 1, "b", ORDER)
    records = [{"O": f'{old} o1\t["p1"]'}, {"O": f'{new} o1\t["p1","p2"]'}]
    for view in (person(*records), person(*reversed(records))):
        assert [(order.at, order.products) for order in view.purchases] == [(NOON, {"p1", "p2"})]


def test_an_order_without_an_id_and_one_of_the_address_are_purchases() -> None:
    view = person({"m:order": at(NOON) + '["p1"]'})
    assert view.last_order
    assert view.last_order.at == NOON
    assert not view.has_bought(Product(product_id="p2"), NOON)
    view.see_address(Mark(at(NOON + 5), NOON + 5, ""))
    assert view.last_order.at == NOON + 5
    assert view.has_bought(Product(product_id="p2"), NOON)
    view.see_address(None)
    assert view.last_order.at == NOON


@pytest.mark.parametrize(("since", "bought"), [(NOON + GRACE, True), (NOON + GRACE + 1, False), (NOON - 1, True)])
def test_what_was_bought_within_the_grace_before_counts(since: int, bought: bool) -> None:
    view = person({"O": f'{at(NOON)} o1\t["p1","SKU"]'})
    assert view.has_bought(Product(product_id="p1"), since) == bought
    assert view.has_bought(Product(product_id="x", sku="SKU"), since) == bought
    assert view.has_bought(Product(product_id="x", id="p1"), since) == bought
    assert not view.has_bought(Product(product_id="p2"), since)


@pytest.mark.parametrize(
    ("fields", "unknown"),
    [
        ({"-?": at(NOON) + "{}"}, True),
        ({"-?": at(NOON) + "{}", "cc": at(NOON)}, False),
        ({"-?": at(NOON) + "{}", "cc": at(NOON - 1)}, True),
        ({"-?": at(NOON) + "{}", "O": at(NOON + 1) + " o1\t[]"}, False),
        ({"-?": at(NOON) + "{}", "O": at(NOON - 1) + " o1\t[]"}, True),
        ({}, False),
    ],
)
def test_a_removal_that_could_not_be_read_leaves_the_cart_unknown_until_it_is_known_again(
    fields: dict[str, str], unknown: bool
) -> None:
    assert person(fields).is_cart_unknown == unknown


def test_the_past_is_what_was_known_up_to_that_moment() -> None:
    fields = {
        "m:view": at(NOON) + "now",
        "cc": at(NOON),
        "n:p1": f"{at(NOON - 2)}+1 {at(NOON)}+2",
        "+p1": at(NOON) + '{"p":"p1"}',
        "O": f"{at(NOON)} o2\t[]\n{at(NOON - 9)} o1\t[]",
        "-p2": at(NOON) + '{"p":"p2"}',
    }
    view = person(fields)
    view.see_address(Mark(at(NOON), NOON, '["p9"]'))
    assert (len(view.purchases), view.cart) == (3, ())
    assert view.as_of(NOON).facts() == view.facts()
    assert view.as_of(NOON).ordered_elsewhere
    before = view.as_of(NOON - 1)
    assert (before.mark("view"), before.ordered_elsewhere) == (None, None)
    assert [order.at for order in before.purchases] == [NOON - 9]
    assert view.purchases[0].at == NOON


def test_a_line_of_the_past_has_its_newest_product() -> None:
    lines = {"n:p1": f"{at(NOON - 2)}+1 {at(NOON)}+2", "+p1": at(NOON) + '{"p":"p1"}'}
    view = person(lines)
    assert [line.product.quantity for line in view.cart] == [3]
    assert [line.product.quantity for line in view.as_of(NOON - 1).cart] == [1]


def test_a_servers_word_of_a_trait_comes_before_a_pages_which_transactional_mail_never_reads() -> None:
    records = [("r0", {"t:city": at(1) + "Linz", "t:said_city": at(9) + "Graz", "t:said_name": at(9) + "Ada"})]
    marketing, transactional = PersonView("r0", records), PersonView("r0", records, trusted_only=True)
    assert [marketing.trait(name) for name in ("city", "name", "street")] == ["Linz", "Ada", None]
    assert [transactional.trait(name) for name in ("city", "name", "street")] == ["Linz", None, None]
    answered = marketing.with_answers({"profile.city": 4020, "profile.name": None, "profile.street": "Ring"})
    assert [answered.trait(name) for name in ("city", "name", "street")] == ["4020", None, "Ring"]


def test_the_trait_email_is_an_address_that_somebody_gave() -> None:
    typed, page, user_id = ({f"t:{name}": at(1) + "a@x.org"} for name in ("typed_email", "said_email", "id"))
    assert [person(fields).trait("email") for fields in (typed, page, user_id)] == ["a@x.org", None, None]
    transactional = [PersonView("r0", [("r0", fields)], trusted_only=True) for fields in (typed, user_id)]
    assert [(view.trait("email"), view.email) for view in transactional] == [(None, None), (None, "a@x.org")]


def test_transactional_mail_reads_of_a_pages_mark_only_that_it_was() -> None:
    records = [("r0", {"m:seen": at(NOON) + '?{"price":"1"}', "m:told": at(NOON) + '{"price":"2"}'})]
    marketing, transactional = PersonView("r0", records), PersonView("r0", records, trusted_only=True)
    assert marketing.mark("seen") == Mark(at(NOON), NOON, '?{"price":"1"}')
    assert transactional.mark("seen") == Mark(at(NOON), NOON, "")
    assert marketing.mark("told") == transactional.mark("told") == Mark(at(NOON), NOON, '{"price":"2"}')


def test_a_mark_is_read_with_what_stands_in_place_of_its_fields() -> None:
    lamp, mug = Product(product_id="p1", name="Lamp"), Product(product_id="p2", name="Mug")
    restocked = '{"price":"2","stock":"3"}'
    view = person({"m:view": at(NOON) + to_json(lamp), "m:restocked": at(NOON) + restocked, "m:plain": at(NOON) + "a"})

    def values(answers: dict[str, Any]) -> list[str | None]:
        marks = [view.with_answers(answers).mark(name) for name in ("view", "restocked", "never")]
        return [mark.value if mark else None for mark in marks]

    answered = view.with_answers({"plain.price": None, "never.price": "1", "profile.city": "Linz"})
    assert [answered.mark("plain"), answered.mark("never")] == [Mark(at(NOON), NOON, ""), None]
    assert view.with_answers({"profile.city": "Linz"}).mark("plain") == view.mark("plain")
    assert person({}).with_answers({"view.product": mug}).mark("view") is None
    assert values({}) == values({"profile.city": "Linz"}) == [to_json(lamp), restocked, None]
    assert values({"view.product": mug}) == [to_json(mug), restocked, None]
    assert values({"view.product": None}) == ["", restocked, None]
    assert values({"view": None}) == [None, restocked, None]
    assert values({"restocked.stock": "0"}) == [to_json(lamp), '{"price":"2","stock":"0"}', None]
    assert values({"restocked.stock": None, "restocked.price": None}) == [to_json(lamp), "", None]


def test_a_cart_is_read_with_the_prices_that_were_answered() -> None:
    lamp, mug = Product("p1", price="1.00"), Product("p2", price="2.00", variant="red")
    lines = {f"+{line.line}": f"{at(NOON + number)}+1{encode_line(line)}" for number, line in enumerate((lamp, mug))}
    view = person(lines)

    assert [line.product for line in view.cart] == [lamp, mug]

    def prices(answers: dict[str, Any]) -> list[str]:
        return [line.product.price for line in view.with_answers(answers).cart]

    assert prices({}) == prices({"profile.city": "Linz"}) == ["1.00", "2.00"]
    assert prices({"cart.prices": {"p1": "3.00", "p2": "4.00"}}) == ["3.00", "4.00"]
    assert prices({"cart.prices": {"p2/red": "5.00", "p2": "4.00"}}) == ["", "5.00"]
    assert prices({"cart.prices": None}) == ["", ""]
    assert prices({"cart": None}) == []


def test_a_pages_product_is_read_as_servers_told_it() -> None:
    server = Product(product_id="p1", name="Lamp", price="9.00")
    page = replace(server, name="You won", price="0.01", from_page=True)
    view = person({"m:view": at(NOON) + to_json(page), "m:other": at(NOON)})
    assert view.mark("view") == Mark(at(NOON), NOON, to_json(page))
    view.see_products({"p1": server})
    assert view.mark("view") == Mark(at(NOON), NOON, to_json(replace(server, from_page=True)))
    assert view.mark("other") == Mark(at(NOON), NOON, "")
    for fields, mark in (({}, None), ({"m:view": at(NOON)}, Mark(at(NOON), NOON, ""))):
        nothing = person(fields)
        nothing.see_products({"p1": server})
        assert nothing.mark("view") == mark


def test_a_line_of_a_pages_cart_is_read_as_servers_told_it() -> None:
    server = Product(product_id="p1", name="Lamp", price="9.00")
    page = replace(server, name="You won", price="0.01", from_page=True)
    view = person({"+p1": f"{at(NOON)}+1{encode_line(page)}"})
    assert [line.product.name for line in view.cart] == ["You won"]
    view.see_products({"p1": server})
    assert [(line.product.name, line.product.price) for line in view.cart] == [("Lamp", "9.00")]


def test_what_an_operator_lifted_last() -> None:
    assert AddressView("a1", {"l:bounced": at(NOON) + "op"}).lifted("bounced") == Mark(at(NOON), NOON, "op")
    assert AddressView("a1", {"l:bounced": at(NOON)}).lifted("spam") is None


def test_a_person_of_whom_nothing_is_known() -> None:
    nobody = PersonView("")
    assert (nobody.deleted_at, nobody.received_at, nobody.cart, nobody.facts()) == (0, 0, (), {})
    settings = Settings(redis_url="", pii_key="")
    assert (nobody.order_grace, nobody.session_window) == (settings.order_grace, settings.session_window)


def test_a_record_is_read_in_pairs() -> None:
    assert to_fields([b"a", b"1", b"b", b"\xff"]) == {"a": "1", "b": "\N{REPLACEMENT CHARACTER}"}
    with pytest.raises(ValueError, match="shorter"):
        to_fields([b"a", b"1", b"b"])


def test_what_is_known_of_an_address() -> None:
    view = AddressView(
        "a1", {"m:order": at(NOON) + "[]", "m:spam": at(NOON), "rev": "4", "mails": "9 s1 cart;8 s2 a b;7 s1 cart"}
    )
    assert (view.owner, view.revision, view.ordered) == ("a:a1", "4", Mark(at(NOON), NOON, "[]"))
    assert (view.suppression("spam"), view.suppression("bounced")) == (Mark(at(NOON), NOON, ""), None)
    assert view.mails(0, "") == [9, 8, 7]
    assert view.mails(7, "") == [9, 8]
    assert view.mails(0, "s1") == [8]
    assert view.mails(0, "", "cart") == [9, 7]
    assert view.mails(0, "", "a b") == [8]
    assert AddressView("a1", {}).mails(0, "") == []
    assert AddressView("a1", {}).ordered is None
    assert view.as_of(NOON - 1).ordered is None
    assert view.as_of(NOON).ordered


def test_suppressions_and_traits_of_a_person() -> None:
    view = person({"m:unsubscribed": at(NOON) + "segment", "t:first_name": at(NOON) + "Ada"})
    assert view.suppression("unsubscribed") == Mark(at(NOON), NOON, "segment")
    assert (view.suppression("spam"), view.trait("first_name"), view.trait("last_name")) == (None, "Ada", None)
    assert view.facts() == {"m:unsubscribed": at(NOON) + "segment", "t:first_name": at(NOON) + "Ada"}
    assert millis(at(NOON)) == NOON
