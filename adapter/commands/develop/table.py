"""Adds an entry to a table in a Python file: its import, and its line in the tuple or dict.

`new.py` uses it. Python's parser names the places to edit; the rest of the file stays as it is.
"""

from __future__ import annotations

import ast
from pathlib import Path

from freshgate.errors import FreshgateError

MAX_LINE_LENGTH = 120


def with_entry(file: Path, table: str, module: str, constant: str, key: str | None = None) -> str:
    """The file's text with `from MODULE import CONSTANT`, and the constant at the end of `table`.

    With a `key` the table is a dict, else a tuple. Raises FreshgateError if the file has no such table, or if the table
    has the entry already.
    """
    text = file.read_text(encoding="utf-8")
    statement = _assignment(text, table, file)
    value = statement.value
    if not isinstance(value, ast.Dict if key is not None else ast.Tuple):
        raise FreshgateError(f"{file}: {table} must be written out as a {'dict' if key is not None else 'tuple'}")
    names = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    keys = {node.value for node in getattr(value, "keys", ()) if isinstance(node, ast.Constant)}
    if constant in names or key in keys:
        raise FreshgateError(f"{file}: {table} has {key or constant} already")
    entry = constant if key is None else f'"{key}": {constant}'
    return _with_import(_with_element(text, value, entry), module, constant)


def _assignment(text: str, table: str, file: Path) -> ast.Assign | ast.AnnAssign:
    for statement in ast.parse(text).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        named = any(isinstance(target, ast.Name) and target.id == table for target in targets)
        if named and isinstance(statement, ast.Assign | ast.AnnAssign):
            return statement
    raise FreshgateError(f"{file}: there is no table {table}; docs/ADDING.md shows what it looks like")


def _with_element(text: str, value: ast.Tuple | ast.Dict, entry: str) -> str:
    lines = text.splitlines(keepends=True)
    first, last = value.lineno - 1, (value.end_lineno or 0) - 1
    if first != last:
        before = lines[last - 1].rstrip()
        if not before.endswith((",", "(", "{")) and not before.lstrip().startswith("#"):
            lines[last - 1] = f"{before},\n"
        lines.insert(last, f"    {entry},\n")
        return "".join(lines)
    # The parser counts columns in bytes.
    line = lines[first].encode()
    start, end = value.col_offset, value.end_col_offset or 0
    opening, inside, closing = line[start : start + 1], line[start + 1 : end - 1], line[end - 1 : end]
    inner = inside.decode().strip().rstrip(",")
    comma = "," if not inner and closing == b")" else ""
    joined = f"{inner}, {entry}" if inner else f"{entry}{comma}"
    edited = line[: start + 1].decode() + joined + line[end - 1 :].decode()
    if len(edited.rstrip()) > MAX_LINE_LENGTH:
        parts = [ast.get_source_segment(text, node) or "" for node in _elements(value)]
        rows = "".join(f"    {part},\n" for part in (*_with_keys(value, parts), entry))
        edited = f"{line[:start].decode()}{opening.decode()}\n{rows}{line[end - 1 :].decode()}"
    lines[first] = edited
    return "".join(lines)


def _elements(value: ast.Tuple | ast.Dict) -> list[ast.expr]:
    return value.elts if isinstance(value, ast.Tuple) else value.values


def _with_keys(value: ast.Tuple | ast.Dict, parts: list[str]) -> list[str]:
    if isinstance(value, ast.Tuple):
        return parts
    heads = ["**" if key is None else f"{ast.unparse(key).replace(chr(39), chr(34))}: " for key in value.keys]
    return [head + part for head, part in zip(heads, parts, strict=True)]


def _with_import(text: str, module: str, constant: str) -> str:
    """Puts the import behind those that sort before it; relative imports stand last, after a blank line."""
    lines = text.splitlines(keepends=True)
    body = ast.parse(text).body
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    level = len(module) - len(module.lstrip("."))
    statement = f"from {module} import {constant}\n"
    alike = [node for node in imports if isinstance(node, ast.ImportFrom) and bool(node.level) == bool(level)]
    alike = [node for node in alike if node.module != "__future__"]
    if alike:
        before = [node for node in alike if "." * node.level + (node.module or "") < module]
        index = (before[-1].end_lineno or 0) if before else alike[0].lineno - 1
        lines.insert(index, statement)
    elif imports:
        lines.insert(imports[-1].end_lineno or 0, "\n" + statement)
    else:
        # Behind the docstring.
        has_docstring = bool(body) and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
        index = (body[0].end_lineno or 0) if has_docstring else 0
        lines.insert(index, f"\n{statement}" if has_docstring else f"{statement}\n")
    return "".join(lines)
