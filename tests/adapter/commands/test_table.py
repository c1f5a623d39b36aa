"""`with_entry` adds an entry to a table however it is written, and leaves the rest of the file as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapter.commands.develop.table import with_entry
from freshgate.errors import FreshgateError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "__init__.py"


def edited(file: Path, text: str, table: str = "EVENTS", module: str = ".new", key: str | None = None) -> str:
    file.write_text(text, encoding="utf-8")
    return with_entry(file, table, module, "NEW", key)


def test_a_tuple_of_many_lines_gets_a_line_and_its_import_in_order(file: Path) -> None:
    head = '"""Doc."""\n\nfrom .alias import ALIAS\nfrom .page import PAGE\n\n'
    assert edited(file, head + "EVENTS = (\n    ALIAS,  # why\n    PAGE,\n)\n") == (
        '"""Doc."""\n\nfrom .alias import ALIAS\nfrom .new import NEW\nfrom .page import PAGE\n\n'
        "EVENTS = (\n    ALIAS,  # why\n    PAGE,\n    NEW,\n)\n"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("()", "(NEW,)"),
        ("(A,)", "(A, NEW)"),
        ("(A, B)", "(A, B, NEW)"),
        ("(*ours.EVENTS, Ä)", "(*ours.EVENTS, Ä, NEW)"),
        ("(\n    A,\n    B\n)", "(\n    A,\n    B,\n    NEW,\n)"),
        ("(\n    A,\n    # a comment\n)", "(\n    A,\n    # a comment\n    NEW,\n)"),
    ],
)
def test_a_tuple_however_it_is_written(file: Path, before: str, after: str) -> None:
    assert edited(file, f"EVENTS = {before}\nTRIGGERS = ()\n").endswith(f"EVENTS = {after}\nTRIGGERS = ()\n")


def test_a_line_that_would_be_too_long_is_broken(file: Path) -> None:
    names = ", ".join(f"EVENT_NUMBER_{number}" for number in range(7))
    text = edited(file, f"EVENTS = ({names})\n")
    assert text.endswith("    EVENT_NUMBER_6,\n    NEW,\n)\n")
    assert all(len(line) <= 120 for line in text.splitlines())


def test_a_dict_gets_its_key(file: Path) -> None:
    text = 'from a.sources.one import ONE\n\nSOURCES: dict[str, Kind] = {"one": ONE}\n'
    assert edited(file, text, "SOURCES", "a.sources.new", "new") == (
        "from a.sources.new import NEW\nfrom a.sources.one import ONE\n\n"
        'SOURCES: dict[str, Kind] = {"one": ONE, "new": NEW}\n'
    )


def test_a_first_relative_import_stands_behind_the_others(file: Path) -> None:
    text = '"""Doc."""\n\nfrom __future__ import annotations\n\nimport ours\n\nEVENTS = (*ours.EVENTS,)\n'
    assert edited(file, text) == (
        '"""Doc."""\n\nfrom __future__ import annotations\n\nimport ours\n\nfrom .new import NEW\n\n'
        "EVENTS = (*ours.EVENTS, NEW)\n"
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("EVENTS = (NEW,)\n", "EVENTS has NEW already"),
        ("TRIGGERS = ()\n", "there is no table EVENTS"),
        ("EVENTS = tuple(found())\n", "EVENTS must be written out as a tuple"),
    ],
)
def test_what_cannot_be_edited_is_left_alone(file: Path, text: str, error: str) -> None:
    with pytest.raises(FreshgateError, match=error):
        edited(file, text)
    assert file.read_text() == text
