"""The command that `unmapped` and `read` print for an event: it adds an event type that reads that event.

`test_unmapped.py` has the list itself.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from adapter.__main__ import main
from adapter.commands.develop.spellings import command_for, example_payload, example_when, names, parse_when
from adapter.sources import SOURCES
from adapter.sources.base import RequestContext
from adapter.sources.unverified import readable
from catalog import EVENTS
from freshgate.declare import EventType, From
from freshgate.events import Event, Ignored
from freshgate.settings import SourceSettings

NOW = 1_790_000_040_000


def mparticle(event_type: str, **data: Any) -> dict[str, Any]:
    return {"mpid": "7", "events": [{"event_type": event_type, "data": data}]}


UNMAPPED = {
    "a track of Segment": ("segment", {"type": "track", "event": "Quiz Answered", "userId": "u"}),
    "a track with a name in small letters": ("segment", {"type": "track", "event": "quiz_answered", "userId": "u"}),
    "a call that is no track": ("segment", {"type": "video", "userId": "u"}),
    "a kind that reads Segment's spelling": ("rudderstack", {"type": "video", "userId": "u"}),
    "a custom event of mParticle": ("mparticle", mparticle("custom_event", event_name="Lamp Lit")),
    "a session": ("mparticle", mparticle("session_start")),
    "an action of commerce": ("mparticle", mparticle("commerce_event", product_action={"action": "rent"})),
    "a request of a data subject": ("mparticle", mparticle("dsr_processing_request", type="access")),
    "an event of Tealium": ("tealium", {"tealium_event": "custom_click", "customer_id": "u"}),
    "an event of Tealium with blanks": ("tealium", {"tealium_event": "Quiz  Answered", "customer_id": "u"}),
    "a metric of Customer.io": (
        "customerio_reporting",
        {"object_type": "push", "metric": "sent", "timestamp": 1789999997, "data": {"customer_id": "u"}},
    ),
}


@pytest.mark.parametrize("case", UNMAPPED)
def test_the_command_that_is_printed_adds_an_event_type_that_reads_the_event(case: str) -> None:
    kind, payload = UNMAPPED[case]
    settings, body = readable(SourceSettings(kind=kind)), json.dumps(payload).encode()
    (ignored,) = SOURCES[kind].configure("shop", settings, EVENTS).read(body, NOW)
    assert isinstance(ignored, Ignored)
    _program, _new, _event, name, _from, printed_kind, *whens = shlex.split(command_for(ignored.what, kind, ()))
    spelled = SOURCES[printed_kind].spelling
    when = parse_when([word for word in whens if word != "--when"]) or example_when(spelled, names(name))
    added = EventType(name=name, sources={spelled: From(when=when)})
    source = SOURCES[kind].configure("shop", settings, [*EVENTS, added])
    # What `new` writes as its example is read, too.
    for written in (body, example_payload(spelled, names(name), when).encode()):
        verdict = source.read(written, NOW)[0]
        assert isinstance(verdict, Event), written
        assert verdict.name == name


@pytest.mark.parametrize(
    ("name", "kind", "line"),
    [
        ("track / Quiz Answered", "segment", "freshgate new event 'Quiz Answered' --from segment"),
        ("session_start", "mparticle", "new event 'Session Start' --from mparticle --when event_type=session_start"),
        (
            "audience vip joined",
            "tealium",
            'write into an event type: "tealium": From(when={"audience": "vip", "turn": "joined"})',
        ),
        ("visitor / nothing told", "tealium", "it says nothing that an event type could be about"),
        ("track / Viewed by …", "segment", "its name holds an address or a number, so it differs each time"),
        (
            "custom_event / Order Completed",
            "mparticle",
            'Order Completed has an event type; write there: "mparticle": From(when={"event_type": "custom_event"',
        ),
        ("track / …", "gone", "it says nothing"),
        (f"track / {'long ' * 20}", "segment", "freshgate new event NAME --from segment --when type=track --when"),
    ],
)
def test_the_line_says_what_to_do(name: str, kind: str, line: str) -> None:
    assert line in command_for(name, kind, ("Order Completed",))


def test_an_audiences_line_is_the_when_that_matches_it() -> None:
    body, context = b'{"tealium_visitor_id":"v"}', RequestContext(audience="vip", turn="joined")
    settings = readable(SourceSettings(kind="tealium"))
    (ignored, *_) = SOURCES["tealium"].configure("shop", settings, EVENTS).read(body, NOW, context)
    assert isinstance(ignored, Ignored)
    joined = EventType(name="Joined", sources={"tealium": From(when=SOURCES["tealium"].spell(ignored.what) or {})})
    (verdict, *_) = SOURCES["tealium"].configure("shop", settings, [joined]).read(body, NOW, context)
    assert isinstance(verdict, Event)


@pytest.mark.parametrize("text", ["event_type", "=x", "a="])
def test_a_condition_that_is_not_one_is_refused(text: str, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "events").mkdir()
    (workdir / "events" / "__init__.py").write_text("EVENTS = ()\n")
    assert main(["new", "event", "X", "--from", "mparticle", "--when", text, "--catalog", "."]) == 1
    assert "--when: write PATH=TEXT" in capsys.readouterr().err


def test_a_condition_is_one_cdps(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "events").mkdir()
    (workdir / "events" / "__init__.py").write_text("EVENTS = ()\n")
    assert main(["new", "event", "X", "--from", "segment,tealium", "--when", "a=b", "--catalog", "."]) == 1
    assert "name that kind alone with --from" in capsys.readouterr().err


def test_an_audience_gets_no_pair_since_no_body_names_it(workdir: Path) -> None:
    table = workdir / "shop" / "events" / "__init__.py"
    table.parent.mkdir(parents=True)
    table.write_text("EVENTS = ()\n")
    whens = ("--when", "audience=vip", "--when", "turn=joined")
    assert main(["new", "event", "Joined Vip", "--from", "tealium", *whens, "--catalog", "shop"]) == 0
    assert 'when={"audience": "vip", "turn": "joined"}' in (table.parent / "joined_vip.py").read_text()
    assert not (workdir / "payloads").exists()
