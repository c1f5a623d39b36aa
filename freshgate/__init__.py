"""The kernel of all processes, and the public API of catalogs: `from freshgate import EventType, From, Trigger`.

It imports none of the other packages. Names that are not exported here are internal and may change.
"""

from freshgate.asks import Ask
from freshgate.declare import DAY, HOUR, MINUTE, EventType, From, Trigger, Withdrawn
from freshgate.events import Event, Product
from freshgate.greeting import first_name
from freshgate.needs import Fallback, Needs, Segment
from freshgate.state.views import Mark, OrderView, PersonView, SubjectView
from freshgate.template_values import date, money, template_product
from freshgate.version import VERSION

__all__ = [
    "DAY",
    "HOUR",
    "MINUTE",
    "VERSION",
    "Ask",
    "Event",
    "EventType",
    "Fallback",
    "From",
    "Mark",
    "Needs",
    "OrderView",
    "PersonView",
    "Product",
    "Segment",
    "SubjectView",
    "Trigger",
    "Withdrawn",
    "date",
    "first_name",
    "money",
    "template_product",
]
