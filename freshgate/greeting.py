"""How a mail addresses its reader: the first name, as far as it is known. Part of the public API of catalogs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from freshgate.ids import JUNK_IDS, junk_key, names_nobody

if TYPE_CHECKING:
    from freshgate.state.views import PersonView

_JUNK = frozenset(map(junk_key, JUNK_IDS))


def first_name(person: PersonView) -> str:
    """The trait `first_name`, else the first word of `name`, as Segment's destinations have it; empty where neither is
    a name.

    Source: https://github.com/segmentio/facade/blob/master/lib/identify.js
    """
    own = (person.trait("first_name") or "").strip()
    if own and not names_nobody(own, _JUNK):
        return own
    name = (person.trait("name") or "").strip()
    # "Lovelace, Ada" begins with the last name.
    words = (name.partition(",")[2] or name).split()
    word = words[0] if words else ""
    # An address is often sent as the name, and "Dr." or an initial addresses nobody.
    is_name = word and "@" not in word and not word.endswith(".") and not names_nobody(word, _JUNK)
    return word if is_name else ""
