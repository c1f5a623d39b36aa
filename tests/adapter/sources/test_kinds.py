"""The declarations of the source kinds: each is true of what the kind does, and nobody outside knows a kind by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapter.commands.develop.spellings import example_payload, example_when, names
from adapter.sources import SOURCES
from adapter.sources.base import RequestContext
from adapter.sources.unverified import readable
from freshgate.declare import EventType, From
from freshgate.errors import CatalogError, NotAuthentic
from freshgate.events import Event, Refused
from freshgate.settings import SourceSettings
from tests.adapter.sources.contract import RECEIVED_AT

ROOT = Path(__file__).parents[3]
BODY = b'[{"event":"one"},{"event":"two"}]'
KINDS = pytest.mark.parametrize("kind", SOURCES.values(), ids=SOURCES)
# Where a kind may be named outside of adapter/sources, each with its reason: the file, and the name.
ALLOWED: dict[tuple[str, str], str] = {}


def test_the_table_has_each_kind_under_its_own_name() -> None:
    assert {name: kind.name for name, kind in SOURCES.items()} == {name: name for name in SOURCES}


@KINDS
def test_it_reads_the_spelling_that_it_declares_and_no_other(kind) -> None:
    settings = readable(SourceSettings(kind=kind.name))
    for name in SOURCES:
        # Only who reads this spelling sees that it is broken.
        broken = EventType(name="?", sources={name: From(when={}, paths={"no field": "?"})})
        if name == kind.spelling or (kind.reads_own_too and name == kind.name):
            with pytest.raises(CatalogError):
                kind.configure("shop", settings, [broken])
        else:
            kind.configure("shop", settings, [broken])


@KINDS
def test_the_secrets_of_a_first_run_are_enough_and_each_is_asked_for(kind) -> None:
    secrets: dict[str, Any] = {f"{name}s": (f"{prefix}abc",) for name, prefix in kind.first_secrets.items()}
    source = kind.configure("shop", SourceSettings(kind=kind.name, **secrets), [])
    headers = kind.prove(secrets[kind.proven_by][0], BODY)
    token = {"X-Freshgate-Token": secrets["tokens"][0]} if "tokens" in secrets else {}
    source.verify(BODY, {**headers, **token})
    for incomplete in [headers] * bool(token) + [token]:
        with pytest.raises(NotAuthentic):
            source.verify(BODY, incomplete)


@KINDS
def test_an_example_event_is_read_by_the_spelling_that_new_writes_beside_it(kind) -> None:
    example, forms = kind.example_event, names("Plan Renewed")
    # A kind that reads another kind's spelling is written as that one.
    when = example_when(kind.spelling, forms)
    spelling = From(when=when, paths={"plan": example.field})
    renewed = EventType(name="Plan Renewed", fields={"plan": "text"}, sources={kind.spelling: spelling})
    source = kind.configure("shop", readable(SourceSettings(kind=kind.name)), [renewed])
    verdict = source.read(example_payload(kind.name, forms, when).encode(), RECEIVED_AT)[0]
    if example.payload is None:
        # The flat object, in which a kind may find the person or not.
        assert isinstance(verdict, Event) or verdict == Refused("no_identity")
    else:
        assert isinstance(verdict, Event)
        assert (verdict.name, verdict.user_id, verdict.email) == ("Plan Renewed", "u-1", "ada@example.com")
        assert verdict.fields == {"plan": "fill in"}


@KINDS
def test_only_a_kind_with_audiences_reads_what_an_audiences_url_says(kind) -> None:
    source = kind.configure("shop", readable(SourceSettings(kind=kind.name)), [])
    body = b'{"event":"one","type":"track","user_id":"u-1"}'
    context = RequestContext(audience="vips", turn="joined")
    differs = source.read(body, RECEIVED_AT, context) != source.read(body, RECEIVED_AT)
    assert differs == kind.has_audiences


def test_outside_its_folder_no_code_knows_a_kind_by_its_name() -> None:
    named = {place for file in (ROOT / "adapter").rglob("*.py") for place in _named(file)}
    assert named == ALLOWED.keys(), "ask the declaration (adapter/sources/base.py, SourceKind) instead"


def _named(file: Path) -> Iterator[tuple[str, str]]:
    path = str(file.relative_to(ROOT))
    if not path.startswith("adapter/sources/"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in SOURCES:
                yield path, str(node.value)
