"""`python -m adapter read`: what a payload becomes, field by field, and which mails it would start. Writes nothing.

Needs no Redis and no signature. `origins.py` finds the paths; the planner that the receiver uses names the triggers.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from adapter.commands.develop.origins import origins, paired, probing
from adapter.commands.terminal import Paint, span
from adapter.ingest.receive import check_trust
from adapter.sources import SOURCES, find_kind
from adapter.sources.base import RequestContext, Source
from adapter.sources.unverified import readable
from freshgate.catalogs import events_of, triggers_of
from freshgate.clock import now_ms
from freshgate.declare import EventType, Trigger
from freshgate.errors import RequestError, SettingsError
from freshgate.events import Event, Ignored, Product, Refused, Verdict
from freshgate.local_settings import load_local_settings
from freshgate.settings import Settings, SourceSettings
from freshgate.state import keys
from freshgate.state.planner import Planner

HELP = "show what a payload becomes: the event or the verdict, and where each field came from"
EPILOG = """examples:
  python -m adapter read tests/payloads/segment/order_completed__full.json --source segment
  python -m adapter read - --source segment --json < body.json | jq .verdicts[0].from

Nothing is written and no signature is needed. The exit code is 1 where an element, or the whole body, is refused."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "read", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", metavar="FILE", help="the body's exact bytes; - is stdin")
    parser.add_argument(
        "--source", required=True, metavar="NAME", help="a source of the settings, or a kind: " + ", ".join(SOURCES)
    )
    parser.add_argument("--content-type", default="", metavar="TYPE", help="the request's, where the body is a form")
    parser.add_argument("--audience", default="", metavar="NAME/joined", help="the end of an audience's URL")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = load_local_settings()
    body = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    audience, _, turn = options.audience.partition("/")
    if turn not in ("", "joined", "left"):
        raise SettingsError("--audience: write NAME/joined or NAME/left")
    context = RequestContext(content_type=options.content_type, audience=audience, turn=turn)
    try:
        told = report(settings, options.source, body, now_ms(), context)
    except RequestError as error:
        return _refused(error, as_json=options.json)
    if options.json:
        print(json.dumps({"source": options.source, "verdicts": told}, indent=2, ensure_ascii=False))
    else:
        paint = Paint(sys.stdout)
        if not told:
            print("nothing: this source finds no element in it")
        for number, one in enumerate(told):
            print(_text(number, one, paint))
    return int(any(one["verdict"] == "refused" for one in told))


def report(
    settings: Settings, name: str, body: bytes, received_at: int, context: RequestContext
) -> list[dict[str, Any]]:
    """A map a verdict, in order, as `--json` prints them. Raises RequestError for the body as a whole."""
    catalog = events_of(settings)
    triggers = triggers_of(settings)
    source = source_of(settings, name, catalog)
    verdicts = source.read(body, received_at, context)
    probed = source_of(settings, name, probing(catalog)).read(body, received_at, context)
    types = {event.name: event for event in catalog}
    return [
        _told(verdict, origins(verdict, other, types), types, triggers, source.settings.trust)
        for verdict, other in paired(verdicts, probed)
    ]


def source_of(settings: Settings, name: str, catalog: Sequence[EventType]) -> Source:
    """The source of the settings, or one of that kind; it only has to read, so it may lack its secrets."""
    given = settings.sources.get(name) or (SourceSettings(kind=name) if name in SOURCES else None)
    if given is None:
        known = ", ".join(sorted({*settings.sources, *SOURCES}))
        raise SettingsError(f"--source: no source '{name}'; there are: {known}")
    return find_kind(name, given).configure(name, readable(given), catalog)


