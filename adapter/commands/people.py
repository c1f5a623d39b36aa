"""`python -m adapter people`: the People API as a process of its own, on `people_port`.

It becomes gunicorn, with `adapter/gunicorn_conf.py` and the app of `adapter/app.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from adapter.people import process
from freshgate.settings_file import load

HELP = "serve the People API as a process of its own"
GUNICORN = ("-m", "gunicorn", "-c", "python:adapter.gunicorn_conf", "adapter.app:people_from_environment()")


def add(commands: Any) -> None:
    parser = commands.add_parser("people", help=HELP, description=HELP, epilog="example: python -m adapter people")
    parser.set_defaults(run=run)


def run(_options: argparse.Namespace) -> int:
    process.check(load(os.environ))
    environ = {**os.environ, process.VARIABLE: process.NAME}
    os.execve(sys.executable, [sys.executable, *GUNICORN], environ)  # nosec B606  # no shell
