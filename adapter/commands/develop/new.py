"""`python -m adapter new`: writes the files of a new event type, trigger, source or ESP, to be filled in.

What it writes passes lint and types, and fails its tests with a message that says what to fill in. The templates are
in `templates/`; `table.py` adds the lines to the tables.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from adapter.commands.develop.check_pairs import FILL_IN, payload_folder
from adapter.commands.develop.spellings import example_payload, example_when, names, parse_when
from adapter.commands.develop.table import with_entry
from adapter.sources import SOURCES
from freshgate.declare import EventType
from freshgate.errors import CatalogError, FreshgateError
from freshgate.local_settings import load_local_settings

HELP = "write the files of a new event type, trigger, source or ESP, to be filled in"
EPILOG = """examples:
  python -m adapter new event "Subscription Renewed" --from segment,mparticle
  python -m adapter new event "Subscription Renewed" --from segment --catalog myshop/catalog
  python -m adapter new event "Session Start" --from mparticle --when event_type=session_start
  python -m adapter new trigger renewal_thanks --on "Subscription Renewed"
  python -m adapter new trigger back_in_stock --on "Product Restocked" --subject product_id
  python -m adapter new source examplecdp
  python -m adapter new esp examplemail

Nothing is ever overwritten. docs/ADDING.md says what to fill in."""
# Without autoescape, since they are Python and JSON.
TEMPLATES = Environment(  # nosec B701
    loader=FileSystemLoader(Path(__file__).parent / "templates"), undefined=StrictUndefined, keep_trailing_newline=True
)

Files = dict[Path, str]


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "new", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subparsers = parser.add_subparsers(dest="what", required=True, metavar="what")
    event = _add_what(
        subparsers, "event", '"Subscription Renewed" --from segment', "an event type, its line, and payload pairs"
    )
    event.add_argument("name", metavar="NAME", help='its canonical name, such as "Subscription Renewed"')
    kinds = "which CDPs send it: " + ", ".join(SOURCES)
    event.add_argument("--from", dest="kinds", default=next(iter(SOURCES)), metavar="KIND,...", help=kinds)
    when = "what its elements have there, where the name of a shop's own event does not say it; `unmapped` prints it"
    event.add_argument("--when", action="append", default=[], metavar="PATH=TEXT", help=when)
    event.add_argument("--payloads", type=Path, metavar="DIR", help="the folder of payload pairs")
    trigger = _add_what(
        subparsers, "trigger", 'thanks --on "Order Completed"', "a trigger, its line in TRIGGERS, and its test"
    )
    trigger.add_argument("name", metavar="NAME", help="such as renewal_thanks")
    trigger.add_argument("--on", default="", metavar="EVENT", help="the event type that starts it")
    trigger.add_argument(
        "--subject", default="", metavar="FIELD", help="a mail for each value of this field of the event: product_id"
    )
    for subparser in (event, trigger):
        subparser.add_argument("--catalog", type=Path, metavar="DIR", help="the folder of your own catalog")
    source = _add_what(subparsers, "source", "examplecdp", "a kind of source, its line in SOURCES, and its test")
    esp = _add_what(subparsers, "esp", "examplemail", "a kind of ESP, its line in ESPS, and its test")
    for subparser in (source, esp):
        subparser.add_argument("name", metavar="NAME", help="its `kind` in the settings")
    parser.set_defaults(run=run)


def _add_what(subparsers: Any, name: str, example: str, description: str) -> argparse.ArgumentParser:
    epilog = f"example: python -m adapter new {name} {example}"
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=description, description=description, epilog=epilog
    )
    return parser


def run(options: argparse.Namespace) -> int:
    builders = {"event": _event, "trigger": _trigger, "source": _source, "esp": _esp}
    files, tables, to_fill_in = builders[options.what](options, names(options.name))
    for path in files:
        if path.exists():
            raise FreshgateError(f"{path} exists already; nothing was written")
    for path, text in [*files.items(), *tables.items()]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(("changed  " if path in tables else "written  ") + str(path))
    print(f"\nNow fill in: {to_fill_in}")
    return 0


def _event(options: argparse.Namespace, forms: dict[str, str]) -> tuple[Files, Files, str]:
    folder = _catalog(options.catalog)
    kinds = [kind.strip() for kind in options.kinds.split(",") if kind.strip()]
    for kind in kinds:
        if kind not in SOURCES:
            raise FreshgateError(f"--from: no source kind {kind!r}; known: {', '.join(SOURCES)}")
    # A kind that reads the elements of another kind has no spelling of its own.
    kinds = list(dict.fromkeys(SOURCES[kind].spelling for kind in kinds))
    if not kinds:
        raise FreshgateError("--from: name at least one source kind")
    table = folder / "events" / "__init__.py"
    if options.when and len(kinds) > 1:
        raise FreshgateError("--when: it is one CDP's spelling; name that kind alone with --from")
    whens = {kind: parse_when(options.when) or example_when(kind, forms) for kind in kinds}
    spellings = [
        {"kind": kind, "when": json.dumps(when, ensure_ascii=False), "path": SOURCES[kind].example_event.field}
        for kind, when in whens.items()
    ]
    file = folder / "events" / f"{forms['slug']}.py"
    files = {file: _render("event.py", forms, table=_short_path(table), spellings=spellings)}
    pairs = options.payloads or payload_folder(folder)
    # Which audience it is stands in the URL, so no body says it.
    for kind in [kind for kind in kinds if "audience" not in whens[kind]]:
        stem = pairs / kind / f"{forms['slug']}__full"
        files[stem.with_suffix(".json")] = example_payload(kind, forms, whens[kind])
        files[stem.with_suffix(".expected.json")] = _expected(stem.with_suffix(".json"), kind)
    tables = {table: with_entry(_existing(table), "EVENTS", f".{forms['slug']}", forms["constant"])}
    return files, tables, f"every FILL IN of {file}, then the pairs; python -m adapter check says what is left"


def _expected(body: Path, kind: str) -> str:
    command = f"python -m adapter read {body} --source {kind}"
    advice = f"write all that is read from {body.name} by hand, as docs/ADDING.md shows; compare: {command}"
    return json.dumps({FILL_IN: advice}, indent=2) + "\n"


def _trigger(options: argparse.Namespace, forms: dict[str, str]) -> tuple[Files, Files, str]:
    folder = _catalog(options.catalog)
    table = folder / "triggers" / "__init__.py"
    on, about = "()", "fill in"
    if options.on:
        on, about = f"({json.dumps(options.on)},)", _mark(folder, options.on)
    file = folder / "triggers" / f"{forms['slug']}.py"
    files = {file: _render("trigger.py", forms, table=_short_path(table), on=on, about=about, subject=options.subject)}
    package = ".".join(_package(folder)) if folder.resolve().is_relative_to(Path.cwd()) else folder.name
    test = _test_folder(folder) / f"test_{forms['slug']}.py"
    files[test] = _render("trigger_test.py", forms, package=package)
    tables = {table: with_entry(_existing(table), "TRIGGERS", f".{forms['slug']}", forms["constant"])}
    return files, tables, f"every FILL IN of {file}, and {test}; python -m adapter check says what is left"


def _test_folder(catalog: Path) -> Path:
    """The folder of the tests of triggers: tests/engine for the built-in catalog, else `tests` beside the catalog's."""
    tests = Path("tests/engine")
    return tests if tests.is_dir() and catalog.resolve().parent == Path.cwd() else catalog.parent / "tests"


