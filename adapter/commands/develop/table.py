"""One more entry in a table of the code: its import, and its line in the tuple or dict. The rest stays as it is.

`new.py` uses it; the text is edited by the places that Python's own parser names.
"""

from __future__ import annotations

import ast
from pathlib import Path

from freshgate.errors import FreshgateError

WIDTH = 120


def with_entry(file: Path, table: str, module: str, constant: str, key: str | None = None) -> str:
    """The file's text with `from MODULE import CONSTANT`, and the constant at the end of `table` (a dict, given `key`).

    Raises FreshgateError where there is no such table, or where it has the entry.
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
    # Columns of the parser count bytes.
    line = lines[first].encode()
    start, end = value.col_offset, value.end_col_offset or 0
    opening, inside, closing = line[start : start + 1], line[start + 1 : end - 1], line[end - 1 : end]
    inner = inside.decode().strip().rstrip(",")
    comma = "," if not inner and closing == b")" else ""
    joined = f"{inner}, {entry}" if inner else f"{entry}{comma}"
    made = line[: start + 1].decode() + joined + line[end - 1 :].decode()
    if len(made.rstrip()) > WIDTH:
        parts = [ast.get_source_segment(text, node) or "" for node in _elements(value)]
        rows = "".join(f"    {part},\n" for part in (*_keyed(value, parts), entry))
        made = f"{line[:start].decode()}{opening.decode()}\n{rows}{line[end - 1 :].decode()}"
    lines[first] = made
    return "".join(lines)


def _elements(value: ast.Tuple | ast.Dict) -> list[ast.expr]:
    return value.elts if isinstance(value, ast.Tuple) else value.values


def _keyed(value: ast.Tuple | ast.Dict, parts: list[str]) -> list[str]:
    if isinstance(value, ast.Tuple):
        return parts
    heads = ["**" if key is None else f"{ast.unparse(key).replace(chr(39), chr(34))}: " for key in value.keys]
    return [head + part for head, part in zip(heads, parts, strict=True)]


def _with_import(text: str, module: str, constant: str) -> str:
    """Behind the imports that sort before it; relative ones stand last, after a blank line."""
    lines = text.splitlines(keepends=True)
    body = ast.parse(text).body
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    level = len(module) - len(module.lstrip("."))
    new = f"from {module} import {constant}\n"
    alike = [node for node in imports if isinstance(node, ast.ImportFrom) and bool(node.level) == bool(level)]
    alike = [node for node in alike if node.module != "__future__"]
    if alike:
        behind = [node for node in alike if "." * node.level + (node.module or "") < module]
        at = (behind[-1].end_lineno or 0) if behind else alike[0].lineno - 1
        lines.insert(at, new)
    elif imports:
        lines.insert(imports[-1].end_lineno or 0, "\n" + new)
    else:
        # Behind the docstring.
        is_text = bool(body) and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
        at = (body[0].end_lineno or 0) if is_text else 0
        lines.insert(at, f"\n{new}" if is_text else f"{new}\n")
    return "".join(lines)
