"""Fixture in, verdict out: every pair under tests/payloads/segment, and at least one pair for every event type.

`<event>__<case>.json` is a body as Segment sends it, with one element. `<event>__<case>.expected.json` is all that
is read from it: `verdict` is "event", "ignored" (with `what`) or "refused" (with `reason`). Of an event every
member is compared: name, message_id, occurred_at, user_id, anonymous_id, previous_id, email, fields, unreadable,
clamped. Amounts are `{"money": "39.95"}`, so that a text is not taken for one; of a product only what differs from
its defaults is told. "h-*" stands for a computed message id. The body arrives at RECEIVED_AT.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapter.events import Event, Ignored, Product, Verdict
from adapter.settings import SourceSettings
from adapter.sources import SOURCES
from catalog.events import EVENTS

FOLDER = Path(__file__).parent.parent / "payloads" / "segment"
PAIRS = sorted(FOLDER.glob("*.expected.json"))
# 2026-09-21T14:14:00Z
RECEIVED_AT = 1_790_000_040_000
SOURCE = SOURCES["segment"].configure("shop", SourceSettings(kind="segment", secrets=("abc123",)), EVENTS)


def told(verdict: Verdict) -> dict[str, Any]:
    """A verdict in the format of the expected files."""
    if isinstance(verdict, Event):
        ours = {"source": verdict.source, "id_space": verdict.id_space, "received_at": verdict.received_at}
        assert ours == {"source": "shop", "id_space": "main", "received_at": RECEIVED_AT}
        message_id = "h-*" if re.fullmatch(r"h-[0-9a-f]{32}", verdict.message_id) else verdict.message_id
        return {
            "verdict": "event",
            "name": verdict.name,
            "message_id": message_id,
            "occurred_at": verdict.occurred_at,
            "user_id": verdict.user_id,
            "anonymous_id": verdict.anonymous_id,
            "previous_id": verdict.previous_id,
            "email": verdict.email,
            "fields": {name: plain(value) for name, value in verdict.fields.items()},
            "unreadable": sorted(verdict.unreadable),
            "clamped": verdict.clamped,
        }
    if isinstance(verdict, Ignored):
        return {"verdict": "ignored", "what": verdict.what}
    return {"verdict": "refused", "reason": verdict.reason}


def plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return {"money": str(value)}
    if isinstance(value, Product):
        return msgspec.to_builtins(value)
    return [plain(item) for item in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("expected", PAIRS, ids=lambda path: path.name.removesuffix(".expected.json"))
def test_the_payload_is_read_as_its_expected_file_says(expected: Path) -> None:
    body = expected.with_name(expected.name.replace(".expected.json", ".json")).read_bytes()
    verdicts = [told(verdict) for verdict in SOURCE.read(body, RECEIVED_AT)]
    assert verdicts == [json.loads(expected.read_text("utf-8"))]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_every_event_type_has_a_pair_that_is_read_as_that_event(event: Any) -> None:
    slug = re.sub(r"[^a-z0-9]+", "_", event.name.lower())
    found = [json.loads(path.read_text("utf-8")) for path in PAIRS if path.name.startswith(f"{slug}__")]
    assert [one for one in found if one.get("name") == event.name], f"write tests/payloads/segment/{slug}__full.json"


def test_no_payload_stands_without_its_expected_file() -> None:
    bodies = {path.name for path in FOLDER.glob("*.json") if not path.name.endswith(".expected.json")}
    assert bodies == {path.name.replace(".expected.json", ".json") for path in PAIRS}
