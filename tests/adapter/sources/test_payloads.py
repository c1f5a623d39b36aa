"""Every pair under tests/payloads/<kind> is read as expected, and every spelling of an event type has a pair.

`<event>__<case>.json` is a body as that CDP sends it. `<event>__<case>.expected.json` is all that is read from it: one
verdict, or a list of them. `verdict` is "event", "ignored" (with `what`) or "refused" (with `reason`). All members of
an event are compared: name, message_id, occurred_at, user_id, anonymous_id, previous_id, email, fields, unreadable,
clamped, and doubtful where something is. An amount is `{"money": "39.95"}`, which differs from a text; a product has
only the members that differ from their defaults. "h-*" stands for a computed message id. The body arrives at
RECEIVED_AT.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapter.sources import SOURCES
from catalog.events import EVENTS
from freshgate.events import Event, Ignored, Product, Verdict
from freshgate.settings import SourceSettings

FOLDER = Path(__file__).parents[2] / "payloads"
# A row for each folder: how its kind of source is configured while the pairs are read.
SETTINGS = {
    "segment": SourceSettings(kind="segment", secrets=("abc123",)),
    "rudderstack": SourceSettings(kind="rudderstack", secrets=("Bearer abc123",)),
    "mparticle": SourceSettings(kind="mparticle", secrets=("Basic abc123",)),
    "tealium": SourceSettings(kind="tealium", secrets=("Basic abc123",)),
    "customerio_reporting": SourceSettings(kind="customerio_reporting", secrets=("abc123",)),
}
PAIRS = sorted(FOLDER.glob("*/*.expected.json"))
# 2026-09-21T14:14:00Z
RECEIVED_AT = 1_790_000_040_000


def as_expected(verdict: Verdict) -> dict[str, Any]:
    """A verdict in the format of the expected files."""
    if isinstance(verdict, Event):
        envelope = {"source": verdict.source, "id_space": verdict.id_space, "received_at": verdict.received_at}
        assert envelope == {"source": "shop", "id_space": "main", "received_at": RECEIVED_AT}
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
            **({"doubtful": sorted(verdict.doubtful)} if verdict.doubtful else {}),
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


def expectations(path: Path) -> list[dict[str, Any]]:
    expected = json.loads(path.read_text("utf-8"))
    return expected if isinstance(expected, list) else [expected]


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.name.removesuffix('.expected.json')}"


@pytest.mark.parametrize("expected", PAIRS, ids=named)
def test_the_payload_is_read_as_its_expected_file_says(expected: Path) -> None:
    kind = expected.parent.name
    source = SOURCES[kind].configure("shop", SETTINGS[kind], EVENTS)
    body = expected.with_name(expected.name.replace(".expected.json", ".json")).read_bytes()
    assert [as_expected(verdict) for verdict in source.read(body, RECEIVED_AT)] == expectations(expected)


@pytest.mark.parametrize(
    ("event", "kind"),
    [(event, kind) for event in EVENTS for kind in event.sources],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_every_spelling_of_an_event_type_has_a_pair_that_is_read_as_that_event(event: Any, kind: str) -> None:
    slug = re.sub(r"[^a-z0-9]+", "_", event.name.lower())
    pairs = (FOLDER / kind).glob(f"{slug}__*.expected.json")
    names = {verdict.get("name") for path in pairs for verdict in expectations(path)}
    assert event.name in names, f"write tests/payloads/{kind}/{slug}__full.json"


def test_no_payload_stands_without_its_expected_file() -> None:
    bodies = {path for path in FOLDER.glob("*/*.json") if not path.name.endswith(".expected.json")}
    assert bodies == {path.with_name(path.name.replace(".expected.json", ".json")) for path in PAIRS}
