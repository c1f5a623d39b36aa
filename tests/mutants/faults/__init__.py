"""Faults in the Lua functions, planted one by one: each guard and comparison of the engine that runs inside Redis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import NamedTuple

from tests.mutants.faults import (
    account,
    cart,
    claim,
    dedupe,
    erasure,
    feedback,
    identity,
    library,
    limits,
    members,
    moves,
    outcomes,
    people,
    purchases,
    rates,
    read,
    record,
    subjects,
    timers,
    unmapped,
)

FOLDER = "freshgate/state/lua"
FILES: Sequence[tuple[str, ModuleType]] = (
    ("library.lua", library),
    ("cart.lua", cart),
    ("members.lua", members),
    ("erasure.lua", erasure),
    ("moves.lua", moves),
    ("identity.lua", identity),
    ("dedupe.lua", dedupe),
    ("purchases.lua", purchases),
    ("limits.lua", limits),
    ("subjects.lua", subjects),
    ("record.lua", record),
    ("read.lua", read),
    ("claim.lua", claim),
    ("timers.lua", timers),
    ("rates.lua", rates),
    ("account.lua", account),
    ("feedback.lua", feedback),
    ("people.lua", people),
    ("unmapped.lua", unmapped),
    ("outcomes.lua", outcomes),
)
# Lists beside FAULTS: what other files have of the same subject.
OTHERS: Sequence[tuple[str, Sequence[tuple[str, str, str]]]] = (
    ("sends.lua", feedback.SENDS),
    ("claim.lua", outcomes.CALLED_BY_CLAIM),
    ("feedback.lua", outcomes.CALLED_BY_FEEDBACK),
    ("sends.lua", outcomes.CALLED_BY_SENDS),
)


class Fault(NamedTuple):
    """In this file, this text, which stands there once, is replaced; and what that breaks."""

    file: str
    text: str
    replacement: str
    effect: str


def faults() -> Iterator[Fault]:
    """All faults, file by file."""
    for file, module in FILES:
        for text, replacement, effect in module.FAULTS:
            yield Fault(f"{FOLDER}/{file}", text, replacement, effect)
    for file, planted in OTHERS:
        for text, replacement, effect in planted:
            yield Fault(f"{FOLDER}/{file}", text, replacement, effect)
