"""A world of the engine's tests whose ESP reports what became of the mails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from redis import Redis

from adapter.feedback.base import MAX_BYTES, FeedbackEvent, FeedbackRequest
from adapter.ingest.feedback import FeedbackReceiver, FeedbackReply
from catalog import TRIGGERS
from freshgate.outcomes import rules_of
from freshgate.settings import EspSettings, OutcomeSettings, Settings, SourceSettings
from freshgate.state.clock import RedisClock
from tests.engine.world import HOUR, MINUTE, PII_KEY, World, product
from workers.courier import Courier

ADA = "ada@example.com"


class AnyReader:
    """Takes any request, and reads the events that the test has put there."""

    max_bytes = MAX_BYTES

    def __init__(self) -> None:
        self.events: Sequence[FeedbackEvent] = ()

    def verify(self, request: FeedbackRequest) -> None:
        pass

    def read(self, request: FeedbackRequest) -> Sequence[FeedbackEvent]:
        return self.events


class ReportingWorld(World):
    """A world whose ESP reports back: `report` is one request of it."""

    def __init__(
        self, client: Redis, unknown: str = "hold", outcomes: OutcomeSettings | None = None, **esp: Any
    ) -> None:
        settings = Settings(
            pii_key=PII_KEY.decode(),
            sources={"shop": SourceSettings(kind="segment")},
            esps={"sendgrid": EspSettings(feedback_secrets=("any",), **esp)},
            outcomes={"main": outcomes} if outcomes else {},
        )
        triggers = [replace(trigger, unknown=unknown) for trigger in TRIGGERS]
        super().__init__(client, triggers, outcomes=rules_of(settings))
        self.reader = AnyReader()
        clock = RedisClock(lambda: self.now, lambda _skew: None)
        self.feedback = FeedbackReceiver(client, settings, {"sendgrid": self.reader}, list(self.triggers), clock)

    def new_courier(self) -> Courier:
        return Courier(
            self.client,
            self.triggers,
            self.esp,
            self.lookup(),
            deadline_ms=10_000,
            clock=lambda: self.now,
            feedback_wait_ms=10 * MINUTE,
            outcomes=self.rules,
        )

    def report(self, kind: Any, send: str = "", *, email: str | None = ADA, at: int | None = None) -> FeedbackReply:
        return self.report_all(self.feedback_event(kind, send, email=email, at=at))

    def report_all(self, *events: FeedbackEvent) -> FeedbackReply:
        self.reader.events = events
        return self.feedback.receive("sendgrid", FeedbackRequest(b"", {}, {}, self.now / 1000))

    def feedback_event(
        self, kind: Any, send: str = "", *, email: str | None = ADA, at: int | None = None
    ) -> FeedbackEvent:
        return FeedbackEvent(kind=kind, at=self.now if at is None else at, email=email, send_id=send, reason="550")

    def order(self, order_id: str = "1", *, user: str = "ada", email: str = ADA) -> str:
        """Confirms an order; returns the send's id, also where the ESP failed."""
        self.record(self.event("Order Completed", user=user, email=email, order_id=order_id))
        self.run()
        self.now += HOUR
        return str(self.decisions(user)[-1].get("send", ""))

    def abandon(self) -> list[tuple[str, str]]:
        """Leaves a cart, waits for its mail; the outcomes of it."""
        self.record(self.event("Product Added", user="ada", email=ADA, product=product("lamp")))
        self.run(self.now + HOUR)
        return [outcome for outcome in self.outcomes("ada") if outcome[0] == "abandoned_cart"]
