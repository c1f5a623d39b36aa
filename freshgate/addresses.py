"""Email addresses: one form for sending, hashing and comparing, however they were typed, pasted or exported.

The receiver reads addresses with it, and whoever looks one up in Redis or at the command line.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import idna

MAX_LENGTH = 254
# Gmail ignores dots in the name: https://support.google.com/mail/answer/7436150
DOTLESS_DOMAINS = frozenset({"gmail.com", "googlemail.com"})
# Without display name, comment or list, and without a gap in the domain.
_CHARACTER = r"[^\s@,;:<>()\[\]\\\"\x00-\x1f\x7f"
ADDRESS = re.compile(rf"{_CHARACTER}]+@{_CHARACTER}.]+(?:\.{_CHARACTER}.]+)*")
# Most addresses, which are in their one form already, not too long, and somebody's.
is_ordinary = re.compile(
    r"(?!(?i:undefined)@)[A-Za-z0-9._%+-]{1,64}+@(?:[A-Za-z0-9-]{1,60}+\.){1,2}+[A-Za-z0-9-]{1,60}+"
).fullmatch
# What a mail program's template would have filled in.
PLACEHOLDER = re.compile(r"\{\{|\}\}|\$\{|%%")
# What is not seen, beside Unicode's format characters (Cf): joiners, Hangul fillers, variation selectors, Braille's
# blank. The replacement character is not among them: it stands for something lost.
INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {
    chr(code) for code in range(0xFE00, 0xFE10)
}
# Scripts with letters that look alike.
SCRIPTS = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC")
# Letters of other styles and widths, which look like Latin ones: fullwidth, mathematical.
STYLED = ("FULLWIDTH", "MATHEMATICAL", "CIRCLED", "PARENTHESIZED")
# Cyrillic and Greek letters that are drawn as Latin ones.
DRAWN_AS_LATIN = frozenset("асеорхуіјѕһԁԛԝАВЕКМНОРСТХУІЈЅοανρικυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧ")


def read_address(value: Any) -> str | None:
    """The value as one address as an ESP takes it, or None.

    Invisible characters are removed, composed letters are one (NFC), and a domain of other letters than ASCII's is in
    its ASCII form (IDNA 2008), the only one that every ESP takes. Upper case stays.
    """
    if type(value) is not str:
        return None
    if is_ordinary(value) and "%%" not in value:
        return value
    text = value.strip() if value.isascii() else _visible(value)
    if text[:1] == text[-1:] == "'":
        # As a spreadsheet or a query has quoted it.
        text = text[1:-1].strip()
    # The end of a sentence, or of a name as DNS writes it.
    text = text.removesuffix(".")
    if len(text) > MAX_LENGTH or ADDRESS.fullmatch(text) is None or PLACEHOLDER.search(text):
        return None
    return text if text.isascii() else _with_ascii_domain(text)


def mailbox_of(address: str) -> str:
    """The mailbox that the address is one of many names of, in lower case: `Ada+shop@example.com` is ada@example.com.

    For caps and limits alone. Whom a mail is about, and where it goes, the address as it was written decides.
    """
    form = (read_address(address) or address.strip()).lower()
    name, at, domain = form.rpartition("@")
    base = name.partition("+")[0] or name
    if domain in DOTLESS_DOMAINS:
        base, domain = base.replace(".", "") or base, "gmail.com"
    return f"{base}{at}{domain}"


def is_lookalike(value: Any) -> bool:
    """Whether a part of the address may be taken for another: a Cyrillic `а` among Latin letters, or `сора` alone."""
    if type(value) is not str or value.isascii():
        return False
    return any(_looks_latin(part) for part in re.split(r"[@.]", _visible(value)[:MAX_LENGTH]))


def _visible(text: str) -> str:
    visible = "".join(char for char in text if unicodedata.category(char) != "Cf" and char not in INVISIBLE)
    return unicodedata.normalize("NFC", visible).strip()


def _with_ascii_domain(text: str) -> str | None:
    name, _, domain = text.rpartition("@")
    if "\ufffd" in name:
        return None
    try:
        name.encode()  # Half of a surrogate pair cannot be sent.
        ascii_domain = domain if domain.isascii() else idna.encode(domain, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return None
    address = f"{name}@{ascii_domain}"
    return address if len(address) <= MAX_LENGTH else None


def _looks_latin(part: str) -> bool:
    letters = [char for char in part if char.isalpha() and not char.isascii()]
    if not letters:
        return False
    names = [unicodedata.name(char, "") for char in part if char.isalpha()]
    if any(name.startswith(STYLED) for name in names):
        return True
    scripts = {script for script in SCRIPTS for name in names if name.startswith(script)}
    return len(scripts) > 1 or DRAWN_AS_LATIN.issuperset(letters)
