"""Which spans there are, how they are connected, and that what is not sampled makes none. One process, a real Redis.

`test_timer_spans.py` tests the traces that a timer starts.
"""

from __future__ import annotations

import io
import json
import sys
import zlib
from secrets import token_hex
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from redis import Redis

from adapter.ingest.receive import Receiver
from freshgate.errors import EspError
from freshgate.events import Event
from freshgate.queue import Job
from freshgate.routing import Routes
from freshgate.state import keys
from freshgate.telemetry import logs, tracing
from tests.engine.world import HOUR, MINUTE, World, product
from workers.courier import Courier

ADA, GIFT = "ada.lovelace@example.com", "gift@example.com"
CALLER = f"00-{'ab' * 16}-{'cd' * 8}-01"
QUEUE = "rq:queue:freshgate-test"


class Shop:
    """A world whose spans are remembered; `chance` is what the die shows, from 0 to 1."""

    def __init__(self, redis: Redis, ratio: float = 0.5) -> None:
        self.remembered = InMemorySpanExporter()
        provider = TracerProvider(sampler=ALWAYS_ON)
        provider.add_span_processor(SimpleSpanProcessor(self.remembered))
        self.chance = 0.0
        self.traces = tracing.Traces(provider, ratio, chance=lambda: self.chance)
        self.redis, self.world = redis, World(redis)
        self.world.receiver = Receiver(redis, self.world.planner, Routes(["test"]), self.traces, lambda: self.world.now)
        lookup = self.world.lookup()
        self.world.courier = Courier(
            redis, self.world.triggers, self.world.esp, lookup, 10_000, lambda: self.world.now, self.traces
        )

    def request(self, *events: Event, traceparent: str | None = None) -> None:
        with self.traces.request("segment", traceparent):
            self.world.record(*events)

    def jobs(self) -> list[dict[str, Any]]:
        """What workers would be handed; taken from the queue."""
        taken = []
        while job_id := self.redis.lpop(QUEUE):
            packed: Any = self.redis.hget(f"rq:job:{job_id.decode()}", "data")  # type: ignore[union-attr]  # redis' types know no bytes
            taken.append(json.loads(zlib.decompress(packed))[2][0])
        return taken

    def work(self) -> None:
        for job in self.jobs():
            self.world.courier.deliver(msgspec.convert(job, Job))

    def spans(self, trace: int | None = None) -> dict[str, ReadableSpan]:
        spans = [span for span in self.remembered.get_finished_spans() if trace in (None, span.context.trace_id)]
        assert len({span.name for span in spans}) == len(spans), [span.name for span in spans]
        return {span.name: span for span in spans}

    def order(self, number: str = "1", **more: Any) -> Event:
        return self.world.event(
            "Order Completed", user="ada", email=ADA, order_id=number, products=(product("mug"),), **more
        )

    def cart(self, **more: Any) -> Event:
        return self.world.event("Product Added", user="ada", email=ADA, product=product("mug"), **more)


@pytest.fixture
def shop(redis: Redis) -> Shop:
    return Shop(redis)


def parent(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def test_a_send_is_one_connected_trace_that_continues_the_callers(shop: Shop) -> None:
    shop.request(shop.order(), traceparent=CALLER)
    shop.work()
    spans = shop.spans()
    chain = ["webhook", "send freshgate-test", "process freshgate-sendgrid", "decide", "call sendgrid"]
    assert list(sorted(spans)) == sorted(chain)
    assert [spans[name].kind for name in chain] == [
        SpanKind.SERVER,
        SpanKind.PRODUCER,
        SpanKind.CONSUMER,
        SpanKind.INTERNAL,
        SpanKind.CLIENT,
    ]
    assert {span.context.trace_id for span in spans.values()} == {int("ab" * 16, 16)}
    assert parent(spans["webhook"]) == int("cd" * 8, 16)
    for upper, lower in zip(chain, chain[1:], strict=False):
        assert parent(spans[lower]) == spans[upper].context.span_id
    attributes = {name: dict(span.attributes or {}) for name, span in spans.items()}
    written, read = attributes["send freshgate-test"], attributes["process freshgate-sendgrid"]
    assert len(str(written["messaging.message.id"])) == 36
    assert written["messaging.message.id"] == read["messaging.message.id"]
    assert attributes["call sendgrid"]["http.response.status_code"] == 202
    decided = attributes["decide"]
    assert decided["freshgate.trigger"] == "order_confirmation"
    assert decided["freshgate.outcome"] == "sent"
    assert decided["freshgate.send"] == dict(spans["call sendgrid"].attributes or {})["freshgate.send"]


@pytest.mark.parametrize("flags", ["00", "01"])
def test_whether_we_sample_is_not_for_the_caller_to_say(shop: Shop, flags: str) -> None:
    traceparent = f"{CALLER[:-2]}{flags}"
    shop.request(shop.order("1"), traceparent=traceparent)
    assert len(shop.spans()) == 2
    (job,) = shop.jobs()
    assert job["trace"].endswith("-01")
    shop.remembered.clear()
    shop.chance = 0.9
    shop.request(shop.order("2"), traceparent=traceparent)
    shop.work()
    assert shop.spans() == {}


@pytest.mark.parametrize(
    "traceparent", [None, "", "x", f"00-{'0' * 32}-{'c' * 16}-01", f"ff-{'a' * 32}-{'c' * 16}-01", CALLER[:-3], "é\n"]
)
def test_a_malformed_traceparent_begins_a_trace_of_our_own(shop: Shop, traceparent: str | None) -> None:
    shop.request(shop.order(), traceparent=traceparent)
    assert shop.spans()["webhook"].parent is None


def test_what_is_not_sampled_leaves_nothing_anywhere(shop: Shop) -> None:
    shop.chance = 0.5
    shop.request(shop.order(), shop.cart(at=shop.world.now + 6 * MINUTE), traceparent=CALLER)
    (job,) = shop.jobs()
    assert "trace" not in job
    shop.world.run(shop.world.now + HOUR)
    assert [trigger for trigger, _ in shop.world.mails()] == ["order_confirmation", "abandoned_cart"]
    assert shop.remembered.get_finished_spans() == ()
    fields: Any = shop.redis.hkeys(keys.person("main", keys.person_id("main", "ada", None)))
    assert not [field for field in fields if field.startswith(b"p:")]


def test_without_a_collector_every_call_is_one_look() -> None:
    nothing = tracing.OFF.request("segment", CALLER)
    for other in (
        tracing.OFF.producing("q", 1),
        tracing.OFF.job("q", 1, CALLER, "id"),
        tracing.OFF.send("welcome", CALLER),
    ):
        assert other is nothing
    with nothing:
        assert tracing.traceparent() == ""


def test_without_a_job_there_is_no_producer(shop: Shop) -> None:
    shop.request(shop.cart())
    assert list(shop.spans()) == ["webhook"]


def test_a_mail_leaves_its_trace_beside_what_was_observed(shop: Shop) -> None:
    # Others of this process have left theirs.
    trace = token_hex(16)
    shop.chance = 0.9
    before = exemplars()
    shop.request(shop.order("1"), traceparent=f"00-{trace}-{'cd' * 8}-01")
    shop.work()
    assert exemplars() <= before
    shop.chance = 0.0
    shop.request(shop.order("2"), traceparent=f"00-{trace}-{'cd' * 8}-01")
    shop.work()
    assert exemplars() - before == {
        ("freshgate_received_to_accepted_seconds_bucket", trace),
        ("freshgate_occurred_to_accepted_seconds_bucket", trace),
    }


def exemplars() -> set[tuple[str, str]]:
    """(series, trace) of every exemplar of this process, as a Prometheus reads them."""
    text = generate_latest(REGISTRY).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, sample.exemplar.labels["trace_id"]) for sample in samples if sample.exemplar}


