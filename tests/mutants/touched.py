"""Which functions each test calls, in Python and in Lua: what is changed in others, it cannot notice.

`run.py` asks it while the tests run without a mutant.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import redis

from freshgate.state import store
from tests.mutants.plant import plant_library

ROOT = Path(__file__).parents[2]
LUA = ROOT / "freshgate" / "state" / "lua"
# (file, function); of a Lua file "" is what stands outside of its functions.
Touched = set[tuple[str, str]]
HEAD = re.compile(
    r"^(?:local function (?P<local>\w+)|redis\.register_function\('(?P<registered>\w+)', function)\([^)]*\)",
    re.MULTILINE,
)


def lua_function(source: str, position: int) -> str:
    """The outermost Lua function around that position; "" outside of them."""
    name, end = "", -1
    for head in HEAD.finditer(source):
        if head.start() > position:
            break
        name = head["local"] or head["registered"]
        line = source[head.end() : source.index("\n", head.end())]
        # A function ends on its own line, or with the first `end` that is not indented.
        is_short = re.search(r"\bend\)?$", line)
        end = head.end() + len(line) if is_short else source.index("\nend", head.end()) + 4
    return name if position < end else ""


class Recorder:
    """Records the functions that are called, between `start` and `stop`."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._touched: Touched = set()
        self._names = cache(self._name)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Meanwhile the library notes what it calls. Its notes go when it is loaded, so they are read before that."""
        load = store.load

        def load_and_read(client: redis.Redis) -> None:
            self._read()
            load(client)

        plant_library(_instrument)
        store.load = load_and_read
        try:
            yield
        finally:
            store.load = load

    def start(self) -> None:
        self._read()
        self._touched = set()
        threading.setprofile(self._record)
        sys.setprofile(self._record)

    def stop(self) -> Touched:
        sys.setprofile(None)
        threading.setprofile(None)
        self._read()
        return self._touched

    def _record(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            name = self._names(frame.f_code)
            if name:
                self._touched.add(name)

    def _name(self, code: CodeType) -> tuple[str, str] | None:
        file = code.co_filename.removeprefix(f"{ROOT}/")
        is_product = not file.startswith((".venv", "tests/", "/", "<"))
        return (file, code.co_qualname.partition(".<locals>")[0]) if is_product else None

    def _read(self) -> None:
        prefix, _ = store.library()
        try:
            names: Any = self._client.fcall(f"{prefix}touched", 0)
        except redis.ResponseError:
            # Not loaded.
            return
        for name in names:
            file, _, function = name.decode().partition(":")
            self._touched.add((file, function))


def _instrument(file: Path, source: str) -> str:
    """Lua code in which each function notes that it is called."""
    path = file.relative_to(ROOT).as_posix()

    def note(head: re.Match[str]) -> str:
        return f"{head[0]} TOUCHED['{path}:{head['local'] or head['registered']}'] = true;"

    changed = HEAD.sub(note, source)
    if file.name == "library.lua":
        return f"local TOUCHED = {{}}\n{changed}{TOUCHED}"
    return changed


TOUCHED = """
redis.register_function('fg_touched', function()
  local names = {}
  for name in pairs(TOUCHED) do names[#names + 1] = name end
  TOUCHED = {}
  return names
end)
"""
