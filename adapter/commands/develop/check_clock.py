"""Finds calls that make a trigger's function depend on more than the state: the clock, chance, files, the network.

It reads the compiled code, so every branch counts; functions of the catalog that are called are read too.
"""

from __future__ import annotations

import builtins
import datetime
import dis
import importlib
import sysconfig
import time
import uuid
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

CLOCKS = (
    *(time.time, time.time_ns, time.monotonic, time.monotonic_ns, time.perf_counter, time.localtime, time.gmtime),
    *(datetime.datetime.now, datetime.datetime.utcnow, datetime.datetime.today, datetime.date.today),
    *(uuid.uuid1, uuid.uuid4, builtins.open, builtins.input),
)
# Modules of which a function of the state has no use.
OUTSIDE = (
    "random",
    "secrets",
    "socket",
    "ssl",
    "subprocess",
    "urllib.request",
    "http",
    "requests",
    "httpx",
    "redis",
    "os",
)
LIBRARIES = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def impure_calls(function: Any) -> Iterator[tuple[str, int, str]]:
    """(file, line, name) of each use of a clock, of chance or of the outside world, in it and in what it calls."""
    function = getattr(function, "func", function)  # functools.partial
    if isinstance(function, FunctionType):
        yield from _in_function(function, set())


def _in_function(function: FunctionType, visited: set[CodeType]) -> Iterator[tuple[str, int, str]]:
    if function.__code__ in visited or function.__code__.co_filename.startswith(LIBRARIES):
        return
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    names = {**vars(builtins), **function.__globals__}
    for name, cell in cells:
        names[name] = cell.cell_contents
    yield from _in_code(function.__code__, names, visited)


def _in_code(code: CodeType, names: dict[str, Any], visited: set[CodeType]) -> Iterator[tuple[str, int, str]]:
    visited.add(code)
    imported: dict[str, Any] = {}
    value: Any = None
    for instruction in dis.get_instructions(code):
        operation, argument = instruction.opname, instruction.argval
        if operation == "IMPORT_NAME":
            value = _module(argument)
        elif operation in ("STORE_FAST", "STORE_NAME", "STORE_DEREF") and isinstance(value, ModuleType | FunctionType):
            imported[argument] = value
        elif operation.startswith("LOAD_GLOBAL") or operation in ("LOAD_NAME", "LOAD_DEREF"):
            value = imported.get(argument, names.get(argument))
        elif operation.startswith("LOAD_FAST"):
            value = imported.get(argument) if isinstance(argument, str) else None
        elif operation in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"):
            value = getattr(value, argument, None) if isinstance(value, ModuleType | type) else None
        elif operation == "LOAD_CONST" and isinstance(argument, CodeType) and argument not in visited:
            yield from _in_code(argument, {**names, **imported}, visited)
            value = None
        elif operation not in ("PUSH_NULL", "RESUME", "PRECALL", "CACHE", "COPY_FREE_VARS"):
            value = None
        if _is_impure(value):
            line = instruction.positions.lineno if instruction.positions else None
            yield code.co_filename, line or code.co_firstlineno, f"{_owner(value)}.{value.__name__}".lstrip(".")
            value = None
        elif isinstance(value, FunctionType):
            yield from _in_function(value, visited)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _is_impure(value: Any) -> bool:
    if not callable(value) or isinstance(value, type):
        return False
    module = getattr(value, "__module__", None) or ""
    is_outside = any(f"{module}.".startswith(f"{name}.") for name in OUTSIDE)
    # Builtin methods are made at each access, so they are equal and not identical.
    return is_outside or any(value == clock for clock in CLOCKS)


def _owner(value: Any) -> str:
    owner = getattr(value, "__self__", None)
    if isinstance(owner, type):
        return owner.__name__
    return getattr(owner, "__name__", None) or getattr(value, "__module__", "") or ""
