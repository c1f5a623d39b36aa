"""What a test of a catalog says: what happened, how time passed, which mails left and why others did not.

`engine.py` carries it out.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from adapter.commands.operate import why
from adapter.ingest.quarantine import QuarantinedElement
from adapter.sources import SOURCES
from adapter.sources.base import RequestContext
from adapter.sources.unverified import readable
from freshgate.catalogs import load_event_types, load_triggers
from freshgate.durations import parse_duration
from freshgate.events import Event
from freshgate.settings import Settings, SourceSettings
from freshgate.testing.answers import Answers
from freshgate.testing.engine import Engine, valkey_url
from workers.esp.base import Message, SendResult

# 2026-09-21T14:13:20Z
START = 1_790_000_000_000
SECOND = 1000
# More deliveries at one moment than any test has: a trigger that comes back at once would never end.
MAX_DELIVERIES = 10_000


class Mail(msgspec.Struct, frozen=True):
    """A mail that the ESP was handed: its trigger, the recipient, the template and its data, and when (ms UTC)."""

    trigger: str
    to: str
    template_id: str
    template_data: Mapping[str, Any]
    at: int


class World:
    """One shop with a catalog, from what happens to the mails. It begins empty, at a fixed time.

    catalog  the package's name; its triggers are as declared, without the settings' overrides
    now      the clock, in ms UTC; `wait` moves it
    mails    what left so far, oldest first
    asked    path and query of each request to a source of truth, oldest first
    """

    def __init__(self, catalog: str = "catalog") -> None:
        settings = Settings(catalog=catalog, redis_url=valkey_url(), pii_key="a key for tests")
        self.now = START
        self.mails: list[Mail] = []
        self.event_types = {event_type.name: event_type for event_type in load_event_types(settings)}
        self.triggers = {trigger.name: trigger for trigger in load_triggers(settings)}
        self._settings = settings
        self._count = 0
        esp = _RecordingEsp(self)
        events, triggers = [*self.event_types.values()], [*self.triggers.values()]
        self._answers = Answers()
        self.asked = self._answers.paths
        self._engine = Engine(settings, events, triggers, esp, lambda: self.now, self._answers)

    def event(
        self,
        name: str,
        *,
        user: str | None = None,
        anon: str | None = None,
        email: str | None = None,
        ago: str | int = 0,
        message_id: str = "",
        **fields: Any,
    ) -> Event:
        """An event of the catalog that occurred `ago` ("25h", or ms) and arrives now; nothing is recorded yet.

        Fields have the types of `Event.fields`: money is Decimal, a product is Product. Raises ValueError for a field
        or an event type that the catalog does not declare.
        """
        event_type = self.event_types.get(name)
        if event_type is None:
            raise ValueError(f"the catalog has no event type {name!r}")
        unknown = sorted(fields.keys() - event_type.fields.keys())
        if unknown:
            raise ValueError(f"{name} has no field {unknown[0]!r}; known: {', '.join(event_type.fields) or 'none'}")
        self._count += 1
        return Event(
            source="test",
            id_space="main",
            name=name,
            message_id=message_id or f"m{self._count}",
            occurred_at=self.now - _ms(ago),
            received_at=self.now,
            user_id=user,
            anonymous_id=anon,
            email=email,
            fields=fields,
        )

    def record(self, *events: Event) -> dict[str, int]:
        """Record events as one request; returns how many had each verdict. Mails leave when the test waits."""
        return _counts(self._engine.record(events))

    def receive(self, kind: str, payload: Any, **context: str) -> dict[str, int]:
        """Read a body as a source of that kind does, and record it: a dict or list as JSON, bytes as they are.

        context  what the request says beside its body: `content_type`; `audience` and `turn` of an audience's URL
        """
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        settings = readable(SourceSettings(kind=kind))
        source = SOURCES[kind].configure("test", settings, [*self.event_types.values()])
        # An element of the quarantine is read and recorded without a signature.
        element = QuarantinedElement("test", body, self.now, msgspec.convert(context, RequestContext))
        return _counts(self._engine.receiver.replay_element(source, element))

    def wait(self, duration: str | int = 0) -> None:
        """Let time pass ("30m", or ms): what is due on the way is decided at its time; what is due at once, first."""
        target = self.now + _ms(duration)
        for _ in range(MAX_DELIVERIES):
            timers = self._engine.due_timers(target)
            if not timers:
                self.now = target
                return
            timer, due = timers[0]
            self.now = max(self.now, due)
            self._engine.deliver(timer)
        raise AssertionError(f"sends come back for ever, such as {timers[0][0]}")

    def answer(self, ask: str, reply: Any) -> None:
        """From now on the source of truth of that name answers this JSON. Before, it does not answer at all."""
        self._answers.replies[ask] = reply

    def outcomes(self, person: str) -> list[tuple[str, str]]:
        """(trigger, outcome) of each decision on mails to the person (an id or an address), oldest first."""
        return [(entry["trigger"], entry["state"]) for entry in self.trail(person) if entry["kind"] == "decision"]

    def trail(self, person: str) -> list[dict[str, Any]]:
        """The person's events and decisions with their reasons, oldest first, as `why --json` prints them."""
        printed = self._why(person, as_json=True)
        trail: list[dict[str, Any]] = json.loads(printed)["trail"] if printed else []
        return trail

    def why(self, person: str) -> str:
        """The same for people, as `why` prints it; empty for a person of whom nothing is known."""
        return self._why(person, as_json=False)

    def _why(self, person: str, *, as_json: bool) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(io.StringIO()):
            why.main(self._settings, person, as_json=as_json)
        return printed.getvalue()


class _RecordingEsp:
    """An ESP that accepts each mail, and adds it to the world's."""

    name = "test"

    def __init__(self, world: World) -> None:
        self._world = world

    def prepare(self) -> None:
        pass

    def send(self, message: Message) -> SendResult:
        # As an ESP would: what is not JSON cannot leave.
        template_data = json.loads(json.dumps(dict(message.template_data), allow_nan=False))
        mail = Mail(message.trigger, message.to, message.template_id, template_data, self._world.now)
        self._world.mails.append(mail)
        return SendResult(provider_id=f"mail-{len(self._world.mails)}", status=202)

    def close(self) -> None:
        pass


def _ms(duration: str | int) -> int:
    ms = parse_duration(duration) if isinstance(duration, str) else duration
    if ms is None:
        raise ValueError(f'{duration!r} is not a duration; write one such as "30m"')
    return ms


def _counts(reply: Any) -> dict[str, int]:
    return {verdict: getattr(reply, verdict) for verdict in ("accepted", "duplicate", "ignored", "refused")}
