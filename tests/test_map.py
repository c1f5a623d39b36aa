"""The map is true: every file, name and test that it points at exists, and every closed word stands in the glossary.

`missing_from` is pure but for the files that it looks up, and is itself held against made-up texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from freshgate.telemetry import metrics

ROOT = Path(__file__).parents[1]
PAGES = (
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/GLOSSARY.md",
    "docs/REDIS.md",
    "docs/SECURITY-MODEL.md",
    *sorted(f"docs/decisions/{page.name}" for page in (ROOT / "docs" / "decisions").glob("*.md")),
)
MANUAL = (
    "README.md",
    "docs/ADDING.md",
    "docs/BROWSER.md",
    "docs/DELIVERY.md",
    "docs/COOKBOOK.md",
    "docs/ESPS.md",
    "docs/SERVERLESS.md",
    "docs/SETTINGS.md",
    "docs/EVENTS.md",
)
MAX_ARCHITECTURE_LINES = 300

CODE_SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
# A path of this repository, then perhaps `::` and a name in that file.
REFERENCE = re.compile(r"(?P<path>[\w.-]+(?:/[\w.-]*)+|[\w-]+\.(?:py|md|toml|lua))(?:::(?P<name>[\w.]+))?")
# Made when the product runs, not part of the tree.
RUNTIME_FOLDERS = ("var/", ".venv/", "deploy/secrets/")


def missing_from(text: str, folder: Path = ROOT) -> list[str]:
    """The code spans and relative links of a page that lead nowhere; links are relative to `folder`."""
    spans = [span for span in CODE_SPAN.findall(text) if not resolves(span)]
    return spans + [target for target in LINK.findall(text) if not is_target(target, folder)]


def resolves(span: str) -> bool:
    """Whether a code span is not a reference to a file, or one that exists."""
    match = REFERENCE.fullmatch(span)
    if match is None or span.startswith(RUNTIME_FOLDERS):
        return True
    path = ROOT / match["path"]
    # `openapi.json`, `redis-py`, `a/b`: only what begins with a folder or file of ours, or looks like code, is a path.
    if not match["name"] and not looks_like_path(match["path"]):
        return True
    if not path.exists():
        return False
    return match["name"] is None or defines(path, match["name"])


def looks_like_path(path: str) -> bool:
    first = path.partition("/")[0]
    return (ROOT / first).exists() or path.endswith((".py", ".lua"))


def defines(path: Path, name: str) -> bool:
    """Whether a file defines a name: `function`, `CONSTANT`, `Class.method`; or registers a function of Redis."""
    text = read(path)
    if path.suffix == ".lua":
        return f"register_function('{name}'" in text
    return all(
        re.search(rf"^\s*(?:async def|def|class) {part}\b|^{part}(?:: [^=\n]+)? = ", text, re.MULTILINE)
        for part in name.split(".")
    )


def is_target(target: str, folder: Path) -> bool:
    path, _, anchor = target.partition("#")
    if "://" in target:
        return True
    page = (folder / path).resolve() if path else None
    if page is None or not page.exists():
        return page is None
    return not anchor or anchor in anchors(page)


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings: small letters, hyphens for spaces, no punctuation."""
    headings = re.findall(r"^#+ (.+)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def invariants(text: str) -> Iterator[str]:
    """The paragraphs that state an invariant."""
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("**Invariant: "):
            yield paragraph


# ---- the checks themselves


@pytest.mark.parametrize(
    "text",
    [
        "`workers/gone.py`",
        "`workers/gate.py::decide_not`",
        "`freshgate/state/lua/claim.lua::fg_unclaim`",
        "`tests/test_map.py::test_that_is_not_there`",
        "`adapter/gone/`",
        "[gone](docs/GONE.md)",
        "[gone](docs/GLOSSARY.md#gone)",
    ],
)
def test_what_is_not_there_is_noticed(text: str) -> None:
    assert len(missing_from(f"As {text} says.")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "`workers/gate.py::decide`",
        "`workers/gate.py::MAX_SETTLES`",
        "`workers/ledger.py::Ledger.finish`",
        "`freshgate/state/lua/claim.lua::fg_claim`",
        "`tests/engine`",
        "`var/redis`",
        '`unknown = "resend"` and `sent`',
        "[words](docs/GLOSSARY.md#outcomes)",
        "[elsewhere](https://example.com/page)",
    ],
)
def test_what_is_there_is_found(text: str) -> None:
    assert missing_from(f"As {text} says.") == []


# ---- the pages


@pytest.mark.parametrize("page", PAGES)
def test_every_file_name_and_link_of_a_page_exists(page: str) -> None:
    path = ROOT / page
    assert missing_from(read(path), path.parent) == []


@pytest.mark.parametrize("page", MANUAL)
def test_every_link_of_the_manual_leads_somewhere(page: str) -> None:
    path = ROOT / page
    assert [target for target in LINK.findall(read(path)) if not is_target(target, path.parent)] == []


def test_every_invariant_names_a_test_that_holds_it() -> None:
    stated = list(invariants(read(ROOT / "ARCHITECTURE.md")))
    assert len(stated) >= 12
    without = [
        paragraph.partition("**Invariant: ")[2].partition(".")[0]
        for paragraph in stated
        if not re.search(r"`tests/[\w/]+\.py::test_\w+`", paragraph)
    ]
    assert without == []


def test_the_code_that_the_architecture_shows_is_the_gates() -> None:
    shown = read(ROOT / "ARCHITECTURE.md").partition("```python\n")[2].partition("```")[0]
    lines = [line.strip() for line in shown.splitlines()]
    actual = {line.strip() for line in read(ROOT / "workers" / "gate.py").splitlines()}
    assert [line for line in lines if line != "..." and line not in actual] == []


def test_the_architecture_is_short_enough_to_be_read() -> None:
    assert len(read(ROOT / "ARCHITECTURE.md").splitlines()) <= MAX_ARCHITECTURE_LINES


@pytest.mark.parametrize("name", ["OUTCOMES", "VERDICTS"])
def test_every_word_of_a_closed_set_stands_in_the_glossary(name: str) -> None:
    section = read(ROOT / "docs" / "GLOSSARY.md").partition(f"## {name.title()}\n")[2].partition("\n## ")[0]
    listed = {word for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for word in CODE_SPAN.findall(row)}
    assert listed == set(getattr(metrics, name))


def test_the_glossary_is_in_order_and_has_each_word_once() -> None:
    table = read(ROOT / "docs" / "GLOSSARY.md").partition("## Words\n")[2].partition("\n## ")[0]
    words = re.findall(r"^\| ([^|`-][^|]*?) \| ", table, re.MULTILINE)[1:]
    assert words == sorted(set(words), key=str.casefold)


def test_every_decision_is_listed_in_the_index() -> None:
    pages = {page.name for page in (ROOT / "docs" / "decisions").glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", read(ROOT / "docs" / "decisions" / "README.md"))) == pages
