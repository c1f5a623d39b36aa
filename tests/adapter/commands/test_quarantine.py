"""Elements that a broken mapping could not read are listed, shown, and recorded once the mapping is corrected.

With a real Redis; the broken mapping is a copy of the catalog's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis import Redis

from adapter.__main__ import main
from adapter.ingest import quarantine
from adapter.ingest.receive import Receiver, WebhookRequest
from adapter.sources import SOURCES
from adapter.sources.base import RequestContext
from catalog import EVENTS, TRIGGERS
from freshgate.declare import EventType
from freshgate.routing import Routes
from freshgate.settings import SourceSettings
from freshgate.state import keys
from freshgate.state.planner import Planner
from freshgate.state.stamps import stamp_time
from freshgate.state.store import load

NOW = 1_790_000_040_000
TOKEN = {"X-Freshgate-Token": "t"}
VIEWED = {"type": "track", "event": "Product Viewed", "userId": "ada", "messageId": "m-1", "properties": {"sku": "s"}}
ORDER = {"type": "track", "event": "Order Completed", "userId": "ada", "messageId": "m-2"}


def fail_to_read(element: Mapping[str, Any]) -> Mapping[str, Any]:
    raise ZeroDivisionError(element["userId"])


def with_broken_mapping(event: EventType) -> EventType:
    if event.name != "Product Viewed":
        return event
    spelling = msgspec.structs.replace(event.sources["segment"], read=fail_to_read)
    return msgspec.structs.replace(event, sources={**event.sources, "segment": spelling})


@pytest.fixture
def element_name(workdir: Path, redis: Redis, redis_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the one element that could not be read; the command has the corrected catalog."""
    for name, value in {"REDIS_URL": redis_server, "PII_KEY": "key", "SOURCES__SEGMENT__TOKENS": "t"}.items():
        monkeypatch.setenv(f"FRESHGATE_{name}", value)
    load(redis)
    catalog = [with_broken_mapping(event) for event in EVENTS]
    source = SOURCES["segment"].configure("segment", SourceSettings(kind="segment", tokens=("t",)), catalog)
    receiver = Receiver(redis, Planner(EVENTS, TRIGGERS, b"key"), Routes(["sendgrid"]))
    answer = receiver.receive(source, WebhookRequest(json.dumps([ORDER, VIEWED]).encode(), TOKEN, NOW))
    assert (answer.accepted, answer.refusals) == (1, [{"index": 1, "reason": "internal"}])
    ((entry, _),) = quarantine.list_elements(redis)
    return quarantine.short_id(entry)


def test_a_replay_records_what_the_corrected_mapping_reads_and_takes_it_off_the_list(
    element_name: str, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    person = keys.person("main", keys.person_id("main", "ada", None))
    assert not redis.hexists(person, "m:view")
    assert main(["quarantine", "replay"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 recorded"
    assert redis.hexists(person, "m:view")
    assert redis.hgetall(keys.OPERATIONS) == {b"quarantine_replay": b"1"}
    assert main(["quarantine", "list"]) == 0
    assert capsys.readouterr().out == "0 in the quarantine\n"


def test_while_elements_are_replayed_waiting_mails_settle(element_name: str, redis: Redis) -> None:
    gap = f"{keys.shop('main')}gap"
    redis.delete(gap)
    assert main(["quarantine", "replay"]) == 0
    assert redis.exists(gap)


def test_an_item_of_an_sdks_batch_keeps_the_context_of_the_batch(
    element_name: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRESHGATE_SOURCES__SDK__KIND", "tracking")
    monkeypatch.setenv("FRESHGATE_SOURCES__SDK__WRITE_KEYS", "k")
    settings = SourceSettings(kind="tracking", write_keys=("k",))
    source = SOURCES["tracking"].configure("sdk", settings, [with_broken_mapping(event) for event in EVENTS])
    receiver = Receiver(redis, Planner(EVENTS, TRIGGERS, b"key"), Routes(["sendgrid"]))
    # A clock that is an hour ahead.
    item = {**VIEWED, "userId": "eve", "messageId": "m-3", "timestamp": (NOW + 3_599_000) / 1000}
    body = {"writeKey": "k", "batch": [item], "context": {"traits": {"email": "eve@example.com"}}}
    request = json.dumps(body | {"sentAt": (NOW + 3_600_000) / 1000}).encode()
    answer = receiver.receive(source, WebhookRequest(request, {}, NOW, RequestContext(call="batch")))
    assert answer.refusals == [{"index": 0, "reason": "internal"}]
    assert main(["quarantine", "replay"]) == 0
    fields: Any = redis.hmget(keys.person("main", keys.person_id("main", "eve", None)), "m:view", "t:email")
    assert fields[0].startswith(stamp_time(NOW - 1000).encode())
    assert fields[1].endswith(b"eve@example.com")


def test_the_list_names_each_without_its_bytes_and_show_prints_them(
    element_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quarantine", "list"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{element_name}  segment  2026-") and "ada" not in first and last == "1 in the quarantine"
    assert main(["quarantine", "show", element_name]) == 0
    assert json.loads(capsys.readouterr().out) == VIEWED


def test_what_cannot_be_recorded_stays_with_the_reason(
    element_name: str, redis: Redis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for source, raw in (
        ("segment", b'{"type": "track", "event": "Unheard Of"}'),
        ("gone", b"{}"),
        ("segment", b"broken"),
    ):
        quarantine.add_elements(redis, [quarantine.QuarantinedElement(source, raw, NOW)])
    assert main(["quarantine", "replay"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "1 recorded; 3 stay"
    assert [line.rpartition("  stays: ")[2] for line in lines[1:-1]] == [
        "ignored: no event type is mapped to it",
        "the settings have no source 'gone'",
        "not JSON",
    ]
    assert len(list(quarantine.list_elements(redis))) == 3


def test_an_element_is_dropped_by_its_name_and_an_unknown_name_is_an_error(
    element_name: str, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quarantine", "drop", "--only", "nobody"]) == 1
    assert "nobody" in capsys.readouterr().err
    assert len(list(quarantine.list_elements(redis))) == 1
    assert main(["quarantine", "drop", "--only", element_name]) == 0
    assert capsys.readouterr().out.endswith("1 dropped\n")
    assert not list(quarantine.list_elements(redis))
