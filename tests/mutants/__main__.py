"""`make mutants`, `python -m tests.mutants`: plants faults into the engine and shows those that no test notices.

Ends with 1 where less than 95 % are noticed, or one that is not has no reason in docs/TESTING.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator

from tests.mutants.faults import faults
from tests.mutants.operators import Mutant, mutants
from tests.mutants.run import ROOT, Result, run

PYTHON = (
    "workers/gate.py",
    "workers/ledger.py",
    "workers/courier.py",
    "workers/lookup.py",
    "workers/timers.py",
    "freshgate/state/views.py",
    "freshgate/state/fold.py",
    "freshgate/state/cart.py",
    "freshgate/state/orders.py",
    "freshgate/state/records.py",
    "freshgate/state/planner.py",
    "freshgate/state/plans.py",
    "freshgate/state/profiles.py",
)
REASONS = ROOT / "docs" / "TESTING.md"
MIN_SCORE = 0.95


def planted() -> Iterator[Mutant]:
    """The faults of `faults.py`. Raises ValueError where the code has changed so much that a fault has no place."""
    for fault in faults():
        source = (ROOT / fault.file).read_text(encoding="utf-8")
        if source.count(fault.text) != 1:
            raise ValueError(f"{fault.file} has {source.count(fault.text)} times {fault.text!r}: {fault.effect}")
        line = source[: source.index(fault.text)].count("\n") + 1
        yield Mutant(
            fault.file, "", line, f"{fault.file}: {fault.effect}", source.replace(fault.text, fault.replacement)
        )


def derived() -> Iterator[Mutant]:
    """The mutants of the Python files."""
    for file in PYTHON:
        yield from mutants(file, (ROOT / file).read_text(encoding="utf-8"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants whose name contains one of these, such as gate.py")
    parser.add_argument("--slots", type=int, default=os.cpu_count() or 1, help="how many run at once")
    parser.add_argument("--verbose", action="store_true", help="also show the test that noticed each")
    options = parser.parse_args()
    chosen = [
        mutant
        for mutant in [*planted(), *derived()]
        if not options.words or any(word in mutant.name for word in options.words)
    ]
    reasons = REASONS.read_text(encoding="utf-8") if REASONS.exists() else ""
    started = time.monotonic()
    total: Counter[str] = Counter()
    noticed: Counter[str] = Counter()
    unexplained = 0

    def report(result: Result) -> None:
        nonlocal unexplained
        total[result.mutant.file] += 1
        noticed[result.mutant.file] += result.is_noticed
        if not result.is_noticed:
            is_explained = f"`{result.mutant.name}`" in reasons
            unexplained += not is_explained
            print(
                "explained" if is_explained else "SURVIVED ", f"{result.mutant.line:4}", result.mutant.name, flush=True
            )
        elif options.verbose:
            print("noticed  ", f"{result.mutant.line:4}", result.mutant.name, "|", result.test, flush=True)

    run(chosen, options.slots, report)
    for file, count in total.items():
        print(f"{file}: {noticed[file]} of {count}")
    score = noticed.total() / total.total()
    print(f"{noticed.total()} of {total.total()} noticed, {score:.1%}, in {time.monotonic() - started:.0f} s")
    return 1 if score < MIN_SCORE or unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
