"""The running product and a collector: every send is one connected trace, whatever ends or is down.

The spans arrive as OTLP over HTTP, from gunicorn's workers, and from a worker that is killed.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from secrets import token_hex

import pytest

from adapter.sources.segment.signature import sign
from tests.freshgate.telemetry.collector import CLIENT, CONSUMER, PRODUCER, SERVER, CollectedSpan, Collector
from tests.harness.system import SECRET, System
from tests.system.conftest import SHORT, Shopper, counter_total

SENDS = 60
CHAIN = [SERVER, PRODUCER, CONSUMER, 1, CLIENT]


def traced(url: str) -> dict[str, str]:
    return {**SHORT, "FRESHGATE_OTLP_ENDPOINT": url, "FRESHGATE_TRACE_RATIO": "1", "OTEL_BSP_SCHEDULE_DELAY": "200"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def system(collector: Collector) -> Iterator[System]:
    with System(traced(collector.url)) as system:
        yield system


def order(system: System, shopper: Shopper, trace: str, flags: str = "01") -> None:
    """An order of a caller who has a trace, and has it sampled or not."""
    body = json.dumps(shopper.ordered(), separators=(",", ":")).encode()
    headers = {
        "content-type": "application/json",
        "x-signature": sign(SECRET, body),
        "traceparent": f"00-{trace}-{'c' * 16}-{flags}",
    }
    assert system.request("PORT", "POST", "/webhooks/segment", body, headers).status == http.client.OK


def connected(collector: Collector, trace: str) -> bool:
    """From the caller's span down to the ESP call, without a gap."""
    spans = collector.of(trace)
    above, chain = "c" * 16, []
    while below := [span for span in spans if span.parent == above]:
        chain.append(below[0].kind)
        above = below[0].span
    return chain == CHAIN


def linked(collector: Collector, trace: str) -> list[CollectedSpan]:
    return [span for span in list(collector.spans) if any(link[0] == trace for link in span.links)]


def test_every_send_is_one_connected_trace(system: System, collector: Collector) -> None:
    shoppers = {token_hex(16): Shopper() for _ in range(SENDS)}
    for number, (trace, shopper) in enumerate(shoppers.items()):
        order(system, shopper, trace, "00" if number % 2 else "01")
    system.wait_for(lambda: all(connected(collector, trace) for trace in shoppers))
    text = repr(collector.spans)
    for shopper in shoppers.values():
        assert shopper.email not in text
        assert shopper.user not in text


def test_a_trace_leads_to_the_lines_of_the_request_and_of_its_send(system: System, collector: Collector) -> None:
    trace, ada = token_hex(16), Shopper()
    order(system, ada, trace)

    def lines() -> list[dict[str, object]]:
        texts = [(system.var / "log" / f"{name}.log").read_text(encoding="utf-8") for name in ("receiver", "worker")]
        return [json.loads(line) for text in texts for line in text.splitlines() if trace in line]

    system.wait_for(lambda: len(lines()) == 2)
    received, sent = lines()
    assert (received["event"], received["source"], received["accepted"]) == ("webhook", "segment", 1)
    assert (sent["event"], sent["outcome"], sent["trigger"]) == ("send", "sent", "order_confirmation")
    system.wait_for(lambda: connected(collector, trace))
    assert str(sent["send"]) in repr(collector.of(trace))


def test_a_mail_about_a_cart_links_the_event_that_set_its_timer(system: System, collector: Collector) -> None:
    ada = Shopper()
    before = {span.span for span in list(collector.spans)}
    system.post([ada.identify(), ada.added()])
    (webhook,) = system.wait_for(
        lambda: [span for span in list(collector.spans) if span.kind == SERVER and span.span not in before]
    )
    system.wait_for(lambda: ada.mails(system, "abandoned_cart"))
    (timer,) = system.wait_for(lambda: linked(collector, webhook.trace))
    assert timer.links == [(webhook.trace, webhook.span)]
    assert CLIENT in {span.kind for span in collector.of(timer.trace) if span.parent == timer.span}


def test_after_a_worker_is_killed_traces_are_connected_again(system: System, collector: Collector) -> None:
    killed = system.kill("worker")
    during = {token_hex(16): Shopper() for _ in range(10)}
    for trace, shopper in during.items():
        order(system, shopper, trace)
    system.wait_for(lambda: system.pid("worker") != killed)
    system.wait_for(lambda: all(shopper.mails(system, "order_confirmation") for shopper in during.values()), 60)
    # In the trace of its request, or, where the timers brought it back, in one that links it.
    system.wait_for(lambda: all(connected(collector, trace) or linked(collector, trace) for trace in during))
    after = {token_hex(16): Shopper() for _ in range(10)}
    for trace, shopper in after.items():
        order(system, shopper, trace)
    system.wait_for(lambda: all(connected(collector, trace) for trace in after))


def test_what_waits_is_sent_when_everything_ends(collector: Collector) -> None:
    trace = token_hex(16)
    with System({**traced(collector.url), "OTEL_BSP_SCHEDULE_DELAY": "60000"}) as system:
        ada = Shopper()
        order(system, ada, trace)
        system.wait_for(lambda: ada.mails(system, "order_confirmation"))
        assert collector.of(trace) == []
        system.stop()
    assert connected(collector, trace)


def test_without_its_collector_mails_leave_and_the_loss_is_counted(free_port: Callable[[], int]) -> None:
    with System(traced(f"http://127.0.0.1:{free_port()}")) as system:
        shoppers = [Shopper() for _ in range(10)]
        for shopper in shoppers:
            order(system, shopper, token_hex(16))
        system.wait_for(lambda: all(shopper.mails(system, "order_confirmation") for shopper in shoppers), timeout=10)

        def lost(port: str) -> float:
            text = str(system.request(port, "GET", "/metrics").json)
            lines = [line for line in text.splitlines() if line.startswith("freshgate_spans_lost_total")]
            return sum(float(line.split()[-1]) for line in lines)

        system.wait_for(lambda: lost("WORKER_METRICS_PORT") and lost("METRICS_PORT"))
        assert counter_total(system, "freshgate_sends_total", outcome="sent") == len(shoppers)