def _mark(folder: Path, name: str) -> str:
    """The first mark of the event type: a trigger that starts on it can be about that."""
    events: tuple[EventType, ...] = import_module(".".join(_package(folder))).EVENTS
    for event in events:
        if event.name == name:
            if event.marks:
                return event.marks[0]
            raise FreshgateError(f'--on: {name!r} has no mark; add marks=("...",) to its event type first')
    raise FreshgateError(f"--on: no event type is called {name!r}")


def _source(options: argparse.Namespace, forms: dict[str, str]) -> tuple[Files, Files, str]:
    setting = f"[sources.{forms['slug']}] in the settings switches it on"
    return _kind("source", Path("adapter/sources/__init__.py"), "SOURCES", forms["constant"], forms, setting)


def _esp(options: argparse.Namespace, forms: dict[str, str]) -> tuple[Files, Files, str]:
    setting = f'kind = "{forms["slug"]}" in [esps.NAME] switches it on'
    return _kind("esp", Path("workers/esp/__init__.py"), "ESPS", forms["class_name"], forms, setting)


def _kind(
    what: str, init: Path, table: str, entry: str, forms: dict[str, str], setting: str
) -> tuple[Files, Files, str]:
    """A module beside the table that lists `entry` under the name, and its test."""
    name, package = forms["slug"], _existing(init).parent
    file = package / f"{name}.py"
    files = {
        file: _render(f"{what}.py", forms),
        Path("tests") / package / f"test_{name}.py": _render(f"{what}_test.py", forms),
    }
    tables = {init: with_entry(init, table, ".".join([*package.parts, name]), entry, name)}
    return files, tables, f"every FILL IN of {file} and of its test; {setting}"


def _render(template: str, forms: Mapping[str, str], **values: Any) -> str:
    return TEMPLATES.get_template(f"{template}.j2").render(**forms, **values)


def _catalog(folder: Path | None) -> Path:
    """The folder of the catalog: the named one, or that of the package in the settings."""
    if folder is not None:
        return folder
    name = load_local_settings().catalog
    spec = find_spec(name)
    locations = list(spec.submodule_search_locations or ()) if spec else []
    if not locations:
        raise CatalogError(f"catalog = {name!r}: no such package; name its folder with --catalog")
    cwd, path = Path.cwd(), Path(locations[0])
    return path.relative_to(cwd) if path.is_relative_to(cwd) else path


def _package(folder: Path) -> Iterator[str]:
    """The parts of the folder's dotted name, as it is imported from the current folder."""
    resolved = folder.resolve()
    if not resolved.is_relative_to(Path.cwd()):
        raise FreshgateError(f"--on: {folder} is not below this folder, so it cannot be imported; leave --on out")
    yield from resolved.relative_to(Path.cwd()).parts


def _short_path(table: Path) -> str:
    return "/".join(table.parts[-3:])


def _existing(table: Path) -> Path:
    if not table.exists():
        raise FreshgateError(f"{table}: no such file; change to the folder that has it, as docs/ADDING.md shows")
    return table
