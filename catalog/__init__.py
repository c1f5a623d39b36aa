"""The catalog: what can happen in the shop, and which mails follow from it.

events/    event types: how each CDP spells them, and what they change (the cart, an order, a person's traits)
triggers/  mails: which events start them, how long they wait, when they are withdrawn, what the template is given
segments/  groups of persons, for the broader mail that leaves where a mail lacks what it needs

Edit this folder, or keep a package of your own and name it as `catalog` in the settings. The engine reads the two
tables EVENTS, TRIGGERS and SEGMENTS, nothing else. Recipes: docs/ADDING.md.
"""

from __future__ import annotations

from .events import EVENTS
from .segments import SEGMENTS
from .triggers import TRIGGERS

__all__ = ["EVENTS", "SEGMENTS", "TRIGGERS"]
