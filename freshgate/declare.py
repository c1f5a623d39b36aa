"""The vocabulary of a catalog: event types and triggers, declared as typed, frozen values.

`catalog/` declares them; the engine reads these values only, never the names of one shop or one CDP.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from freshgate.asks import Ask
from freshgate.durations import parse_cap, parse_duration
from freshgate.errors import CatalogError
from freshgate.needs import Fallback, Needs, asks_of

if TYPE_CHECKING:
    from freshgate.events import Event
    from freshgate.state.views import PersonView

    class Duration:
        """Written as "30m" or in milliseconds; read in milliseconds."""

        def __get__(self, instance: object, owner: Any) -> int: ...
        def __set__(self, instance: object, value: int | str) -> None: ...

    class OptionalDuration:
        """A duration, or None."""

        def __get__(self, instance: object, owner: Any) -> int | None: ...
        def __set__(self, instance: object, value: int | str | None) -> None: ...

    class OptionalCap:
        """Written as "1/24h" or (1, 86_400_000), read as the latter; or None."""

        def __get__(self, instance: object, owner: Any) -> tuple[int, int] | None: ...
        def __set__(self, instance: object, value: tuple[int, int] | str | None) -> None: ...
else:
    Duration, OptionalDuration, OptionalCap = int, int | None, tuple[int, int] | None

# Durations in milliseconds: `30 * MINUTE` is what "30m" is.
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

# Defaults for those types.
AT_ONCE: Any = 0
NONE: Any = None

# What a field holds, and so how its value is read. An unreadable value is left out and counted; it never refuses the
# event. `Event.fields` has the Python type of each; docs/ADDING.md has what each reads.
FieldType = Literal["id", "text", "money", "number", "time", "products", "product", "flag"]

# Where a value stands in the element: "properties.total", or a tuple of paths of which the first present wins.
Path = str | tuple[str, ...]
Cart = Literal["add", "remove", "snapshot", "clear"]
Suppression = Literal["unsubscribed", "bounced", "spam"]
WithdrawnOutcome = Literal["cancelled", "superseded", "rejected"]
WITHDRAWN_OUTCOMES: tuple[str, ...] = get_args(WithdrawnOutcome)
DEFAULT_TOPIC = "marketing"
# The engine's own mark: no event type may have it.
FIRST_EVENT_MARK = "first_seen"
# Not the name of a topic: whoever leaves all of them.
ALL_TOPICS = "all"
TOPIC = re.compile(r"[a-z][a-z0-9_]{0,39}")


class From(msgspec.Struct, frozen=True):
    """How one CDP spells an event type.

    when   dotted path -> the text that must stand there; all must match, and a tuple lists alternatives:
           {"type": "track", "event": ("Order Completed", "Completed Order")}
    paths  canonical field -> where its value stands. "email" is the person's own address
    read   for what no path can say: takes the whole element, returns further canonical fields, already converted
    """

    when: Mapping[str, str | tuple[str, ...]]
    paths: Mapping[str, Path] = {}
    read: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None


class EventType(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can happen to a person, and what it changes. Everything but `name` may be left out.

    name        canonical, as the Segment Spec has it: "Order Completed"
    fields      canonical field -> its type
    sources     kind of source ("segment") -> its spelling
    marks       moments that it moves forward, for triggers to be about. The names are free, but for two that carry
                more than a time: "order" remembers which products were bought, "view" the product that was viewed
    cart        its effect on the cart: "add" or "remove" its `product`, "snapshot" sets the lines to its `products`,
                "clear" empties the cart
    order       its effect on the order that its `order_id` names
    suppresses  why its address gets no mail from now on; without an address in the event, the person's address
    opt_out     its flag that unsubscribes the person where it is true; false lifts nothing, since it may be a default
    lifts       the suppression that a newer event of this type takes back: a person may opt in again. A bounce or a
                spam report is lifted by an operator only
    instead     (the event type that it is instead, whether its fields say so): a soft bounce is not a bounce
    profile     fields that are kept with the person as traits; only these, and what marks carry, can be read when a
                mail leaves
    carries     mark -> the fields that it carries along, as the event of the mark has them: `mark.fields`
    shares      those of `profile` that another event type keeps too, because they are the same fact about a person
    effect      "alias" links two ids of one person, "delete" erases the person
    """

    name: str
    fields: Mapping[str, FieldType] = {}
    sources: Mapping[str, From] = {}
    marks: tuple[str, ...] = ()
    cart: Cart | None = None
    order: Literal["completed", "cancelled", "refunded"] | None = None
    suppresses: Suppression | None = None
    opt_out: str | None = None
    lifts: Literal["unsubscribed"] | None = None
    instead: tuple[str, Callable[[Mapping[str, Any]], bool]] | None = None
    profile: tuple[str, ...] = ()
    carries: Mapping[str, tuple[str, ...]] = {}
    shares: tuple[str, ...] = ()
    effect: Literal["alias", "delete"] | None = None


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """One mail: which events start it, how long it waits, and what must hold when it leaves.

    Durations and caps are written as text, "30m" and "1/24h", or in milliseconds; they are read in milliseconds.
    Raises CatalogError for a text that is neither.

    name          snake_case, without | and #: its name in settings, metrics and the trail
    on            names of the event types that start it; each must advance the mark `about`
    about         the mark that the mail is about: its newest time decides on `delay` and `max_age`
    kind          "marketing" mail respects an unsubscribe, "transactional" mail does not
    max_age       age of the mark, when the mail would leave, above which it is not sent (outcome `stale`)
    template_id   the template's id at the ESP; the settings replace it
    topic         what a reader may unsubscribe from alone, a word such as cart_reminders; None (default) is
                  "marketing". Nothing depends on that of a transactional trigger
    template      the template of the catalog, for ESPs that store none: catalog/templates/<template>.txt.j2 and so on;
                  None (default) is the one that has the trigger's name
    withdrawn     why the mail is no longer wanted, or None. Called by the gate, right before the mail leaves; reads the
                  state that it is handed and nothing else: the person, and what else the mail is about, which is an
                  OrderView for the subject "order", a SubjectView for fields, and None for "person"
    compose       the template's data, made of the same state
    subject       whose send it is: one for each "person" (default), one for each "order", or one for each person and
                  value of fields of the event: ("product_id",). A field of a product counts by the product's id
    marks         with a subject of fields: marks besides `about` and `version` that are remembered for each subject
    delay         quiet time after the newest start; 0 (default) sends at once
    settle        quiet time after the newest arrival, so that late bursts are in; None (default) is the smaller of
                  `delay` and 2 minutes
    version       the mark that makes a second send a new one; None (default) sends once for each subject, for ever
    cap           "1/24h": at most so many mails to a person, and to an address, in that time; None (default) is no cap
    address_cap   the same for an address, over all triggers. The setting `address_cap` fills it in
    starts        a further condition on the starting event; with one, the event need not advance `about`
    needs         fields of the starting event without which nothing is sent, by name: ("order_id",); and what the mail
                  itself needs when it leaves: (Needs("cart.prices", fresh_for="24h", otherwise=Fallback(…)),)
    unknown       when the ESP may or may not have the mail: "hold" (default) keeps it for an operator, "resend" sends
                  again and risks a second mail
    asm_group_id  SendGrid's unsubscribe group
    esp           the account that sends it, a table `[esps.<name>]` of the settings; None (default) is the first one
    enabled       False starts nothing, and withholds what waits
    """

    name: str
    on: tuple[str, ...]
    about: str
    kind: Literal["transactional", "marketing"]
    max_age: Duration
    template_id: str
    withdrawn: Callable[[PersonView, Any], Withdrawn | None]
    compose: Callable[[PersonView, Any], dict[str, Any]]
    template: str | None = None
    topic: str | None = None
    subject: Literal["person", "order"] | tuple[str, ...] = "person"
    marks: tuple[str, ...] = ()
    delay: Duration = AT_ONCE
    settle: OptionalDuration = NONE
    version: str | None = None
    cap: OptionalCap = NONE
    address_cap: OptionalCap = NONE
    starts: Callable[[Event], bool] | None = None
    needs: tuple[str | Needs, ...] = ()
    unknown: Literal["hold", "resend"] = "hold"
    asm_group_id: int | None = None
    esp: str | None = None
    enabled: bool = True

    def __post_init__(self) -> None:
        if "|" in self.name or "#" in self.name:
            raise CatalogError(f"trigger {self.name}: a name has no | and no #; write it like abandoned_cart")
        if self.topic is not None and (not TOPIC.fullmatch(self.topic) or self.topic == ALL_TOPICS):
            raise CatalogError(f'trigger {self.name}: topic is {self.topic!r}; write a word such as "cart_reminders"')
        for field, parse, example in (
            ("max_age", parse_duration, "30m"),
            ("delay", parse_duration, "30m"),
            ("settle", parse_duration, "30m"),
            ("cap", parse_cap, "1/24h"),
            ("address_cap", parse_cap, "1/24h"),
        ):
            value: Any = getattr(self, field)
            if isinstance(value, str):
                parsed = parse(value)
                if parsed is None:
                    raise CatalogError(f'trigger {self.name}: {field} is {value!r}; write it like "{example}"')
                msgspec.structs.force_setattr(self, field, parsed)

    @property
    def template_name(self) -> str:
        """The catalog's template of this trigger's mail."""
        return self.template or self.name

    @property
    def event_needs(self) -> tuple[str, ...]:
        """The fields of the starting event without which nothing is sent: also those that make the subject."""
        own = tuple(need for need in self.needs if isinstance(need, str))
        return (*own, *self.subject) if isinstance(self.subject, tuple) else own

    @property
    def field_needs(self) -> tuple[Needs, ...]:
        """What the mail needs when it leaves."""
        return tuple([need for need in self.needs if not isinstance(need, str)])

    @property
    def fallbacks(self) -> tuple[Fallback, ...]:
        """Every mail that may leave in place of the trigger's own."""
        first = [need.otherwise for need in self.field_needs if isinstance(need.otherwise, Fallback)]
        return tuple(later for fallback in first for later in fallback.chain())

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The sources of truth that may be asked for its mail."""
        return asks_of(self.needs, self.fallbacks)

    @property
    def topic_name(self) -> str:
        """`topic` with its default applied."""
        return self.topic or DEFAULT_TOPIC

    @property
    def settle_ms(self) -> int:
        """`settle` with its default applied, in milliseconds."""
        return min(self.delay, 2 * MINUTE) if self.settle is None else self.settle


class Withdrawn(msgspec.Struct, frozen=True):
    """Why a mail is no longer wanted. Raises CatalogError for an outcome that does not exist.

    outcome   "cancelled": its reason is gone, such as a cart that was bought; "superseded": a newer fact contradicts
              it; "rejected": it can never be sent
    reason    a word of a closed set of the trigger's own, for metrics and the trail: "cart_empty"
    compared  name -> time (ms) of the marks that decided, for the trail
    """

    outcome: WithdrawnOutcome
    reason: str
    compared: Mapping[str, int] = {}

    def __post_init__(self) -> None:
        if self.outcome not in WITHDRAWN_OUTCOMES:
            raise CatalogError(f"no outcome {self.outcome!r} for Withdrawn; write {' or '.join(WITHDRAWN_OUTCOMES)}")
