"""Finds the file and line of a catalog's entry, in the module that assigns it.

`check.py` prints them, so that an editor or a CI can jump there.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any


def place_of(entry: Any, package: str, *words: str) -> str:
    """`file:line` of the entry's assignment, or of `words` in it, each looked for behind the one before.

    The first line of the catalog for an entry that no module assigns to a name.
    """
    for module in _modules(package):
        for name, value in vars(module).items():
            assignment = top_assignments(module.__file__ or "").get(name) if value is entry else None
            if assignment is not None:
                return f"{file_of(module)}:{_line(assignment, words)}"
    return place_of_catalog(package)


def is_own(entry: Any, package: str) -> bool:
    """Whether a module of the catalog assigns the entry, rather than one that it imports."""
    own = (module for module in _modules(package) if f"{module.__name__}.".startswith(f"{package}."))
    return any(
        value is entry and name in top_assignments(module.__file__ or "")
        for module in own
        for name, value in vars(module).items()
    )


def place_of_catalog(package: str) -> str:
    """`file:line` of the catalog's first line."""
    return f"{file_of(sys.modules[package])}:1"


def files_of(package: str) -> set[Path]:
    """The files of the catalog's own modules, as far as they are loaded."""
    own = [module for name, module in list(sys.modules.items()) if f"{name}.".startswith(f"{package}.")]
    return {Path(file_of(module)) for module in own if getattr(module, "__file__", None)}


def file_of(module: ModuleType) -> str:
    return short_path(module.__file__ or "?")


def short_path(file: str) -> str:
    """The path, relative to the working directory if it lies below it."""
    path, working_directory = Path(file), Path.cwd()
    return str(path.relative_to(working_directory) if path.is_relative_to(working_directory) else path)


@cache
def top_assignments(file: str) -> dict[str, ast.stmt]:
    """Name → statement of each assignment at the top of the file; empty for a file that cannot be read."""
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return {}
    assignments: dict[str, ast.stmt] = {}
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        assignments |= {target.id: statement for target in targets if isinstance(target, ast.Name)}
    return assignments


def _modules(package: str) -> list[ModuleType]:
    """The catalog's own modules first, then all others, from which it may import entries."""
    loaded = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    own = [module for module in loaded if f"{module.__name__}.".startswith(f"{package}.")]
    return own + [module for module in loaded if module not in own and getattr(module, "__file__", None)]


def _line(statement: ast.stmt, words: tuple[str, ...]) -> int:
    line = statement.lineno
    texts = [node for node in ast.walk(statement) if isinstance(node, ast.Constant | ast.keyword)]
    for word in words:
        lines = [node.lineno for node in texts if word in (getattr(node, "value", None), getattr(node, "arg", None))]
        line = min((number for number in lines if number >= line), default=line)
    return line
