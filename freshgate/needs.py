"""The vocabulary of freshness by field: what a mail needs, how fresh, and what is sent instead.

`declare.py` has triggers, `state/fields.py` reads the fields, `workers/needs.py` decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec.structs import replace

from freshgate.asks import Ask
from freshgate.durations import parse_duration
from freshgate.errors import CatalogError

if TYPE_CHECKING:
    from freshgate.declare import OptionalDuration
    from freshgate.state.views import PersonView
else:
    OptionalDuration = int | None

NONE: Any = None
# What a fallback's template data calls the value of its segment.
SEGMENT_KEY = "segment"
# A send whose field was asked for waits for its turn to be decided on once more.
MIN_FRESH_FOR_MS = 10_000
# Fields that an answer may stand for: facts. Consent, orders and who is in a segment are events' to say.
NOT_ASKABLE = r"(cart|order|session|consent|last_order)\.|profile\.(email|id)$"
ASKABLE = re.compile(rf"cart\.prices|order\.(total|currency)|(?!{NOT_ASKABLE})\w+\.\w+", re.ASCII)
ASKABLE_FIELDS = "profile.<trait>, <mark>.<field>, subject.<field>, cart.prices, order.total, order.currency"


class Needs(msgspec.Struct, frozen=True):
    """A field that a mail needs, how fresh, and what to do where it is not. Raises CatalogError for what contradicts.

    field        "profile.<trait>", "session.<trait>", "session.first_seen", "cart", "cart.prices", a mark ("view") or a
                 field that it carries ("view.product"), "order.total", "order.products", "last_order", "consent",
                 "subject.<field>"; or a Segment: the person must be in it
    fresh_for    how old it may be: "24h", or milliseconds; None (default) is any age
    otherwise    "skip" (default): no mail, outcome `stale`; "leave_out": the mail without it; or a Fallback
    critical     False: it never keeps a mail back; without a default it is left out
    default      what stands in its place
    placeholder  another field that is read where this one is missing or stale, such as "session.<trait>"
    ask          a source of truth that is asked once before `otherwise` counts; of a critical field
    """

    field: str | Segment
    fresh_for: OptionalDuration = NONE
    otherwise: Literal["skip", "leave_out"] | Fallback | None = None
    critical: bool = True
    default: Any = None
    placeholder: str | None = None
    ask: Ask | None = None

    def __post_init__(self) -> None:
        head = f"Needs({self.name!r}): "
        value: Any = self.fresh_for
        if isinstance(value, str):
            parsed = parse_duration(value)
            if parsed is None:
                raise CatalogError(f'{head}fresh_for is {value!r}; write it like "24h"')
            msgspec.structs.force_setattr(self, "fresh_for", parsed)
        if self.default is not None and self.otherwise is not None:
            raise CatalogError(f"{head}it has a default, so `otherwise` never counts; leave one of them out")
        if not self.critical and self.otherwise not in (None, "leave_out"):
            raise CatalogError(f'{head}what is not critical keeps no mail back; write a default, or "leave_out"')
        if self.ask and not self.critical:
            raise CatalogError(f"{head}no mail waits for what is not critical; leave `ask` out")
        if self.ask and not (isinstance(self.field, str) and ASKABLE.fullmatch(self.field)):
            raise CatalogError(f"{head}nobody can be asked for it; `ask` is for {ASKABLE_FIELDS}")
        if self.ask and self.fresh_for is not None and self.fresh_for < MIN_FRESH_FOR_MS:
            raise CatalogError(f'{head}an answer would be too old when it is there; write a fresh_for of "10s" or more')

    @property
    def name(self) -> str:
        """The field's name in metrics, on the trail and in template data: "cart.prices", "segment.loyal"."""
        return self.field if isinstance(self.field, str) else f"segment.{self.field.name}"

    @property
    def answer(self) -> Literal["skip", "leave_out", "default"] | Fallback:
        """What happens where the field is missing or stale."""
        if self.default is not None:
            return "default"
        return self.otherwise or ("skip" if self.critical else "leave_out")


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """The mail that leaves where another one lacks something: it needs less. The same send, outcome `fallback_sent`.

    What was missing or stale is left out of what `compose` reads.

    template_id  the template's id at the ESP; `template_ids` of the settings replaces it
    template     the catalog's template; None (default) is the trigger's
    segment      the person must be in it; its value is `segment` in the template's data
    needs        what this mail needs
    compose      its template data; None (default) is the trigger's
    otherwise    the next fallback, where the segment or a need fails; None (default) is no mail
    """

    template_id: str
    template: str | None = None
    segment: Segment | None = None
    needs: tuple[Needs, ...] = ()
    compose: Callable[[PersonView, Any], dict[str, Any]] | None = None
    otherwise: Fallback | None = None

    def chain(self) -> tuple[Fallback, ...]:
        """This one and all that may follow it."""
        own = [need.otherwise for need in self.needs if isinstance(need.otherwise, Fallback)]
        following = [*own, *([self.otherwise] if self.otherwise else [])]
        return (self, *(later for fallback in following for later in fallback.chain()))


def with_template_ids(needs: tuple[str | Needs, ...], ids: Mapping[str, str]) -> tuple[str | Needs, ...]:
    """The needs with other templates for their fallbacks: declared id → the account's."""
    return tuple(
        need if isinstance(need, str) or not isinstance(need.otherwise, Fallback)
        else replace(need, otherwise=_renamed(need.otherwise, ids))
        for need in needs
    )  # fmt: skip


def _renamed(fallback: Fallback, ids: Mapping[str, str]) -> Fallback:
    needs: Any = with_template_ids(fallback.needs, ids)
    otherwise = _renamed(fallback.otherwise, ids) if fallback.otherwise else None
    return replace(fallback, template_id=ids[fallback.template_id], needs=needs, otherwise=otherwise)


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A group of persons, as a pure function of the state. Listed in SEGMENTS of the catalog.

    name   snake_case: its name on the trail
    value  which of its kind the person is in ("lamps"), or None. Reads the person that it is handed and nothing else
    needs  the fields that it relies on; where one is missing or stale, nobody knows, and the person is not in it
    """

    name: str
    value: Callable[[PersonView], str | None]
    needs: tuple[Needs, ...] = ()

    def __post_init__(self) -> None:
        if any(need.ask for need in self.needs):
            raise CatalogError(f"segment {self.name}: its needs ask nobody; write `ask` in a trigger's needs")


def fields_of(needs: Iterable[str | Needs], fallbacks: Iterable[Fallback] = ()) -> set[str]:
    """Every field of the state that these needs, those of the fallbacks and those of their segments read."""
    pending: list[Any] = [*needs]
    for fallback in fallbacks:
        pending += [*fallback.needs, *(fallback.segment.needs if fallback.segment else ())]
    names: set[str] = set()
    for need in pending:
        if isinstance(need, str):
            # A field of the event.
            continue
        if isinstance(need.field, Segment):
            names |= fields_of(need.field.needs)
        else:
            names |= {need.field, need.placeholder or need.field, *(need.ask.fields if need.ask else ())}
    return names


def asks_of(needs: Iterable[str | Needs], fallbacks: Iterable[Fallback] = ()) -> tuple[Ask, ...]:
    """Every source of truth that these needs, and those of the fallbacks, may ask."""
    all_needs = [*needs, *(need for fallback in fallbacks for need in fallback.needs)]
    return tuple(need.ask for need in all_needs if isinstance(need, Needs) and need.ask)
