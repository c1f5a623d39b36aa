"""Ids: which texts name nobody, and which are e-mail addresses. One list for user, anonymous, order and message ids.

It holds what broken tracking code sends for "nobody": whoever shared such an id would become one person, or one order.
`adapter/sources/reading/identity.py` asks before anything is recorded under an id.
"""

from __future__ import annotations

import re

from freshgate.addresses import read_address

# The default of a source's `junk_ids`, compared as `junk_key` spells them. Reported in public: docs/FIELD.md.
JUNK_IDS = (
    "",
    # No value, as programming languages, spreadsheets and forms print it.
    *("null", "undefined", "undef", "none", "nil", "void", "nan", "n/a", "unset", "empty", "blank", "missing"),
    *("infinity", "inf", "true", "false", "not set", "not provided", "not available", "not applicable", "not found"),
    # Nobody in particular.
    *("unknown", "unknown user", "guest", "guest user", "anonymous", "anonymous user", "anon", "nobody", "no user"),
    *("not authenticated", "unauthenticated", "not logged in", "logged out", "unidentified", "default", "test"),
    # RudderStack's Shopify source sends it for whatever no shopper did (rudder-transformer, tracker/transform.js).
    "shopify admin",
    # The name of the field in place of its value.
    *("id", "user", "user id", "uid", "uuid", "guid", "username", "customer", "customer id", "visitor", "visitor id"),
    *("anonymous id", "distinct id", "device id", "client id", "order id", "email", "email address"),
    # Numbers that stand for no number, and ids that many devices share: Android's broken ANDROID_ID, a hidden MAC.
    *("-1", "9774d56d682e549c", "02:00:00:00:00:00", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
)
# What stands around a word that is a placeholder: quotes and brackets.
AROUND = " \t\r\n'\"`´‘’“”<>()[]{}"
SEPARATORS = re.compile(r"[\W_]+")
# A template that was not filled in, or an object that was printed, wherever it stands: all would share the text.
UNFILLED = re.compile(r"\{\{|\}\}|\$\{|#\{|<%|%>|%%|\*\|.*\|\*|\[object |\[native code\]", re.ASCII)
# A mere word in brackets or between percent signs: <nil>, (not set), {user_id}, [guest], %user%, __USER_ID__.
# No digits, since {550e8400-…} is an id.
PLACEHOLDER = re.compile(r"(?:[<({\[%]+|@\{|__)[^\W\d][^\W\d .:-]*(?:[ .:_-]+[^\W\d]+)*(?:[>)}\]%]+|__)")
# An id that was put together, and whose own part was missing: auth0|undefined, gid://shopify/Customer/null, user_null.
# Not ada.null, since people have that name.
LOST_PART = re.compile(r"(?:[\W_]undefined|[:/|=#_-](?:null|nan)|[:/|=#](?:none|nil))\Z", re.IGNORECASE)
# Most ids: plain characters with a digit, which is not 0 unless a letter comes first, no lost part at the end, and at
# most 192 in all. Possessive runs never look back.
is_ordinary = re.compile(
    r"(?:[A-Za-z][A-Za-z_:|=-]{0,50}+[0-9]|[A-Za-z_0:|=-]{0,50}+[1-9])[A-Za-z_0-9:|=-]{0,140}+"
    r"(?<!ined|null|None)(?<!NaN)",
    re.ASCII,
).fullmatch
# An address that mail can go to. Stricter than a mail header allows: `auth0|ada@x` is an id, and so is `ada@localhost`.
ADDRESS = re.compile(
    r"[\w.%+'&~#!$*=?^`{}-]+@(?:[\w-]+\.)+(?!(?:local|localhost|internal|invalid|lan)$)(?:[^\W\d_]{2,}|xn--[\w-]+)"
)


# Blanks, and what is as invisible as they are: copied from a spreadsheet or a web page along with the id.
BLANKS = "".join(
    chr(code)
    for code in (
        *range(0x21),
        *(0x7F, 0x85, 0xA0, 0xAD, 0x1680, 0x180E, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF),
        *range(0x2000, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2065),
    )
)


def trim(text: str) -> str:
    """The text without blanks and invisible characters around it."""
    return text.strip(BLANKS)


def junk_key(text: str) -> str:
    """The spelling in which a word is compared with the ids of nobody: `(Not Set)`, `not_set` and "not-set" are one.

    A text without letters keeps its signs, since -1 is not 1.
    """
    key = text.strip(AROUND).lower()
    return SEPARATORS.sub("", key) if any(map(str.isalpha, key)) else key


def names_nobody(text: str, junk: frozenset[str]) -> bool:
    """Whether the id names nobody. `junk`: the source's `junk_ids`, each as its `junk_key` and in lower case."""
    if is_ordinary(text):
        return text.lower() in junk
    return (
        junk_key(text) in junk
        # "undefined undefined": two placeholders with a blank between them.
        or all(word in junk for word in filter(None, SEPARATORS.split(text.lower())))
        or not any(character.isalnum() and character != "0" for character in text)
        or UNFILLED.search(text) is not None
        or LOST_PART.search(text) is not None
        or PLACEHOLDER.fullmatch(text.strip()) is not None
    )


def address_in(user_id: str) -> str | None:
    """The id as an address in its one form and lower case, where mail can go to it: an @ alone makes no address."""
    address = read_address(user_id) if "@" in user_id else None
    return address.lower() if address is not None and ADDRESS.fullmatch(address) else None
