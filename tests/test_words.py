"""Identifiers use the words of the field: no name that the code defines contains a word that needs an explanation.

It checks definitions only: a name from a library, or in a string, is not ours to choose.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("freshgate", "adapter", "workers", "catalog", "dashboards", "bench", "deploy", "docs", "tests")

# None of them says what the value is: `told` may be a payload, rows or a reply, `one` any element.
PRIVATE = frozenset(
    ("told", "said", "made", "given", "one", "ones", "begun", "found", "further", "garbled", "ours", "theirs", "seen")
    + ("again", "whose", "here", "every", "kept", "look", "anew", "left", "lenient")
    # MAX_X, MAX_X_LENGTH, MAX_DEPTH and MIN_X are the names for limits, X_INTERVAL_S for an interval.
    + ("most", "longest", "deepest", "fewest")
)

# Name → why it is allowed all the same.
ALLOWED_NAMES = {
    "PAGE_LEFT": "the event is called Page Left",
    "ONE_OF": "oneOf is the word of JSON Schema",
    "last_seen": "the usual name for the time of the newest occurrence",
    "first_seen": "the usual name for the time of the oldest occurrence",
    "connection_made": "asyncio.Protocol calls it",
}


def words(name: str) -> set[str]:
    """The words of an identifier in snake_case or CamelCase, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def defined_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, name) of each function, class, argument, variable, attribute and alias that the code defines.

    Test functions are left out, since their names are sentences.
    """
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if not name.startswith("test_"):
                    yield node.lineno, name
            case ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield node.lineno, name
            case ast.MatchMapping(rest=str(name)):
                yield node.lineno, name
            case ast.alias(asname=str(name)):
                yield node.lineno, name


def private_names(source: str) -> list[tuple[int, str]]:
    """(line, name) of each defined name that contains a private word, in the order of the lines."""
    names = defined_names(ast.parse(source))
    return sorted((line, name) for line, name in names if words(name) & PRIVATE and name not in ALLOWED_NAMES)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("told = 1", "told"),
        ("rows_told: int = 1", "rows_told"),
        ("for one in (): pass", "one"),
        ("[one for one in ()]", "one"),
        ("def f(whose): pass", "whose"),
        ("def look_up(): pass", "look_up"),
        ("class ToldEvent: pass", "ToldEvent"),
        ("self.kept = 1", "kept"),
        ("class A:\n    left: int", "left"),
        ("MOST_LINES = 1", "MOST_LINES"),
        ("LONGEST_NAME = 1", "LONGEST_NAME"),
        ("DEEPEST = 1", "DEEPEST"),
        ("FEWEST_SENDS = 1", "FEWEST_SENDS"),
        ("POLL_EVERY_S = 1", "POLL_EVERY_S"),
        ("if (found := 1): pass", "found"),
        ("import a as ours", "ours"),
        ("try: pass\nexcept OSError as seen: pass", "seen"),
        ("match a:\n    case [one]: pass", "one"),
    ],
)
def test_a_private_word_is_reported_wherever_a_name_is_defined(source: str, name: str) -> None:
    assert [reported for _, reported in private_names(source)] == [name]


@pytest.mark.parametrize(
    "source",
    [
        "payload = 1",
        "one_shot",
        "a.told",
        "f(told=1)",
        "from hypothesis import given",
        "oneself = 1",
        "HEADER = 1",
        "foundation = 'told'",
        "def test_one_cart_mail_a_day(): pass",
    ],
)
def test_other_names_and_mere_uses_of_a_name_pass(source: str) -> None:
    assert private_names(source) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_identifier_contains_a_private_word(folder: str) -> None:
    private = []
    for file in sorted((ROOT / folder).rglob("*.py")):
        path = file.relative_to(ROOT).as_posix()
        private += [f"{path}:{line}: {name}" for line, name in private_names(file.read_text(encoding="utf-8"))]
    if private:
        pytest.fail("name these in the words of docs/GLOSSARY.md:\n" + "\n".join(private), pytrace=False)
