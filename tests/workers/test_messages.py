"""What an ESP that stores no templates gets: a mail in the reader's language, or a refusal before it is asked."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from freshgate.state import keys
from freshgate.templates import Templates
from tests.engine.world import RememberingEsp, World
from workers.courier import Courier
from workers.esp.base import Message, SendResult
from workers.messages import Messages

TEXTS = {
    "welcome.subject": "Welcome {{ first_name }}",
    "welcome.txt": "Hello",
    "welcome.de.subject": "Willkommen {{ first_name }}",
    "welcome.de.txt": "Hallo",
}


class RenderingEsp(RememberingEsp):
    """Renders each mail before it takes it, as a kind without stored templates does."""

    def __init__(self) -> None:
        super().__init__()
        self.subjects: list[str] = []

    def send(self, message: Message) -> SendResult:
        self.subjects.append(message.render().subject)
        return super().send(message)


def welcomed(redis: Redis, texts: dict[str, str], **fields: Any) -> World:
    """Ada signs up; an ESP without stored templates gets her welcome."""
    world = World(redis, esp=RenderingEsp())
    messages = Messages(Templates(texts))
    world.courier = Courier(
        redis, world.triggers, world.esp, world.lookup(), 10_000, clock=lambda: world.now, messages=messages
    )
    world.record(world.event("Signed Up", user="ada", email="ada@example.com", first_name="Ada", **fields))
    world.run()
    return world


@pytest.mark.parametrize(("locale", "subject"), [("de-AT", "Willkommen Ada"), ("fr", "Welcome Ada")])
def test_the_reader_gets_the_mail_in_their_language(redis: Redis, locale: str, subject: str) -> None:
    world = welcomed(redis, TEXTS, locale=locale)
    assert isinstance(world.esp, RenderingEsp)
    assert world.esp.subjects == [subject]
    assert world.outcomes("ada") == [("welcome", "sent")]


def test_a_send_that_lacks_what_its_template_needs_is_rejected_before_the_esp_has_it(redis: Redis) -> None:
    world = welcomed(redis, {**TEXTS, "welcome.txt": "{{ coupon }}"})
    assert world.esp.mails == []
    assert world.outcomes("ada") == [("welcome", "rejected")]
    assert world.decisions("ada")[-1]["said"] == "template welcome.txt needs coupon"
    assert redis.zcard(keys.operator_list("main", "rejected")) == 1


def test_without_a_template_the_send_is_rejected_and_says_so(redis: Redis) -> None:
    world = welcomed(redis, {})
    assert world.decisions("ada")[-1]["said"] == "there is no template 'welcome'"
