"""What a decision reads, and what it says. `gate.py` decides, `needs.py` looks at the ages of fields.

`lookup.py` builds the records, `decider.py` carries the decision out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from freshgate.needs import Fallback
from freshgate.state import keys
from freshgate.state.orders import OrderView
from freshgate.state.records import Claim, Mark
from freshgate.state.views import AddressHolder, AddressView, PersonView, SubjectView
from workers.asks import AskAnswer, AskRequest


class NeedAnswer(NamedTuple):
    """How fresh a needed field was at the decision, and what came of it.

    field   its name: "cart.prices"
    state   fresh, stale or missing
    result  used, session (another event of the session told it), placeholder, refreshed, default, left_out, fallback or
            skip
    at      when it was told (ms), of one that is refreshed when it was asked for; 0 where it is missing
    """

    field: str
    state: Literal["fresh", "stale", "missing"]
    result: Literal["used", "session", "placeholder", "refreshed", "default", "left_out", "fallback", "skip"]
    at: int


class AskNote(NamedTuple):
    """What came of asking for a field, for the trail. `at` is in ms; without an answer, `value` is None."""

    field: str
    ask: str
    result: str
    at: int
    value: Any
    status: int | None


class Records(msgspec.Struct):
    """Everything that one decision reads. Times in milliseconds UTC.

    timer       the send's timer, by its present name
    due         when it is due; None where the send has no timer any more, so that nothing is to be done
    address     None while the recipient's address is not known
    mailbox     what mails to the address are counted with, where the address is an alias of another
    others      other persons who had the address: what they refused, their newest order, and the revision
    refused_at, refused_since
                when events of the shop were refused last, and since when they are; 0 where that is long ago
    sent_until  mails that were due until then may have left before the store was restored; 0 where it was not
    asked       what sources of truth answered, by the requests' keys
    """

    timer: keys.TimerRef
    due: int | None
    person: PersonView
    order: OrderView | None = None
    address: AddressView | None = None
    mailbox: AddressView | None = None
    others: list[AddressHolder] = msgspec.field(default_factory=list)
    shop: str = "main"
    refused_at: int = 0
    refused_since: int = 0
    sent_until: int = 0
    asked: Mapping[str, AskAnswer] = {}

    @property
    def counted(self) -> AddressView | None:
        """Whose mails the caps count: all aliases of one mailbox are one address there."""
        return self.mailbox or self.address

    @property
    def subject(self) -> PersonView | OrderView:
        """Whose send it is: its timer and its claims stand there."""
        return self.person if self.order is None else self.order

    @property
    def trail(self) -> str:
        """Id of the record on whose trail the decision stands: where nobody knows who completed an order, whoever told
        it first. Empty where nobody did."""
        return self.person.id or (self.order and self.order.buyer) or ""

    @property
    def about(self) -> OrderView | SubjectView | None:
        """What the mail is about besides the person: the second argument of the trigger's functions."""
        return self.person.subject(self.timer.values) if self.timer.values else self.order

    def answered(self, answers: Mapping[str, Any]) -> tuple[PersonView, OrderView | SubjectView | None]:
        """Person and subject as the trigger's functions read them, with what stands in the place of some fields."""
        if not answers:
            return self.person, self.about
        person, about = self.person.with_answers(answers), self.about
        if isinstance(about, OrderView):
            return person, about.with_answers(answers)
        return person, about and person.subject(about.key)

    def mark(self, name: str) -> Mark | None:
        """The newest mark of what the mail is about."""
        return (self.about or self.person).mark(name)


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do with a send, and why. All times are milliseconds UTC.

    do           send
                 withhold  for good, with an outcome
                 retime    decide again at `due`
                 park      wait for an address, at most until `due`
                 orphan    a worker died between claim and settle: `claim` is what it left
                 ask       decide again once `requests` are answered, or are known to have no answer
    outcome      of `withhold`: one of the closed set
    reason       the rule that decided
    version      which state of the subject the mail is about; "" where the trigger sends once for ever
    occurred_at  when the newest event that the mail is about occurred
    attempts     how often this version was tried
    limit        how old the mail may be: the trigger's max_age, or what a replay raised it to
    to           the recipient's address
    compared     the times that the rule compared, by name, for the trail
    needs        how fresh each needed field was
    answers      field → what stands in its place in the mail, or None: see `PersonView.with_answers`
    fallback     of `send`: the mail that leaves in place of the trigger's own
    segment      of a fallback: which of its segment's kind the person is in
    requests     of `ask`: what to ask of whom
    asked        what came of asking
    """

    do: Literal["send", "withhold", "retime", "park", "orphan", "ask"]
    outcome: str = ""
    reason: str = ""
    due: int = 0
    version: str = ""
    occurred_at: int = 0
    attempts: int = 0
    limit: int = 0
    to: str = ""
    claim: Claim | None = None
    compared: Mapping[str, int] = {}
    needs: tuple[NeedAnswer, ...] = ()
    answers: Mapping[str, Any] = {}
    fallback: Fallback | None = None
    segment: str = ""
    requests: tuple[AskRequest, ...] = ()
    asked: tuple[AskNote, ...] = ()

    @property
    def refreshed(self) -> Mapping[str, Any]:
        """The fields for which a source of truth stands, and what it answered."""
        last = {need.field: need.result for need in self.needs}
        return {field: self.answers[field] for field, result in last.items() if result == "refreshed"}