def test_a_send_that_is_withheld_says_why(shop: Shop) -> None:
    shop.request(shop.cart())
    shop.world.now += MINUTE
    shop.request(shop.order())
    shop.jobs()
    shop.remembered.clear()
    shop.world.run(shop.world.now + HOUR)
    spans = [dict(span.attributes or {}) for span in shop.remembered.get_finished_spans()]
    (attributes,) = [span for span in spans if span.get("freshgate.trigger") == "abandoned_cart"]
    assert (attributes["freshgate.outcome"], attributes["freshgate.reason"]) == ("cancelled", "ordered")


def test_no_span_holds_a_person_or_an_address(shop: Shop) -> None:
    person = {keys.person_id("main", "user-4711", None), keys.person_id("main", None, "device-0815")}
    event = shop.world.event
    shop.request(event("Product Added", anon="device-0815", product=product("mug")), traceparent=CALLER)
    shop.request(event("Identify", user="user-4711", anon="device-0815", email=ADA, first_name="Augusta"))
    shop.request(event("Order Completed", user="user-4711", order_id="o-99", order_email=GIFT, products=()))
    shop.work()
    shop.world.esp.errors = [EspError(f"no such mailbox {ADA}", permanent=True, status=400)]
    shop.request(event("Order Completed", user="user-4711", order_id="o-100", products=()))
    shop.work()
    shop.world.run(shop.world.now + 2 * HOUR)
    spans = shop.remembered.get_finished_spans()
    assert len(spans) > 10
    text = "".join(span.to_json() for span in spans)
    for secret in (ADA, GIFT, "Augusta", "user-4711", "device-0815", "o-99", "o-100", *person):
        assert secret not in text


def test_log_lines_carry_the_trace_only_within_a_sampled_span(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    logs.configure("info", json=True)
    shop.world.esp.errors = [EspError("down", status=503), EspError("down", status=503)]
    shop.request(shop.order("1"), traceparent=CALLER)
    shop.work()
    shop.chance = 0.9
    shop.request(shop.order("2"))
    shop.work()
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    sampled, unsampled = [line for line in lines if line["event"] == "esp_refused"]
    assert sampled["trace_id"] == "ab" * 16
    assert sampled["span_id"] == f"{shop.spans()['decide'].context.span_id:016x}"
    assert sampled["send"] == dict(shop.spans()["decide"].attributes or {})["freshgate.send"]
    assert not {"trace_id", "span_id"} & set(unsampled)


def test_each_outcome_and_retry_of_a_send_is_a_line_with_its_id_and_its_trace(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    logs.configure("info", json=True)
    shop.world.esp.errors = [EspError("down", status=503)]
    shop.request(shop.order("1"), traceparent=CALLER)
    shop.work()
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    (send,) = [line for line in lines if line["event"] == "send"]
    assert (send["outcome"], send["trigger"], send["attempts"]) == ("retry", "order_confirmation", 1)
    assert (send["send"], send["trace_id"]) == (
        dict(shop.spans()["decide"].attributes or {})["freshgate.send"],
        "ab" * 16,
    )
    assert ADA not in written.getvalue()
