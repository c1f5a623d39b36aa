"""Made-up shoppers: what each does, event by event, in the words of the Segment Spec.

`traffic.py` posts it, in real time. The same seed makes the same shoppers; nobody of example.com exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

PRODUCTS = (("mug-1", "Mug", 14.95), ("lamp-4", "Lamp", 59.0), ("bulb-7", "Bulb", 4.5), ("rug-2", "Rug", 129.0))
ADDRESS = "example.com"


class Step(NamedTuple):
    """One event, `pause_s` after the one before. `lag_s`: how late it is told, as a phone without network does."""

    pause_s: float
    event: dict[str, Any]
    lag_s: float = 0.0


class Shopper:
    """Who does something, with one product in mind. `name` makes the ids and the address unique."""

    def __init__(self, dice: Random, name: str) -> None:
        self.dice, self.name = dice, name
        self.email = f"{name}@{ADDRESS}"
        self._product, self._title, self._price = dice.choice(PRODUCTS)
        self._order = f"order-{name}"

    def pause(self) -> float:
        return self.dice.uniform(0.3, 3.0)

    def track(self, event: str, known: bool = True, **properties: Any) -> dict[str, Any]:
        who: dict[str, Any] = {"userId": f"user-{self.name}"} if known else {"anonymousId": f"anonymous-{self.name}"}
        return {"type": "track", "event": event, **who, "properties": properties}

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

    def order(self, event: str, **more: Any) -> dict[str, Any]:
        total: dict[str, Any] = {"order_id": self._order, "total": self._price, "currency": "EUR"}
        return self.track(event, **total, products=[self.line()], email=self.email, **more)


def buys(one: Shopper) -> Iterator[Step]:
    yield Step(0, one.track("Product Viewed", known=False, **one.line()))
    yield Step(one.pause(), one.track("Product Added", known=False, **one.line()))
    yield Step(one.pause(), one.identify())
    yield Step(one.pause(), one.track("Checkout Started", products=[one.line()]))
    yield Step(one.pause(), one.order("Order Completed"), lag_s=one.dice.choice((0, 0, 0, 2, 8)))


def leaves_the_cart(one: Shopper) -> Iterator[Step]:
    yield Step(0, one.identify())
    yield Step(one.pause(), one.track("Product Viewed", **one.line()))
    yield Step(one.pause(), one.track("Product Added", **one.line()))
    if one.dice.random() < 0.3:
        # Ordered after all, before the mail was due.
        yield Step(20 + 10 * one.pause(), one.order("Order Completed"))


def empties_the_cart(one: Shopper) -> Iterator[Step]:
    yield Step(0, one.identify())
    yield Step(one.pause(), one.track("Product Added", **one.line()))
    yield Step(one.pause(), one.track("Product Removed", **one.line()))


def looks_around(one: Shopper) -> Iterator[Step]:
    yield Step(0, one.identify())
    yield Step(one.pause(), {"type": "page", "userId": f"user-{one.name}", "name": "Home"})
    yield Step(one.pause(), one.track("Products Searched", query="lamp"))
    yield Step(one.pause(), one.track("Product Viewed", **one.line()))


def stays_a_stranger(one: Shopper) -> Iterator[Step]:
    yield Step(0, one.track("Product Added", known=False, **one.line()))


def signs_up(one: Shopper) -> Iterator[Step]:
    yield Step(0, one.track("Signed Up", email=one.email, first_name=one.name.split("-")[0].title()))
    yield Step(0.2, one.identify())


def cancels(one: Shopper) -> Iterator[Step]:
    # The cancellation is told first: the confirmation must not leave.
    yield Step(0, one.order("Order Cancelled"))
    yield Step(0.5, one.order("Order Completed"), lag_s=1.0)


def bounces(one: Shopper) -> Iterator[Step]:
    yield Step(0, one.identify())
    yield Step(one.pause(), one.track("Email Bounced", email=one.email))
    yield Step(one.pause(), one.order("Order Completed"))


def does_what_nobody_mapped(one: Shopper) -> Iterator[Step]:
    yield Step(0, one.track("Quiz Answered", answer="blue"))


def names_nobody(one: Shopper) -> Iterator[Step]:
    yield Step(0, {"type": "track", "event": "Product Viewed", "properties": one.line()})


# How many of a hundred shoppers do what.
STORIES: tuple[tuple[int, Callable[[Shopper], Iterator[Step]]], ...] = (
    (35, buys),
    (18, leaves_the_cart),
    (7, empties_the_cart),
    (16, looks_around),
    (5, stays_a_stranger),
    (10, signs_up),
    (3, cancels),
    (2, bounces),
    (3, does_what_nobody_mapped),
    (1, names_nobody),
)


def story(dice: Random, name: str) -> list[Step]:
    """What the shopper of that name will do."""
    (told,) = dice.choices([one for _, one in STORIES], [weight for weight, _ in STORIES])
    return list(told(Shopper(dice, name)))
