"""Stands in for sources of truth in the tests of a catalog: answers what the test says, and remembers what was asked.

`world.py` hands it to the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from workers.asker import Asking
from workers.asks import AskAnswer, AskRequest, convert_answer, pick_answer


class Answers:
    """`replies` are JSON by the name of the Ask; without one, there is no answer. `paths` is what was asked."""

    def __init__(self) -> None:
        self.replies: dict[str, Any] = {}
        self.paths: list[str] = []
        self._answers: dict[str, AskAnswer] = {}

    def answer_of(self, request: AskRequest, now: int) -> AskAnswer | None:
        answer = self._answers.get(request.key)
        return answer if answer and (answer.at >= request.since if answer.is_answered else answer.at == now) else None

    def ask(self, shop: str, requests: Sequence[AskRequest], now: int, done: Callable[[], object]) -> Asking:
        for request in requests:
            if self.answer_of(request, now) is None:
                self.paths.append(request.path)
                self._answers[request.key] = self._reply(request, now)
        return "answered"

    def _reply(self, request: AskRequest, now: int) -> AskAnswer:
        if request.ask.name not in self.replies:
            return AskAnswer("timeout", now)
        value = convert_answer(pick_answer(request.ask, self.replies[request.ask.name]), request.type)
        return AskAnswer("wrong_type", now, None, 200) if value is None else AskAnswer("answered", now, value, 200)
