"""How many random streams the property tests of convergence try: a setting, so that a night can try many more."""

from __future__ import annotations

import os

ENVIRONMENT = "FRESHGATE_TEST_EXAMPLES"


def examples(default: int) -> int:
    """The number that `make converge` asks for; else the test's own."""
    return int(os.environ.get(ENVIRONMENT, default))
