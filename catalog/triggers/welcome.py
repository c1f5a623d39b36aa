"""Welcome: the first mail to a new account.

Sent      at once, on Signed Up, or on an Identify at most 24 hours after its `created_at`; once for each person. A date
          that lies a little ahead, up to the 14 hours of the easternmost time zone, is a new account's, too.
Not sent  when that event is older than 24 hours; when the address was welcomed within 24 hours under another id, since
          a page and a server tell one sign-up and nobody links the two; or when a device that has long been a user's
          tells a sign-up without an address, which is somebody else's (`known_user`). An unsubscribe does not stop it:
          the mail is transactional.
"""

from __future__ import annotations

from typing import Any

from freshgate import DAY, HOUR, Event, OrderView, PersonView, Trigger, Withdrawn, first_name

MAX_AGE = DAY
# Two clocks differ, and a date without a zone is the shop's: at most 14 hours ahead of UTC.
MAX_AHEAD = 14 * HOUR


def _is_new(event: Event) -> bool:
    """Whether the account is new: CDPs identify a person again and again, so its creation date decides."""
    if event.name == "Signed Up":
        return True
    created = event.fields.get("created_at")
    return created is not None and -MAX_AHEAD <= event.occurred_at - created <= MAX_AGE


def _withdrawn(person: PersonView, order: OrderView | None) -> Withdrawn | None:
    signup = person.mark("signup")
    if signup and person.is_guests("signup"):
        return Withdrawn("cancelled", "known_user", {"signup": signup.at})
    return None


def _compose(person: PersonView, order: OrderView | None) -> dict[str, Any]:
    return {"first_name": first_name(person)}


WELCOME = Trigger(
    name="welcome",
    on=("Signed Up", "Identify"),
    about="signup",
    kind="transactional",
    max_age=MAX_AGE,
    cap=(1, DAY),
    template_id="d-welcome",
    starts=_is_new,
    withdrawn=_withdrawn,
    compose=_compose,
)
