"""`python -m adapter read`: shows what a payload becomes, field by field, and which mails it would start.

Writes nothing; needs no Redis and no signature. `origins.py` finds the paths, and the receiver's planner the triggers.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from adapter.commands.develop.origins import origins, paired, probing
from adapter.commands.develop.spellings import command_for
from adapter.commands.terminal import Paint
from adapter.ingest.page_data import bound_page_data
from adapter.ingest.receive import check_trust
from adapter.sources import SOURCES, find_kind
from adapter.sources.base import RequestContext, Source
from adapter.sources.unverified import readable
from freshgate.catalogs import load_event_types, load_triggers
from freshgate.clock import now_ms
from freshgate.declare import EventType, Trigger
from freshgate.durations import format_duration
from freshgate.errors import RequestError, SettingsError
from freshgate.events import Event, Ignored, Product, Refused, Verdict
from freshgate.local_settings import load_local_settings
from freshgate.settings import Settings, SourceSettings
from freshgate.state.planner import Planner

HELP = "show what a payload becomes: the event or the verdict, and the path that each field came from"
EPILOG = """examples:
  python -m adapter read tests/payloads/segment/order_completed__full.json --source segment
  python -m adapter read - --source segment --json < body.json | jq .verdicts[0].from

Nothing is written, and no signature is needed. The exit code is 1 if an element or the whole body is refused."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "read", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", metavar="FILE", help="the file with the body, byte for byte; - is stdin")
    parser.add_argument(
        "--source", required=True, metavar="NAME", help="a source of the settings, or a kind: " + ", ".join(SOURCES)
    )
    parser.add_argument("--content-type", default="", metavar="TYPE", help="of the request, if the body is a form")
    parser.add_argument("--audience", default="", metavar="NAME/joined", help="the end of the URL of an audience")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = load_local_settings()
    body = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    audience, _, turn = options.audience.partition("/")
    if turn not in ("", "joined", "left"):
        raise SettingsError("--audience: write NAME/joined or NAME/left")
    context = RequestContext(content_type=options.content_type, audience=audience, turn=turn)
    try:
        verdicts = build_report(settings, options.source, body, now_ms(), context)
    except RequestError as error:
        return _print_refusal(error, as_json=options.json)
    if options.json:
        print(json.dumps({"source": options.source, "verdicts": verdicts}, indent=2, ensure_ascii=False))
    else:
        paint = Paint(sys.stdout)
        if not verdicts:
            print("nothing: this source finds no element in it")
        kind = settings.sources[options.source].kind if options.source in settings.sources else options.source
        existing = [event_type.name for event_type in load_event_types(settings)]
        for number, verdict in enumerate(verdicts):
            print(_format_verdict(number, verdict, paint))
            if verdict["verdict"] == "ignored":
                print(paint.dim(f"   no event type for it: {command_for(verdict['what'], kind, existing)}"))
    return int(any(verdict["verdict"] == "refused" for verdict in verdicts))


def build_report(
    settings: Settings, name: str, body: bytes, received_at: int, context: RequestContext
) -> list[dict[str, Any]]:
    """A map for each verdict, in order, as `--json` prints them. Raises RequestError if the whole body is refused."""
    catalog = load_event_types(settings)
    triggers = load_triggers(settings)
    source = find_source(settings, name, catalog)
    verdicts = source.read(body, received_at, context)
    probed = find_source(settings, name, probing(catalog)).read(body, received_at, context)
    types = {event.name: event for event in catalog}
    return [
        _describe(verdict, origins(verdict, probe, types), types, triggers, source.settings)
        for verdict, probe in paired(verdicts, probed)
    ]


def find_source(settings: Settings, name: str, catalog: Sequence[EventType]) -> Source:
    """The source of that name in the settings, or a source of that kind. It only reads, so it may lack its secrets."""
    source = settings.sources.get(name) or (SourceSettings(kind=name) if name in SOURCES else None)
    if source is None:
        known = ", ".join(sorted({*settings.sources, *SOURCES}))
        raise SettingsError(f"--source: there is no source '{name}'; known: {known}")
    return find_kind(name, source).configure(name, readable(source), catalog)


