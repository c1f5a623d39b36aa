"""Finds what a catalog declares and lists nowhere: an event type or a trigger that stands in no table does nothing.

`check.py` collects the faults.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from adapter.commands.develop.faults import Fault
from adapter.commands.develop.places import file_of, place_of_catalog, short_path, top_assignments
from freshgate.declare import EventType, Trigger

TABLES: dict[type[EventType] | type[Trigger], str] = {EventType: "EVENTS", Trigger: "TRIGGERS"}


def table_faults(catalog: ModuleType) -> Iterator[Fault]:
    """Entries of the tables that are neither an event type nor a trigger; then what stands in no table."""
    for kind, table in TABLES.items():
        for entry in getattr(catalog, table):
            if not isinstance(entry, kind):
                text = f"{table} holds {type(entry).__name__} {entry!r:.60}; write the {kind.__name__} itself"
                yield Fault(place_of_catalog(catalog.__name__), text)


def unlisted(catalog: ModuleType) -> Iterator[Fault]:
    """Declarations of the catalog's own files whose name no entry of a table has; `_BASE` is for others to copy."""
    names = {kind: {entry.name for entry in getattr(catalog, table)} for kind, table in TABLES.items()}
    loaded = {str(Path(file_of(module)).resolve()): module for module in _own_modules(catalog)}
    for file in _own_files(catalog):
        module = loaded.get(str(file.resolve()))
        for constant, statement in top_assignments(str(file)).items():
            if constant.startswith("_"):
                continue
            kind, name = _declared(statement, constant, module)
            if kind is not None and name not in names[kind]:
                place = f"{short_path(str(file))}:{statement.lineno}"
                what = "event type" if kind is EventType else "trigger"
                advice = f"import it and add {constant} to {TABLES[kind]}, or call it _{constant}"
                yield Fault(place, f"{what} {name!r} stands in no table, so it does nothing; {advice}")


def _declared(
    statement: ast.stmt, constant: str, module: ModuleType | None
) -> tuple[type[EventType] | type[Trigger] | None, str]:
    """The kind and the name of what the statement declares; of a file that nobody imports, by its text alone."""
    value = getattr(module, constant, None) if module else None
    if isinstance(value, EventType | Trigger):
        return type(value), value.name
    call = getattr(statement, "value", None)
    if module is not None or not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return None, ""
    kind = next((kind for kind in TABLES if kind.__name__ == call.func.id), None)
    names = [keyword.value for keyword in call.keywords if keyword.arg == "name"]
    return kind, str(getattr(names[0], "value", constant)) if names else constant


def _own_modules(catalog: ModuleType) -> list[ModuleType]:
    prefix = f"{catalog.__name__}."
    return [module for name, module in list(sys.modules.items()) if f"{name}.".startswith(prefix) and module.__file__]


def _own_files(catalog: ModuleType) -> list[Path]:
    file = Path(catalog.__file__ or "")
    if not hasattr(catalog, "__path__"):
        return [file]
    return sorted(path for path in file.parent.rglob("*.py") if not path.name.startswith("test"))
