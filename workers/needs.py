"""Decides on the fields that a mail needs: fresh enough, answered by something else, a fallback, or no mail.

Pure, as `gate.py`, which asks it last; `freshgate/needs.py` has the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from freshgate.asks import Ask
from freshgate.declare import Trigger
from freshgate.needs import Fallback, Needs, Segment
from freshgate.state.fields import FieldValue, read_field
from freshgate.state.records import Mark
from freshgate.state.subjects import describe
from workers.asks import AskRequest, build_request, covers
from workers.decisions import AskNote, Decision, NeedAnswer, Records

State = Literal["fresh", "stale", "missing"]


class _Judge:
    """Looks at needs one after the other, and remembers what stands in the place of those that fail."""

    def __init__(self, records: Records, now: int, mark: Mark | None) -> None:
        self._records = records
        self._mark = mark
        self._now = now
        self.needs: list[NeedAnswer] = []
        self.answers: dict[str, Any] = {}
        self.requests: list[AskRequest] = []
        self.asked: list[AskNote] = []
        # When the source of truth was asked for the fields that it answered, for the mail before a fallback, too.
        self._refreshed: dict[str, int] = {}

    def judge(self, needs: Sequence[Needs]) -> Needs | None:
        """The need that decides: the first that has a fallback, else the first that keeps the mail back; or None, also
        while `requests` have no answer."""
        failing = [need for need in needs if not self._is_met(need)]
        open_fields = {request.field for request in self.requests}
        decider = next((need for need in failing if isinstance(need.answer, Fallback)), None)
        decider = decider or next((need for need in failing if need.name not in open_fields), None)
        if decider is None or decider.name in open_fields:
            return None
        # Another field decides, whatever somebody would answer.
        self.requests.clear()
        return decider

    def reason(self, failed: NeedAnswer) -> str:
        """Why there is no mail: "cart_prices_stale", and "_no_answer" where a source of truth gave none that counts."""
        was_asked = any(note.field == failed.field for note in self.asked)
        return f"{failed.field.replace('.', '_')}_{failed.state}" + ("_no_answer" if was_asked else "")

    def _is_met(self, need: Needs) -> bool:
        state, value = self._read(need.field, need.fresh_for)
        refreshed_at = self._refreshed.get(need.name)
        if refreshed_at is not None and (need.fresh_for is None or self._now - refreshed_at <= need.fresh_for):
            # The answer is newer than whatever was told.
            self.needs.append(NeedAnswer(need.name, state, "refreshed", refreshed_at))
            return True
        if state == "fresh" and value and value.from_session:
            self._note(need, "missing", "session", value)
            self.answers[need.name] = value.value
            return True
        if state == "fresh":
            self._note(need, state, "used", value)
            # What was too old for the mail before this fallback, or as a whole, is no longer left out.
            for name in (need.name, need.name.partition(".")[0]):
                self.answers.pop(name, None)
            if need.name.startswith("profile.") and value:
                # A page's, where the server's is too old.
                self.answers[need.name] = value.value
            return True
        if need.placeholder:
            stand_in, held = self._read(need.placeholder, need.fresh_for)
            if stand_in == "fresh" and held:
                self._note(need, state, "placeholder", held)
                self.answers[need.name] = held.value
                return True
        if need.ask and self._is_refreshed(need, need.ask, state):
            return True
        answer = need.answer
        result: Any = "fallback" if isinstance(answer, Fallback) else answer
        self._note(need, state, result, value)
        self.answers[need.name] = need.default
        return result in ("default", "leave_out")

    def _is_refreshed(self, need: Needs, ask: Ask, state: State) -> bool:
        """Whether a source of truth answered for the field; otherwise it is noted why not, or what to ask."""
        person, about = self._records.person, self._records.about
        request = build_request(ask, need.name, person, about, self._now, need.fresh_for)
        if request is None:
            self.asked.append(AskNote(need.name, ask.name, "nothing_to_ask", self._now, None, None))
            return False
        answer = self._records.asked.get(request.key)
        if answer is None:
            self.requests.append(request)
            return False
        is_complete = answer.is_answered and (need.name != "cart.prices" or covers(answer.value, person.cart))
        result = "incomplete" if answer.is_answered and not is_complete else answer.result
        shown = describe(answer.value) if answer.is_answered else None
        self.asked.append(AskNote(need.name, ask.name, result, answer.at, shown, answer.status))
        if is_complete:
            self.needs.append(NeedAnswer(need.name, state, "refreshed", answer.at))
            self.answers[need.name] = answer.value
            self._refreshed[need.name] = answer.at
        return is_complete

    def _note(self, need: Needs, state: State, result: str, value: FieldValue | None) -> None:
        word: Any = "left_out" if result == "leave_out" else result
        self.needs.append(NeedAnswer(need.name, state, word, value.at if value else 0))

    def _read(self, field: str | Segment, fresh_for: int | None) -> tuple[State, FieldValue | None]:
        if isinstance(field, Segment):
            return self._read_segment(field)
        since = None if fresh_for is None else self._now - fresh_for
        value = read_field(field, self._records.person, self._records.about, since, self._mark)
        if value is None:
            return "missing", None
        return ("stale" if since is not None and value.at < since else "fresh"), value

    def _read_segment(self, segment: Segment) -> tuple[State, FieldValue | None]:
        """The segment's value, as old as the oldest field that it relies on."""
        ages = []
        for need in segment.needs:
            state, value = self._read(need.field, need.fresh_for)
            if state != "fresh" or value is None:
                return state, value
            ages.append(value.at)
        member = segment.value(self._records.person)
        return ("fresh", FieldValue(member, min(ages, default=0))) if member else ("missing", None)

    def value_of(self, segment: Segment) -> str:
        _, value = self._read_segment(segment)
        return str(value.value) if value else ""


def apply_needs(trigger: Trigger, records: Records, send: Decision, now: int) -> Decision:
    """The send with what stands in the place of stale fields, or with the fallback that leaves; or `stale`.

    A field of which `fresh_for` has passed by a millisecond is stale.
    """
    needs = trigger.field_needs
    if not needs:
        return send
    judge = _Judge(records, now, records.mark(trigger.about))
    failing, fallback = judge.judge(needs), None
    while failing is not None:
        answer = failing.answer
        following = answer if isinstance(answer, Fallback) else fallback and fallback.otherwise
        if following is None:
            last = judge.needs[-1]
            failed = next((need for need in reversed(judge.needs) if need.field == failing.name), last)
            ages = {need.field: need.at for need in judge.needs if need.at}
            return msgspec.structs.replace(
                send,
                do="withhold",
                outcome="stale",
                reason=judge.reason(failed),
                compared={**send.compared, **ages},
                needs=tuple(judge.needs),
                asked=tuple(judge.asked),
            )
        fallback = following
        own = [Needs(fallback.segment)] if fallback.segment else []
        failing = judge.judge([*own, *fallback.needs])
    if judge.requests:
        return msgspec.structs.replace(send, do="ask", requests=tuple(judge.requests))
    segment = judge.value_of(fallback.segment) if fallback and fallback.segment else ""
    refreshed = {need.field: need.at for need in judge.needs if need.result == "refreshed"}
    return msgspec.structs.replace(
        send,
        compared={**send.compared, **refreshed},
        needs=tuple(judge.needs),
        answers=judge.answers,
        fallback=fallback,
        segment=segment,
        asked=tuple(judge.asked),
    )
