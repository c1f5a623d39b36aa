"""The first name that a mail greets with."""

from __future__ import annotations

import pytest

from freshgate import PersonView, first_name
from freshgate.state.stamps import stamp

STAMP = stamp(1_790_000_000_000, "m")


def person(**traits: str) -> PersonView:
    return PersonView("u1", [("u1", {f"t:{name}": STAMP + value for name, value in traits.items()})])


@pytest.mark.parametrize(
    ("traits", "greeting"),
    [
        ({"first_name": "Ada"}, "Ada"),
        ({"first_name": " Ada ", "name": "Countess Lovelace"}, "Ada"),
        ({"name": "Ada Lovelace"}, "Ada"),
        ({"name": "  Ada  Lovelace"}, "Ada"),
        ({"name": "Lovelace, Ada"}, "Ada"),
        ({"name": "Ада Лавлейс"}, "Ада"),
        ({"first_name": "null", "name": "Ada Lovelace"}, "Ada"),
        ({"first_name": "{{first_name}}"}, ""),
        ({"name": "ada@example.com"}, ""),
        ({"name": "Dr. Lovelace"}, ""),
        ({"name": "undefined undefined"}, ""),
        ({"name": " "}, ""),
        ({}, ""),
    ],
)
def test_the_first_word_of_the_name_stands_in_for_the_first_name(traits: dict[str, str], greeting: str) -> None:
    assert first_name(person(**traits)) == greeting
