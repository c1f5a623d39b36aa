"""`python -m adapter run`: everything on this machine, as `make run` starts it.

`adapter/local/launcher.py` does it.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from adapter.local import launcher

HELP = "start everything: Valkey, receiver, worker, timers and the sandbox ESP"


def add(commands: Any) -> None:
    parser = commands.add_parser("run", help=HELP, description=HELP, epilog="example: python -m adapter run")
    parser.set_defaults(run=run)


def run(_options: argparse.Namespace) -> int:
    return launcher.run(os.environ)
