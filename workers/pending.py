"""A send on its way through a lane: first to be decided on, then claimed, with its mail.

`intake.py` and `decider.py` make them; `calls.py` brings the claimed ones to an end.
"""

from __future__ import annotations

import msgspec

from freshgate.declare import Trigger
from freshgate.queue import Item
from freshgate.state.records import Claim
from freshgate.telemetry import tracing
from workers.decisions import Decision, Records
from workers.esp.base import Message


class PendingSend(msgspec.Struct, eq=False):
    """A send that is to be decided on.

    expires_at  the end of its job's budget (monotonic seconds)
    is_counted  whether its coming back was counted already
    was_called  whether the ESP was called for it
    is_aside    whether it waits for a source of truth, and comes back to a lane
    """

    trigger: Trigger
    item: Item
    records: Records
    expires_at: float
    span: tracing.OpenSpan | tracing.NoSpan
    is_counted: bool = False
    was_called: bool = False
    is_aside: bool = False


class ClaimedSend(msgspec.Struct, frozen=True, eq=False):
    """A send that the gate let through, claimed on exactly what was decided on, with its mail.

    earlier  its attempt before this one
    """

    pending: PendingSend
    decision: Decision
    claim: Claim
    message: Message
    earlier: Claim | None = None

    @property
    def possible_at(self) -> str:
        """The account that may have the mail from before, where another one could be asked; else ""."""
        return self.earlier.account if self.earlier else ""

    @property
    def trigger(self) -> Trigger:
        return self.pending.trigger

    @property
    def records(self) -> Records:
        return self.pending.records
