"""Made-up shoppers, and the events that each of them causes, as the Segment Spec names them.

`traffic.py` posts the events in real time. The same seed makes the same shoppers; example.com has no mailboxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

PRODUCTS = (("mug-1", "Mug", 14.95), ("lamp-4", "Lamp", 59.0), ("bulb-7", "Bulb", 4.5), ("rug-2", "Rug", 129.0))
EMAIL_DOMAIN = "example.com"


class Step(NamedTuple):
    """One event, `pause_s` after the one before. It arrives `lag_s` late, as from a phone without network."""

    pause_s: float
    event: dict[str, Any]
    lag_s: float = 0.0


class Shopper:
    """A shopper with one product in mind. `name` makes the ids and the address unique."""

    def __init__(self, random: Random, name: str) -> None:
        self.random, self.name = random, name
        self.email = f"{name}@{EMAIL_DOMAIN}"
        self._product, self._title, self._price = random.choice(PRODUCTS)
        self._order = f"order-{name}"

    def pause(self) -> float:
        return self.random.uniform(0.3, 3.0)

    def track(self, event: str, is_known: bool = True, **properties: Any) -> dict[str, Any]:
        ids: dict[str, Any] = {"userId": f"user-{self.name}"} if is_known else {"anonymousId": f"anonymous-{self.name}"}
        return {"type": "track", "event": event, **ids, "properties": properties}

    def identify(self) -> dict[str, Any]:
        traits = {"email": self.email, "firstName": self.name.split("-")[0].title()}
        return {
            "type": "identify",
            "userId": f"user-{self.name}",
            "anonymousId": f"anonymous-{self.name}",
            "traits": traits,
        }

    def line(self) -> dict[str, Any]:
        return {"product_id": self._product, "name": self._title, "price": self._price, "quantity": 1}

    def order(self, event: str, **properties: Any) -> dict[str, Any]:
        total: dict[str, Any] = {"order_id": self._order, "total": self._price, "currency": "EUR"}
        return self.track(event, **total, products=[self.line()], email=self.email, **properties)


def buy(shopper: Shopper) -> Iterator[Step]:
    yield Step(0, shopper.track("Product Viewed", is_known=False, **shopper.line()))
    yield Step(shopper.pause(), shopper.track("Product Added", is_known=False, **shopper.line()))
    yield Step(shopper.pause(), shopper.identify())
    yield Step(shopper.pause(), shopper.track("Checkout Started", products=[shopper.line()]))
    yield Step(shopper.pause(), shopper.order("Order Completed"), lag_s=shopper.random.choice((0, 0, 0, 2, 8)))


def leave_the_cart(shopper: Shopper) -> Iterator[Step]:
    yield Step(0, shopper.identify())
    yield Step(shopper.pause(), shopper.track("Product Viewed", **shopper.line()))
    yield Step(shopper.pause(), shopper.track("Product Added", **shopper.line()))
    if shopper.random.random() < 0.3:
        # The order comes before the mail is due.
        yield Step(20 + 10 * shopper.pause(), shopper.order("Order Completed"))


def empty_the_cart(shopper: Shopper) -> Iterator[Step]:
    yield Step(0, shopper.identify())
    yield Step(shopper.pause(), shopper.track("Product Added", **shopper.line()))
    yield Step(shopper.pause(), shopper.track("Product Removed", **shopper.line()))


def browse(shopper: Shopper) -> Iterator[Step]:
    yield Step(0, shopper.identify())
    yield Step(shopper.pause(), {"type": "page", "userId": f"user-{shopper.name}", "name": "Home"})
    yield Step(shopper.pause(), shopper.track("Products Searched", query="lamp"))
    yield Step(shopper.pause(), shopper.track("Product Viewed", **shopper.line()))


def stay_anonymous(shopper: Shopper) -> Iterator[Step]:
    yield Step(0, shopper.track("Product Added", is_known=False, **shopper.line()))


def sign_up(shopper: Shopper) -> Iterator[Step]:
    yield Step(0, shopper.track("Signed Up", email=shopper.email, first_name=shopper.name.split("-")[0].title()))
    yield Step(0.2, shopper.identify())


def cancel_the_order(shopper: Shopper) -> Iterator[Step]:
    # The cancellation arrives first: the confirmation must not leave.
    yield Step(0, shopper.order("Order Cancelled"))
    yield Step(0.5, shopper.order("Order Completed"), lag_s=1.0)


def bounce(shopper: Shopper) -> Iterator[Step]:
    yield Step(0, shopper.identify())
    yield Step(shopper.pause(), shopper.track("Email Bounced", email=shopper.email))
    yield Step(shopper.pause(), shopper.order("Order Completed"))


def cause_an_unmapped_event(shopper: Shopper) -> Iterator[Step]:
    yield Step(0, shopper.track("Quiz Answered", answer="blue"))


def send_no_identity(shopper: Shopper) -> Iterator[Step]:
    yield Step(0, {"type": "track", "event": "Product Viewed", "properties": shopper.line()})


# How many of a hundred shoppers do this.
STORIES: tuple[tuple[int, Callable[[Shopper], Iterator[Step]]], ...] = (
    (35, buy),
    (18, leave_the_cart),
    (7, empty_the_cart),
    (16, browse),
    (5, stay_anonymous),
    (10, sign_up),
    (3, cancel_the_order),
    (2, bounce),
    (3, cause_an_unmapped_event),
    (1, send_no_identity),
)


def make_story(random: Random, name: str) -> list[Step]:
    """All that the shopper of that name will do."""
    (story,) = random.choices([story for _, story in STORIES], [weight for weight, _ in STORIES])
    return list(story(Shopper(random, name)))
