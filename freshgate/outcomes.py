"""Outcomes: what became of each mail, as events that go back to the shop's CDP or to a webhook. docs/OUTCOMES.md.

The worker and the receiver describe them, `state/lua/outcomes.lua` writes them with what they are about, and
`workers/outcomes/` sends them. What a CDP sends back of them is recognized here.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from freshgate.settings import Settings

SENT = "Email Sent"
# How a send ended → the event. All others of metrics.OUTCOMES are "Email Skipped".
ENDED: Mapping[str, str] = {
    "sent": SENT,
    "fallback_sent": SENT,
    "rejected": "Email Failed",
    "dead": "Email Failed",
    "unknown": "Email Unconfirmed",
}
SKIPPED = "Email Skipped"
# What an ESP reports of a mail → the event, by the names of Segment's spec for email where it has some. `accepted` says
# what "Email Sent" has said.
REPORTED: Mapping[str, str] = {
    "delivered": "Email Delivered",
    "deferred": "Email Deferred",
    "bounced": "Email Bounced",
    "soft_bounced": "Email Soft Bounced",
    "dropped": "Email Dropped",
    "complained": "Email Marked as Spam",
    "unsubscribed": "Unsubscribed",
    "resubscribed": "Subscribed",
    "opened": "Email Opened",
    "clicked": "Email Link Clicked",
}
EVENTS: tuple[str, ...] = tuple(dict.fromkeys((*ENDED.values(), SKIPPED, *REPORTED.values())))
# These happen to a send once, whoever says so and when: the message id of a repetition is the same.
ONCE = frozenset({*ENDED.values(), SKIPPED})
MESSAGE_ID = "freshgate-outcome-"


class Outcome(NamedTuple):
    """One outcome. The fields stand in Redis in this order; empty texts say nothing.

    event      one of EVENTS
    outcome    our word for it: "sent", "capped", "bounced", "unsubscribed"
    reason     the rule that decided, or the ESP's own words
    trigger, send_id, esp
               whose mail it is about
    person     the person's record
    at         when it happened (ms)
    address    the recipient's, where the settings ask for it
    """

    event: str
    outcome: str
    reason: str = ""
    trigger: str = ""
    send_id: str = ""
    esp: str = ""
    person: str = ""
    at: int = 0
    address: str = ""

    def message_id(self, shop: str) -> str:
        """The same whenever this outcome is sent, and for each telling of what happens once."""
        parts = [shop, self.event, self.send_id or self.person, self.trigger, self.outcome, self.reason]
        if self.event not in ONCE:
            parts.append(str(self.at))
        elif self.event == SENT:
            parts = parts[:3]
        return MESSAGE_ID + blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=12).hexdigest()


class OutcomeRules(msgspec.Struct, frozen=True):
    """What a shop wants to hear, as the settings say.

    events    of EVENTS
    backlog   how many may wait; beyond that the oldest go
    """

    events: frozenset[str]
    backlog: int
    include_address: bool = False

    def to_write(self, outcome: Outcome) -> dict[str, Any]:
        """What Redis is told: the outcome, and how a send is told of that turns out to have left (`outcomes.lua`)."""
        address = outcome.address if self.include_address else ""
        fields = outcome._replace(event=self._wanted(outcome.event), address=address)
        return {
            "backlog": self.backlog,
            "fields": [str(value) for value in fields],
            "sent": self._wanted(SENT),
        }

    def _wanted(self, event: str) -> str:
        return event if event in self.events else ""


def rules_of(settings: Settings) -> dict[str, OutcomeRules]:
    """shop → what it wants to hear; of others nothing is written."""
    return {
        shop: OutcomeRules(frozenset(wish.events or EVENTS), wish.backlog, wish.include_address)
        for shop, wish in settings.outcomes.items()
    }


def event_of(outcome: str) -> str:
    """The event of a send that ended so."""
    return ENDED.get(outcome, SKIPPED)


def is_outcome(message_id: str) -> bool:
    """Whether a CDP sends back what we sent it: such an event is counted and changes nothing, or a mail about a mail
    could follow for ever."""
    return message_id.startswith(MESSAGE_ID)
