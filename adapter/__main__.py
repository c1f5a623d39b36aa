"""The command line of the adapter: `python -m adapter COMMAND`, or `freshgate COMMAND`.

Each command is a module with HELP, `add` and `run`; this file lists them and imports the one that is asked for.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # before an import fails with a less helpful error
    sys.exit("Freshgate needs Python 3.11 or newer; this is " + sys.version.split()[0])

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from freshgate.command_line import Parser, run_command

COMMANDS = {
    "run": "adapter.commands.run",
    "people": "adapter.commands.people",
    "read": "adapter.commands.develop.read",
    "check": "adapter.commands.develop.check",
    "events": "adapter.commands.develop.events",
    "new": "adapter.commands.develop.new",
    "preview": "adapter.commands.develop.preview",
    "replay": "adapter.commands.post.replay",
    "sign": "adapter.commands.post.sign",
    "traffic": "adapter.commands.post.traffic",
    "why": "adapter.commands.operate.why",
    "unmapped": "adapter.commands.operate.unmapped",
    "quarantine": "adapter.commands.operate.quarantine",
    "settings": "adapter.commands.operate.settings",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; faults are printed as one line."""
    words = sys.argv[1:] if arguments is None else arguments
    return run_command("freshgate", lambda: run_as("python -m adapter", words))


def run_as(program: str, arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code. `program` is how the caller is named in the help."""
    options = build_parser(program, arguments[0] if arguments else "").parse_args(arguments)
    code: int = options.run(options)
    return code


def build_parser(program: str = "python -m adapter", command: str = "") -> argparse.ArgumentParser:
    """A parser of that command alone, so that `why` starts without Flask; of all commands if there is no such one."""
    parser = Parser(prog=program, description="Freshgate: CDP webhooks in, fresh mails out.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name in (command,) if command in COMMANDS else COMMANDS:
        load_command(name).add(commands)
    return parser


def load_command(name: str) -> Any:
    return import_module(COMMANDS[name])


if __name__ == "__main__":
    sys.exit(main())
