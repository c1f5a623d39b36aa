"""`python -m workers esps`: a table of the kinds of ESP and what each can do.

docs/ESPS.md has this table; a test compares the two. The facts are declared in `workers/esp/`, beside each kind's code.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from workers.esp import ESPS
from workers.esp.base import EspKind
from workers.esp.capabilities import DAY_S, HOUR_S

HELP = "list the kinds of ESP, and what each can do"
EPILOG = """example:
  python -m workers esps

docs/ESPS.md has the same table, and a section on each kind."""
HEAD = (
    ("kind", "accepted means"),
    ("same send asked twice", "mails a call", "calls at once", "scheduling", "template"),
    ("our send id travels in", "headers of ours", "`asm_group_id`", "for real mail"),
)


def add_command(commands: Any) -> None:
    """Declares the command."""
    commands.add_parser(
        "esps", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def run() -> int:
    print("\n".join(table(ESPS)))
    return 0


def table(kinds: Mapping[str, EspKind]) -> Iterator[str]:
    """The lines of a Markdown table with a row for each kind."""
    head = [cell for part in HEAD for cell in part]
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for name, kind in kinds.items():
        can = kind.capabilities
        cells = (
            f"`{name}`",
            can.accepts,
            f"one mail, within {_duration(can.idempotency_s)}" if can.idempotency_s else "two mails",
            str(getattr(kind, "max_batch", 1)),
            str(can.max_calls or "–"),
            _duration(can.schedule_s) if can.schedule_s else "–",
            can.templates,
            can.send_id,
            "yes" if can.headers else "no",
            "yes" if can.asm_group else "no",
            f"`{can.live_url}`",
        )
        yield f"| {' | '.join(cells)} |"


def _duration(seconds: int) -> str:
    return f"{seconds // DAY_S} d" if seconds % DAY_S == 0 else f"{seconds // HOUR_S} h"
