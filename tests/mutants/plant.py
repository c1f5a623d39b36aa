"""Plants a mutant into the running process: the code of functions is replaced in place, or the text of a Lua file.

Whoever imported a function keeps the same object, with other code in it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from freshgate.state import store


def plant(path: Path, source: str) -> None:
    """From now on this process works with the mutant's source in place of the file's."""
    if path.suffix == ".lua":
        plant_library(lambda file, text: source if file == path else text)
    else:
        _plant_python(path, source)


def plant_library(change: Callable[[Path, str], str]) -> None:
    """From now on this process works with the Lua files as `change` returns them for (file, text)."""
    read_text: Callable[..., str] = Path.read_text

    def read(file: Path, *arguments: Any, **options: Any) -> str:
        text = read_text(file, *arguments, **options)
        return change(file, text) if file.suffix == ".lua" else text

    Path.read_text = read  # type: ignore[assignment, method-assign]
    store.library.cache_clear()


def _plant_python(path: Path, source: str) -> None:
    module = next(module for module in sys.modules.values() if getattr(module, "__file__", None) == str(path))
    changed = ModuleType(module.__name__)
    changed.__file__ = str(path)
    exec(compile(source, str(path), "exec"), changed.__dict__)  # noqa: S102
    functions = dict(_functions(vars(module), module.__name__))
    for name, function in _functions(vars(changed), module.__name__):
        current = functions[name]
        current.__code__ = function.__code__
        current.__defaults__, current.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    for name, value in vars(changed).items():
        # Constants. What was imported, and classes, stay what they are.
        if isinstance(value, (int, str, tuple, frozenset, dict, float)) and not name.startswith("__"):
            setattr(module, name, value)


def _functions(names: Mapping[str, Any], module: str, prefix: str = "") -> Iterator[tuple[str, FunctionType]]:
    """(name, function) of each function and method that the module itself defines."""
    for name, value in names.items():
        match value:
            case property(fget=FunctionType() as function) | cached_property(func=FunctionType() as function):
                yield prefix + name, function
            case staticmethod(__func__=FunctionType() as function) | classmethod(__func__=FunctionType() as function):
                yield prefix + name, function
            case FunctionType() if value.__module__ == module:
                yield prefix + name, value
            case type() if value.__module__ == module and not prefix:
                yield from _functions(vars(value), module, f"{name}.")
