"""Renewal thanks: "thank you for staying".

Sent      at once, on Subscription Renewed; once for each renewal.
Not sent  when the renewal is older than 24 hours. An unsubscribe does not stop it: the mail is transactional.

Listed in `catalog/triggers/__init__.py`.
"""

from __future__ import annotations

from typing import Any

from freshgate import OrderView, PersonView, Trigger, Withdrawn, first_name


def _withdrawn(person: PersonView, order: OrderView | None) -> Withdrawn | None:
    return None


def _compose(person: PersonView, order: OrderView | None) -> dict[str, Any]:
    return {"first_name": first_name(person), "plan": person.trait("plan") or ""}


RENEWAL_THANKS = Trigger(
    name="renewal_thanks",
    on=("Subscription Renewed",),
    about="renewed",
    version="renewed",
    kind="transactional",
    max_age="24h",
    template_id="d-renewal-thanks",
    withdrawn=_withdrawn,
    compose=_compose,
)