def _told(
    verdict: Verdict,
    paths: Mapping[str, str],
    types: Mapping[str, EventType],
    triggers: Sequence[Trigger],
    trust: str,
) -> dict[str, Any]:
    if isinstance(verdict, Ignored):
        return {"verdict": "ignored", "what": verdict.what}
    if isinstance(verdict, Event):
        verdict = check_trust(verdict, types[verdict.name], trust)
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
        "fields": {name: plain(value) for name, value in verdict.fields.items()},
        "unreadable": sorted(verdict.unreadable),
        "clamped": verdict.clamped,
        "from": dict(paths),
        "absent": [name for name in event_type.fields if name not in verdict.fields and name not in verdict.unreadable],
        **_starts(verdict, types, triggers, trust),
    }


def _starts(event: Event, types: Mapping[str, EventType], triggers: Sequence[Trigger], trust: str) -> dict[str, Any]:
    plan = Planner(types.values(), triggers, b"not used").plan(event, trusted=trust == "server")
    known = {trigger.name: trigger for trigger in triggers}
    started = [keys.parse_member(start[0])[0] for write in plan.writes for start in write.body.get("starts", ())]
    trail = next((write.body["trail"] for write in plan.writes if "trail" in write.body), "{}")
    return {
        "starts": {name: span(known[name].delay) if known[name].delay else "at once" for name in started},
        "cannot_start": json.loads(trail).get("rejected", []),
    }


def plain(value: Any) -> Any:
    """A field's value as the expected files of payload pairs write it."""
    if isinstance(value, Decimal):
        return {"money": str(value)}
    if isinstance(value, Product):
        return msgspec.to_builtins(value)
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def _refused(error: RequestError, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"refused": error.reason, "status": error.status, "hint": error.hint}))
    else:
        paint = Paint(sys.stdout)
        print(f"{paint.bad('refused')}  the whole body, with {error.status}: {error.reason}")
        if error.hint:
            print(f"         {error.hint}")
    return 1


def _text(number: int, told: Mapping[str, Any], paint: Paint) -> str:
    if told["verdict"] == "ignored":
        hint = paint.dim("\n   no event type of the catalog is spelled so; python -m adapter new event makes one")
        return f"{number}  {paint.doubtful('ignored')}  {told['what']}{hint}"
    if told["verdict"] == "refused":
        fault = f" ({told['fault']})" if "fault" in told else ""
        return f"{number}  {paint.bad('refused')}  {told['reason']}{fault}"
    paths = told["from"]
    occurred = datetime.fromtimestamp(told["occurred_at"] / 1000, UTC).isoformat(timespec="milliseconds")
    clamped = paint.doubtful("  lay in the future, so it counts as now") if told["clamped"] else ""
    computed = paint.dim("  computed, none was sent") if re.fullmatch("h-[0-9a-f]{32}", told["message_id"]) else ""
    rows = [("message_id", told["message_id"] + computed, ""), ("occurred_at", occurred + clamped, "")]
    rows += [(name, told[name], "") for name in ("user_id", "anonymous_id", "previous_id") if told[name]]
    if told["email"]:
        rows.append(("email", told["email"], paths.get("email", "where this source keeps it")))
    rows += [(f".{name}", _value(value), paths.get(name, "")) for name, value in told["fields"].items()]
    rows += [
        (f".{name}" if name != "email" else name, paint.bad("unreadable, left out"), paths.get(name, ""))
        for name in told["unreadable"]
    ]
    lines = [f"{number}  {paint.good('event')}  {paint.bold(told['name'])}"]
    lines += [f"   {name:<16} {value}" + (paint.dim(f"   ← {path}") if path else "") for name, value, path in rows]
    if told["absent"]:
        lines.append(paint.dim(f"   {'absent':<16} " + ", ".join(told["absent"])))
    lines += [
        f"   {'starts':<16} {paint.bold(name)}, " + ("at once" if wait == "at once" else f"after {wait} of quiet")
        for name, wait in told["starts"].items()
    ]
    lines += [f"   {'cannot start':<16} {paint.bad(reason)}" for reason in told["cannot_start"]]
    if not told["starts"] and not told["cannot_start"]:
        lines.append(paint.dim(f"   {'starts':<16} no mail"))
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, dict) and value.keys() == {"money"}:
        return str(value["money"])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
