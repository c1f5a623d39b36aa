"""Finds a `when` that can never match: its CDP sends no such text, or not at that place.

`SourceKind` declares what a CDP sends; `check_events.py` yields these faults.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from adapter.sources.base import SourceKind
from adapter.sources.reading.paths import alternatives


def impossible(kind: SourceKind[Any], when: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(path, what is wrong and what to write) for each condition that no element can meet."""
    for path, value in when.items():
        texts = alternatives(value) if isinstance(value, str | tuple) else (value,)
        if not texts:
            yield path, f"`when` names no text for {path!r}, so it can never match; write at least one"
        for text in texts:
            if not isinstance(text, str):
                yield path, f"`when` compares {path!r} with {text!r}, which is not a text, so it can never match"
            elif not text.strip():
                yield path, f"`when` compares {path!r} with an empty text, so it can never match"
            elif text != text.strip():
                yield path, f"`when` has blanks around {text!r}; write {text.strip()!r}"
            else:
                yield from _unsent(kind, path, text)
        if kind.roots and path.split(".")[0] not in kind.roots:
            near = difflib.get_close_matches(path.split(".")[0], kind.roots, 1) or kind.roots
            yield path, f"`when` looks at {path!r}, which no element has; is {' or '.join(near)} meant?"
        yield from _misplaced(kind, path, when)


def _unsent(kind: SourceKind[Any], path: str, text: str) -> Iterator[tuple[str, str]]:
    known = kind.texts.get(path, ())
    if known and text not in known:
        near = difflib.get_close_matches(text, known, 1)
        advice = f"is {near[0]!r} meant?" if near else f"known: {', '.join(known)}"
        yield path, f"`when` can never match: {kind.name} sends no {path} {text!r}; {advice}"


def _misplaced(kind: SourceKind[Any], path: str, when: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if path not in kind.beside:
        return
    other, texts = kind.beside[path]
    values = when.get(other, ())
    wrong = [text for text in alternatives(values) if text not in texts] if isinstance(values, str | tuple) else []
    if wrong:
        yield path, f"`when` can never match: {path!r} stands beside {other} {' or '.join(texts)}, not {wrong[0]!r}"
