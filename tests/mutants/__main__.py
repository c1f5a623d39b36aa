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
from tests.mutants.run import Result, run
from tests.mutants.touched import ROOT, lua_function

PYTHON = (
    "workers/gate.py",
    "workers/needs.py",
    "workers/ledger.py",
    "workers/courier.py",
    "workers/decider.py",
    "workers/intake.py",
    "workers/lookup.py",
    "workers/timers.py",
    "workers/account.py",
    "workers/accounts.py",
    "workers/allowances.py",
    "workers/outlet.py",
    "workers/pace.py",
    "workers/calls.py",
    "workers/lanes.py",
    "workers/messages.py",
    "workers/suppressions.py",
    "workers/suppression_import.py",
    "freshgate/needs.py",
    "freshgate/links.py",
    "freshgate/outbound.py",
    "freshgate/state/views.py",
    "freshgate/state/fields.py",
    "freshgate/state/fold.py",
    "freshgate/state/cart.py",
    "freshgate/state/orders.py",
    "freshgate/state/records.py",
    "freshgate/state/subjects.py",
    "freshgate/state/suppressions.py",
    "freshgate/state/planner.py",
    "freshgate/state/plans.py",
    "freshgate/state/profiles.py",
    "freshgate/state/wire.py",
    "adapter/ingest/feedback.py",
    "adapter/ingest/limits.py",
    "adapter/ingest/page_data.py",
    "adapter/ingest/unsubscribe.py",
    "adapter/ingest/wave.py",
    "adapter/people/document.py",
    "adapter/people/lookup.py",
)
# Tests that work in this process: a mutant is not known to others.
TESTS = (
    "tests/engine",
    "tests/freshgate/test_addresses.py",
    "tests/freshgate/test_links.py",
    "tests/freshgate/test_outbound.py",
    "tests/freshgate/test_routing.py",
    "tests/workers/test_accounts.py",
    "tests/workers/test_asks_in_lanes.py",
    "tests/workers/test_deciding_lanes.py",
    "tests/workers/test_lanes.py",
    "tests/workers/test_messages.py",
    "tests/workers/test_suppression_import.py",
    "tests/workers/test_suppressions.py",
    "tests/workers/outcomes/test_sender.py",
    "tests/adapter/commands/test_unmapped.py",
    "tests/adapter/ingest/test_limits.py",
    "tests/adapter/ingest/test_page_data.py",
    "tests/adapter/ingest/test_unmapped_trail.py",
    "tests/adapter/routes/test_feedback.py",
    "tests/adapter/routes/test_people.py",
    "tests/adapter/routes/test_unsubscribe.py",
)
REASONS = ROOT / "docs" / "TESTING.md"
MIN_SCORE = 0.95


def planted() -> Iterator[Mutant]:
    """The faults of `faults.py`. Raises ValueError where the code has changed so much that a fault has no place."""
    for fault in faults():
        source = (ROOT / fault.file).read_text(encoding="utf-8")
        if source.count(fault.text) != 1:
            raise ValueError(f"{fault.file} has {source.count(fault.text)} times {fault.text!r}: {fault.effect}")
        position = source.index(fault.text)
        yield Mutant(
            fault.file,
            lua_function(source, position + len(fault.text) - len(fault.text.lstrip())),
            source[:position].count("\n") + 1,
            f"{fault.file}: {fault.effect}",
            source.replace(fault.text, fault.replacement),
        )


def derived() -> Iterator[Mutant]:
    """The mutants of the Python files."""
    for file in PYTHON:
        yield from mutants(file, (ROOT / file).read_text(encoding="utf-8"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants whose name contains one of these, such as gate.py")
    parser.add_argument(
        "--explained", action="store_true", help="also plant those that have a reason in docs/TESTING.md"
    )
    parser.add_argument("--slots", type=int, default=os.cpu_count() or 1, help="how many run at once")
    parser.add_argument("--tests", nargs="+", default=TESTS, metavar="PATH", help="instead of all that take part")
    parser.add_argument("--verbose", action="store_true", help="also show the test that noticed each")
    options = parser.parse_args()
    chosen = [
        mutant
        for mutant in [*planted(), *derived()]
        if not options.words or any(word in mutant.name for word in options.words)
    ]
    reasons = REASONS.read_text(encoding="utf-8") if REASONS.exists() else ""
    explained = {mutant.name for mutant in chosen if f"`{mutant.name}`" in reasons}
    started = time.monotonic()
    noticed: Counter[str] = Counter()
    unexplained = 0

    def report(result: Result) -> None:
        nonlocal unexplained
        mutant = result.mutant
        noticed[mutant.file] += result.is_noticed
        unexplained += not result.is_noticed and mutant.name not in explained
        # One that has a reason and is noticed all the same needs it no more.
        if options.verbose or result.is_noticed == (mutant.name in explained):
            word = "noticed " if result.is_noticed else "SURVIVED"
            print(f"{word} {mutant.line:4} {mutant.name} | {result.test}", flush=True)

    run(
        [mutant for mutant in chosen if options.explained or mutant.name not in explained],
        options.tests,
        options.slots,
        report,
    )
    total = Counter(mutant.file for mutant in chosen)
    for file, count in total.items():
        print(f"{file}: {noticed[file]} of {count}")
    score = noticed.total() / total.total()
    print(f"{noticed.total()} of {total.total()} noticed, {score:.1%}, in {time.monotonic() - started:.0f} s")
    return 1 if score < MIN_SCORE or unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
