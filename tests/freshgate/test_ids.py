"""Which ids name nobody, and which are addresses, in the spellings that docs/FIELD.md lists."""

from __future__ import annotations

import pytest

from freshgate.ids import JUNK_IDS, address_in, junk_key, names_nobody, trim

JUNK = frozenset(key for junk in JUNK_IDS for key in (junk, junk_key(junk)))


@pytest.mark.parametrize(
    "text",
    [
        *("[object Object]", "[object Undefined]", "user-[object Object]", "function () { [native code] }"),
        *("unknown", "Unknown", "TRUE", "false", "-1", "n/a", "N/A", "NA", "#N/A", "NaN", "Infinity", "-Infinity"),
        *("(not set)", "(Not Set)", "not_set", "not-set", "(not provided)", "not_authenticated", "Not Authenticated"),
        *("<nil>", "<null>", "(null)", "(none)", "[guest]", "<user id>", "'null'", '"undefined"', "`none`", "“null”"),
        *("{{user.id}}", "{{ user.id }}", "u-{{id}}", "${userId}", "#{id}", "@{id}", "{user_id}", "<%= id %>"),
        *("%user_id%", "%%ID%%", "*|ID|*", "[[userid]]", "__USER_ID__"),
        *("id", "ID", "distinct_id", "distinctId", "userId", "USER_ID", "anonymous_id", "email", "test", "Guest"),
        *("auth0|undefined", "1-undefined", "cust.undefined", "gid://shopify/Customer/null", "acme|NULL", "cust_null"),
        *("shop-1:None", "tenant=2#nil", "1_NaN", "ada@undefined"),
        *("0", "00", "0.0", "000-000", "-", "--", ".", "?", "null null", "undefined undefined", "undefined-undefined"),
        *("00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "9774d56d682e549c"),
    ],
)
def test_what_names_nobody_is_known_in_every_spelling(text: str) -> None:
    assert names_nobody(text, JUNK)


@pytest.mark.parametrize(
    "text",
    [
        *("u-1", "1", "10", "a", "ada", "юзер", "idris", "nathan", "nullable", "testing", "guest-17", "user-1", "-2"),
        *("-7046523282345812629", "550e8400-e29b-41d4-a716-446655440000"),
        "{550e8400-e29b-41d4-a716-446655440000}",
        *(
            "auth0|5f7c8ec7c33c6c004bbafe82",
            "ada@example.com",
            "GA1.2.123.456",
            "p_00",
            "<abc1>",
            "%a1%",
            "ada lovelace",
            *("ada.null", "undefined-17", "null-17", "1-none", "cornell", "auth0|refined", "u-1-NaNa", "u1null"),
        ),
    ],
)
def test_what_could_be_somebodys_id_is_one(text: str) -> None:
    assert not names_nobody(text, JUNK)


def test_a_shops_own_list_takes_the_place_of_the_words_but_not_of_the_patterns() -> None:
    own = frozenset(("kiosk",))
    assert names_nobody("Kiosk", own) and not names_nobody("guest", own)
    assert names_nobody("[object Object]", own) and names_nobody("0", own)


@pytest.mark.parametrize(
    ("user_id", "address"),
    [
        ("ada@example.com", "ada@example.com"),
        ("Ada@Example.COM", "ada@example.com"),
        ("o'brien+shop@mail.example.co", "o'brien+shop@mail.example.co"),
        ("ada@bücher.de", "ada@xn--bcher-kva.de"),
        ("auth0|ada@x", None),
        ("auth0|ada@example.com", None),
        ("acct:ada@example.com", None),
        ("ada@x", None),
        ("ada@localhost", None),
        ("ada@printer.local", None),
        ("ada@10.0.0.1", None),
        ("@ada", None),
        ("a@b@example.com", None),
        ("ada", None),
    ],
)
def test_an_at_sign_does_not_make_an_address(user_id: str, address: str | None) -> None:
    assert address_in(user_id) == address


def test_blanks_and_what_is_as_invisible_are_trimmed() -> None:
    assert trim("\u200b\ufeff cust-1\u00a0\u2003\t") == "cust-1"
