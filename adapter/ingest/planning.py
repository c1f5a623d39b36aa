"""What is left to do where the catalog's own code fails on an event that was read: a trigger's `starts` raises.

`receive.py` plans the others, and keeps the element in the quarantine. Nothing of this is asked while all goes well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adapter.sources.base import RequestContext, Source
from adapter.sources.reading.limits import TooManyElements
from adapter.sources.reading.salvage import UnbalancedJson, split
from freshgate.errors import RequestError
from freshgate.events import Event
from freshgate.state.planner import Plan

PlanEvents = Callable[[Sequence[Event]], list[Plan]]


def plan_separately(events: Sequence[Event], plan: PlanEvents) -> tuple[list[Plan], dict[int, Exception]]:
    """The plans of the events on which `plan` does not fail; and place → error of the others."""
    plans: list[Plan] = []
    errors = {}
    for place, event in enumerate(events):
        try:
            plans += plan([event])
        except Exception as error:  # Whatever the catalog's code raises.
            errors[place] = error
    return plans, errors


def failing_elements(
    source: Source, body: bytes, received_at: int, context: RequestContext, plan: PlanEvents
) -> list[bytes]:
    """The elements of the body on whose events `plan` fails, as they came; all of a body that is not a list."""
    try:
        spans = split(body, source.settings.max_elements)
    except (UnbalancedJson, TooManyElements):
        return [body]
    if len(spans) == 1:
        return [body]
    elements = [body[span.start : span.end] for span in spans]
    return [element for element in elements if _fails(source, element, received_at, context, plan)] or [body]


def _fails(source: Source, element: bytes, received_at: int, context: RequestContext, plan: PlanEvents) -> bool:
    try:
        verdicts = source.read(element, received_at, context)
    except RequestError:
        return False
    try:
        plan([verdict for verdict in verdicts if isinstance(verdict, Event)])
    except Exception:  # As above.
        return True
    return False
