"""How settings are written: durations, caps, lists, names, and the environment that overrides the file.

`settings.py` owns the structs, `settings_checks.py` the values; every error here names the key and what to write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from freshgate import durations
from freshgate.errors import SettingsError

PREFIX = "FRESHGATE_"
# Variables that are not settings: read elsewhere, or set by an orchestrator for a service that is called "freshgate".
NOT_SETTINGS = re.compile(r"FRESHGATE_(CONFIG|CATALOG_COPY|PROCESS|TEST_\w+|BENCH_\w+|SERVICE_\w+|PORT_\d+_\w+)")


def setting_name(*parts: str) -> str:
    """A key as the operator may write it: `sources.shop.kind (FRESHGATE_SOURCES__SHOP__KIND)`."""
    return f"{'.'.join(parts)} ({PREFIX}{'__'.join(parts).upper()})"


def duration_ms(value: object, key: str) -> int:
    """ "30m" → 1_800_000. Units: ms, s, m, h, d."""
    duration = durations.parse_duration(value) if isinstance(value, str) else None
    if duration is None:
        raise SettingsError(f'{key}: {value!r} is not a duration; write a number and ms, s, m, h or d, such as "30m"')
    return duration


def parse_cap(value: object, key: str) -> tuple[int, int]:
    """ "1/24h" → (1, 86_400_000): at most one in 24 hours. "100/s" is "100/1s"."""
    cap = durations.parse_cap(value) if isinstance(value, str) else None
    if cap is None:
        raise SettingsError(f'{key}: {value!r} is not a cap; write how many in how long, such as "1/24h"')
    return cap


def parse_ramp(value: object, key: str) -> tuple[int, float, int]:
    """ "50/d x2 to 20000/d" → (50, 2.0, 20000): mails of the first day, the factor from day to day, and the end."""
    ramp = durations.parse_ramp(value) if isinstance(value, str) else None
    if ramp is None:
        raise SettingsError(
            f"{key}: {value!r} is not a ramp; write the first day, how many times as many each day, and where it ends, "
            'such as "50/d x2 to 20000/d"'
        )
    return ramp


def parse_list(text: str, key: str) -> list[str]:
    """ "new,old", or a JSON list for values that hold commas (Authorization values may)."""
    if not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise SettingsError(f'{key}: begins like a JSON list, but is not one; write ["new", "old"], or new,old')
    return values


def apply_environment(document: dict[str, Any], environ: Mapping[str, str], lists: Iterable[str]) -> None:
    """Writes every FRESHGATE_ variable into `document`, in place. Empty variables count as not set.

    lists  names of the fields that are lists: split by comma, or by line in a `*_FILE`
    """
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or NOT_SETTINGS.fullmatch(variable) or not environ[variable]:
            continue
        *tables, field = variable.removeprefix(PREFIX).lower().split("__")
        value: str | list[str] = environ[variable]
        if field.endswith("_file"):
            field = field.removesuffix("_file")
            if environ.get(variable.removesuffix("_FILE")):
                raise SettingsError(f"{variable} and {variable.removesuffix('_FILE')} are both set; keep one of them")
            value = _read_value_file(environ[variable], variable, is_list=field in lists)
        elif field in lists:
            value = parse_list(environ[variable], variable)
        table = document
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise SettingsError(f"{variable}: '{name}' is a single value, it has no '{field}' below it")
        table[field] = value


def _read_value_file(name: str, variable: str, *, is_list: bool) -> str | list[str]:
    try:
        text = Path(name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SettingsError(f"{variable}: cannot read {name}: {reason}; name a readable file") from None
    return [line.strip() for line in text.splitlines() if line.strip()] if is_list else text


def check_names(table: object, known: Iterable[str], *parts: str) -> dict[str, Any]:
    """The table, if every name in it is known. Raises SettingsError, with the nearest name for a typing error."""
    if not isinstance(table, dict):
        raise SettingsError(f"{'.'.join(parts)}: expected a table; write [{'.'.join(parts)}] and its keys below")
    known = sorted(known)
    for name in table:
        if name not in known:
            nearest = get_close_matches(name, known, n=1)
            advice = f"did you mean '{nearest[0]}'?" if nearest else f"known here: {', '.join(known)}"
            raise SettingsError(f"{setting_name(*parts, name)}: no such setting; {advice}")
    return table


def split_hosts(hosts: str) -> list[str]:
    """The hosts of the setting `metrics_host`; the first is what the processes' own machine asks."""
    return [host.strip() for host in hosts.split(",") if host.strip()] or ["127.0.0.1"]
