"""Imports suppressions from a CSV file: every line is checked before the first is written.

`python -m workers suppressions import FILE` calls it. The file is read twice, so that its size does not matter.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from freshgate.addresses import read_address
from freshgate.clock import now_ms
from freshgate.errors import SettingsError
from freshgate.state import keys
from freshgate.state.store import with_library
from freshgate.state.suppressions import Change, in_force, write_all

# Columns, by any of their names.
COLUMNS = {"address": ("address", "email", "email address"), "kind": ("kind",), "reason": ("reason",), "at": ("at",)}
MAX_REASON_LENGTH = 200
MAX_FAULTS_SHOWN = 20
BATCH = 500


class Source(NamedTuple):
    """What to import: `kind` and `reason` are those of lines without one, `kinds` all that exist."""

    file: Path
    kinds: Sequence[str]
    kind: str
    reason: str
    who: str


class Row(NamedTuple):
    """A line of the file that can be used. `at` is None where it says no time."""

    line: int
    address: str
    kind: str
    reason: str
    at: int | None


class Fault(NamedTuple):
    """A line that cannot be used, and why. The text quotes no address."""

    line: int
    text: str


def run(client: Any, pii_key: bytes, shop: str, source: Source, *, dry_run: bool) -> int:
    """Imports the file, or with `dry_run` says what it would. Returns 1 where a line cannot be used; then nothing was
    written. Raises SettingsError for a file that is not such a CSV."""
    started = now_ms()
    faults, counts = 0, Counter[str]()
    for entry in read(source, started):
        if isinstance(entry, Row):
            counts[entry.kind] += 1
            continue
        faults += 1
        if faults <= MAX_FAULTS_SHOWN:
            print(f"{source.file}:{entry.line}: {entry.text}")
    usable = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "no line"
    if faults:
        more = f" ({faults - MAX_FAULTS_SHOWN} of them not shown)" if faults > MAX_FAULTS_SHOWN else ""
        print(f"nothing imported: {faults} lines cannot be used{more}; {usable} could be")
        return 1
    if dry_run:
        print(f"would import {usable}; nothing was written")
        return 0
    done, last = Counter[str](), 0
    rows = (entry for entry in read(source, started) if isinstance(entry, Row))
    try:
        while batch := list(islice(rows, BATCH)):
            done.update(_import(client, pii_key, shop, source, batch, started))
            last = batch[-1].line
    except RedisError as error:
        print(f"stopped behind line {last}: {type(error).__name__}; run it again, what is written stays as it is")
        return 1
    print(f"imported {done['new']}; {done['known']} were known already")
    return 0


def read(source: Source, now: int) -> Iterator[Row | Fault]:
    """Each line of the file but the head. Raises SettingsError for a file that cannot be read, or has no addresses."""
    name = f"suppressions import {source.file}"
    try:
        with source.file.open(encoding="utf-8-sig", newline="") as text:
            head = text.readline()
            delimiter = max(",;\t", key=head.count)
            columns = [cell.strip().lower() for cell in next(csv.reader([head], delimiter=delimiter), [])]
            places = {
                column: next((columns.index(alias) for alias in aliases if alias in columns), None)
                for column, aliases in COLUMNS.items()
            }
            if places["address"] is None:
                raise SettingsError(f"{name}: its first line must name the columns; one of them is `address`")
            reader = csv.reader(text, delimiter=delimiter, strict=True)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    values = {
                        column: cells[place].strip() if place is not None and place < len(cells) else ""
                        for column, place in places.items()
                    }
                    yield _row(reader.line_num + 1, values, source, now)
    except OSError as error:
        raise SettingsError(f"{name}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{name}: not a CSV file in UTF-8: {type(error).__name__}") from None


def _row(line: int, values: dict[str, str], source: Source, now: int) -> Row | Fault:
    address, kind, reason = read_address(values["address"]), values["kind"] or source.kind, values["reason"]
    at = _time(values["at"])
    if address is None:
        return Fault(line, "no email address" if not values["address"] else "this is not one email address")
    if kind not in source.kinds:
        return Fault(line, f"kind {kind[:40]!r} is not known; write one of {', '.join(source.kinds)}")
    if len(reason) > MAX_REASON_LENGTH or not reason.isprintable():
        return Fault(line, f"the reason must be printable, and at most {MAX_REASON_LENGTH} characters")
    if at is None and values["at"]:
        return Fault(line, f"at {values['at'][:40]!r} is not a time; write it like 2026-03-01T12:00:00Z")
    if at is not None and at > now:
        return Fault(line, f"at {values['at'][:40]!r} lies in the future")
    return Row(line, address, kind, reason or source.reason, at)


def _time(text: str) -> int | None:
    """ISO 8601 with an offset; a day alone is its beginning in UTC. None for anything else."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None and len(text) > len("2026-03-01"):
        return None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _import(client: Any, pii_key: bytes, shop: str, source: Source, rows: Sequence[Row], now: int) -> Counter[str]:
    """Writes some lines. One that says no time, of a suppression that holds already, changes nothing."""
    ids = [keys.address_id(pii_key, row.address) for row in rows]
    pipe = client.pipeline(transaction=False)
    for address_id in ids:
        pipe.hgetall(keys.address(shop, address_id))
    known = [in_force(raw) for raw in pipe.execute()]
    changes = []
    for row, address_id, holding in zip(rows, ids, known, strict=True):
        if row.at is None and row.kind in holding:
            continue
        reason = f": {row.reason}" if row.reason else ""
        changes.append(
            Change(
                address=address_id,
                kind=row.kind,
                at=now if row.at is None else row.at,
                # The same line once more has the same stamp, and is not written.
                author=f"import {address_id}",
                value=f"{row.kind}, imported by {source.who}{reason}",
                state="suppressed by import",
            )
        )
    written = with_library(client, lambda: write_all(client, shop, changes))
    return Counter(new=written, known=len(rows) - written)
