"""Where an entry of the catalog stands: its file and line, found in the module that made it.

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
    """`file:line` of the assignment that names the entry, or of the texts in it, each looked for behind the last one.

    The catalog itself for an entry that no module has a name for.
    """
    for module in _modules(package):
        for name, value in vars(module).items():
            node = _assigned(module, name) if value is entry else None
            if node is not None:
                return f"{file_of(module)}:{_line(node, words)}"
    return place_of_catalog(package)


def place_of_catalog(package: str) -> str:
    """`file:line` of the catalog's first line."""
    return f"{file_of(sys.modules[package])}:1"


def files_of(package: str) -> set[Path]:
    """The files of the catalog's own modules that are loaded, as `file_of` tells them."""
    own = [module for name, module in list(sys.modules.items()) if f"{name}.".startswith(f"{package}.")]
    return {Path(file_of(module)) for module in own if getattr(module, "__file__", None)}


def file_of(module: ModuleType) -> str:
    """Its path, from here where it lies below."""
    path = Path(module.__file__ or "?")
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _modules(package: str) -> list[ModuleType]:
    """The catalog's own modules first: what it imports from another has its place there."""
    loaded = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    own = [module for module in loaded if f"{module.__name__}.".startswith(f"{package}.")]
    return own + [module for module in loaded if module not in own and getattr(module, "__file__", None)]


def _assigned(module: ModuleType, name: str) -> ast.stmt | None:
    return _assignments(module.__file__ or "").get(name)


@cache
def _assignments(file: str) -> dict[str, ast.stmt]:
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return {}
    found: dict[str, ast.stmt] = {}
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        found |= {target.id: statement for target in targets if isinstance(target, ast.Name)}
    return found


def _line(statement: ast.stmt, words: tuple[str, ...]) -> int:
    line = statement.lineno
    texts = [node for node in ast.walk(statement) if isinstance(node, ast.Constant | ast.keyword)]
    for word in words:
        lines = [node.lineno for node in texts if word in (getattr(node, "value", None), getattr(node, "arg", None))]
        line = min((one for one in lines if one >= line), default=line)
    return line
