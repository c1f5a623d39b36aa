"""Viewed category: the category of the product that the shopper looked at last, such as "Lamps".

For mails that know no product: the bestsellers of what interests the shopper. A product of which no event says the
category leaves the one before. Who looked at nothing with a category for 30 days is not in it.
"""

from __future__ import annotations

from freshgate import Needs, PersonView, Segment


def _category(person: PersonView) -> str | None:
    return person.trait("viewed_category")


VIEWED_CATEGORY = Segment(
    name="viewed_category",
    value=_category,
    needs=(Needs("profile.viewed_category", fresh_for="30d"),),
)
