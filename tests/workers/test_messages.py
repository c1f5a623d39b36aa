"""What an ESP that stores no templates gets: a mail in the reader's language, or a refusal before it is asked."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis

from catalog import EVENTS
from freshgate import Fallback, Needs, Segment, Trigger
from freshgate.links import Links, LinkTokens
from freshgate.state import keys
from freshgate.templates import Templates
from tests.engine.test_needs import PING, PINGED, PROFILED
from tests.engine.world import PII_KEY, RememberingEsp, World
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
    messages = Messages(Templates(texts) if texts else None)
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


def rendered(redis: Redis, trigger: Trigger, texts: dict[str, str], links: Links | None = None) -> World:
    """Ada pings; an ESP without stored templates gets the mail."""
    world = World(redis, (trigger,), RenderingEsp(), events=(*EVENTS, PROFILED, PING))
    world.courier = Courier(
        redis,
        world.triggers,
        world.esp,
        world.lookup(),
        10_000,
        clock=lambda: world.now,
        messages=Messages(Templates(texts), links),
    )
    world.record(world.event("Identify", user="ada", email="ada@example.com"))
    world.record(world.event("Pinged", user="ada", title="Hello"))
    world.run()
    return world


LINKS = Links(LinkTokens(PII_KEY), "https://mails.shop.example")


def test_a_marketing_mail_has_its_link_in_its_text_and_a_transactional_one_has_none_to_show(redis: Redis) -> None:
    texts = {"pinged.subject": "{{ title }} {{ unsubscribe_url }}", "pinged.txt": "x"}
    marketing = replace(PINGED, kind="marketing", cap=(9, 86_400_000))
    world = rendered(redis, marketing, texts, LINKS)
    assert isinstance(world.esp, RenderingEsp)
    link = world.esp.mails[0].headers["List-Unsubscribe"].strip("<>")
    assert world.esp.subjects == [f"Hello {link}"]
    redis.flushdb()
    world = rendered(redis, PINGED, texts, LINKS)
    assert world.decisions("ada")[-1]["said"] == "template pinged.subject needs unsubscribe_url"


@pytest.mark.parametrize(("template", "subject"), [("broad", "Broad Hello gold"), (None, "Own Hello gold")])
def test_a_fallback_has_its_own_template_or_the_triggers_and_its_segment_beside_the_data(
    redis: Redis, template: str | None, subject: str
) -> None:
    gold = Segment(name="loyal", value=lambda person: "gold")
    fallback = Fallback(template_id="d-broad", template=template, segment=gold)
    texts = {
        "pinged.subject": "Own {{ title }} {{ segment }}",
        "pinged.txt": "x",
        "broad.subject": "Broad {{ title }} {{ segment }}",
        "broad.txt": "x",
    }
    world = rendered(redis, replace(PINGED, needs=(Needs("profile.city", otherwise=fallback),)), texts)
    assert isinstance(world.esp, RenderingEsp)
    assert world.esp.subjects == [subject]