def _describe(
    verdict: Verdict,
    paths: Mapping[str, str],
    types: Mapping[str, EventType],
    triggers: Sequence[Trigger],
    settings: SourceSettings,
) -> dict[str, Any]:
    if isinstance(verdict, Ignored):
        return {"verdict": "ignored", "what": verdict.what}
    if isinstance(verdict, Event):
        verdict = check_trust(verdict, types[verdict.name], settings.trust)
    if isinstance(verdict, Event) and settings.trust == "browser":
        verdict = bound_page_data(verdict, types[verdict.name], settings)
    if isinstance(verdict, Refused):
        return {"verdict": "refused", "reason": verdict.reason, **({"fault": verdict.fault} if verdict.fault else {})}
    event_type = types[verdict.name]
    return {
        "verdict": "event",
        "name": verdict.name,
        "message_id": verdict.message_id,
        "occurred_at": verdict.occurred_at,
        "user_id": verdict.user_id,
        "anonymous_id": verdict.anonymous_id,
        "previous_id": verdict.previous_id,
        "email": verdict.email,
        "fields": {name: to_plain(value) for name, value in verdict.fields.items()},
        "unreadable": sorted(verdict.unreadable),
        "clamped": verdict.clamped,
        "doubtful": sorted(verdict.doubtful),
        "from": dict(paths),
        "absent": [name for name in event_type.fields if name not in verdict.fields and name not in verdict.unreadable],
        **_describe_starts(verdict, types, triggers, settings.trust),
    }


def _describe_starts(
    event: Event, types: Mapping[str, EventType], triggers: Sequence[Trigger], trust: str
) -> dict[str, Any]:
    plan = Planner(types.values(), triggers, b"not used").plan(event, trusted=trust == "server")
    delays = {trigger.name: trigger.delay for trigger in triggers}
    return {
        "starts": {name: format_duration(delays[name]) if delays[name] else "at once" for name in plan.starts},
        "cannot_start": plan.lacking,
    }


def to_plain(value: Any) -> Any:
    """A field's value as the expected files of payload pairs write it."""
    if isinstance(value, Decimal):
        return {"money": str(value)}
    if isinstance(value, Product):
        return msgspec.to_builtins(value)
    return [to_plain(item) for item in value] if isinstance(value, tuple) else value


def _print_refusal(error: RequestError, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"refused": error.reason, "status": error.status, "hint": error.hint}))
    else:
        paint = Paint(sys.stdout)
        print(f"{paint.bad('refused')}  the whole body, with {error.status}: {error.reason}")
        if error.hint:
            print(f"         {error.hint}")
    return 1


def _format_verdict(number: int, verdict: Mapping[str, Any], paint: Paint) -> str:
    if verdict["verdict"] == "ignored":
        return f"{number}  {paint.doubtful('ignored')}  {verdict['what']}"
    if verdict["verdict"] == "refused":
        fault = f" ({verdict['fault']})" if "fault" in verdict else ""
        return f"{number}  {paint.bad('refused')}  {verdict['reason']}{fault}"
    lines = [f"{number}  {paint.good('event')}  {paint.bold(verdict['name'])}"]
    for name, value, path in _rows(verdict, paint):
        lines.append(f"   {name:<16} {value}" + (paint.dim(f"   ← {path}") if path else ""))
    if verdict["absent"]:
        lines.append(paint.dim(f"   {'absent':<16} " + ", ".join(verdict["absent"])))
    for name, delay in verdict["starts"].items():
        when = delay if delay == "at once" else f"after {delay} of quiet"
        lines.append(f"   {'starts':<16} {paint.bold(name)}, {when}")
    lines += [f"   {'cannot start':<16} {paint.bad(reason)}" for reason in verdict["cannot_start"]]
    if not verdict["starts"] and not verdict["cannot_start"]:
        lines.append(paint.dim(f"   {'starts':<16} no mail"))
    return "\n".join(lines)


def _rows(event: Mapping[str, Any], paint: Paint) -> Iterator[tuple[str, str, str]]:
    """Name, value and path of all that the event has."""
    paths = event["from"]
    is_computed = re.fullmatch("h-[0-9a-f]{32}", event["message_id"])
    yield "message_id", event["message_id"] + (paint.dim("  computed, none was sent") if is_computed else ""), ""
    occurred = datetime.fromtimestamp(event["occurred_at"] / 1000, UTC).isoformat(timespec="milliseconds")
    yield "occurred_at", occurred + paint.doubtful(_doubt_about_time(event)), ""
    for name in ("user_id", "anonymous_id", "previous_id"):
        if event[name]:
            yield name, event[name], ""
    if event["email"]:
        doubt = (
            paint.doubtful("  has letters of another script that look alike") if "email" in event["doubtful"] else ""
        )
        yield "email", event["email"] + doubt, paths.get("email", "where this source keeps it")
    for name, value in event["fields"].items():
        yield f".{name}", _format_value(value), paths.get(name, "")
    for name in event["unreadable"]:
        if name != "occurred_at":
            yield name if name == "email" else f".{name}", paint.bad("unreadable, left out"), paths.get(name, "")


def _doubt_about_time(event: Mapping[str, Any]) -> str:
    if "occurred_at" in event["unreadable"]:
        return "  the time sent cannot be read; this is when it arrived"
    if event["clamped"]:
        return "  was in the future, so it counts as now"
    return "  was sent without an offset from UTC" if "occurred_at" in event["doubtful"] else ""


def _format_value(value: Any) -> str:
    if isinstance(value, dict) and value.keys() == {"money"}:
        return str(value["money"])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
