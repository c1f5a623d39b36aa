"""`freshgate COMMAND`: hands the command line to the adapter or to the workers, and lists what both can do.

`adapter/__main__.py` and `workers/__main__.py` have the commands; only what the one command needs is imported.
"""

from __future__ import annotations

import difflib
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

from adapter import __main__ as adapter
from freshgate.command_line import run_command
from freshgate.version import VERSION
from workers import __main__ as workers

USAGE = "usage: freshgate COMMAND ..."
# Folder of adapter/commands → how the help calls its commands, in this order.
TITLES = {
    "commands": "run",
    "develop": "develop a catalog",
    "post": "post to a receiver",
    "operate": "operate",
    "processes": "processes, where each runs on its own",
}
EXAMPLES = """examples:
  freshgate run
  freshgate why ada@example.com
  freshgate dead replay --max-age 3d
  freshgate workers deliver

`freshgate COMMAND --help` explains one, with examples."""
USAGE_WRONG = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; faults are printed as one line."""
    # As `python -m` does: a catalog in the folder that the command is called in is found.
    if not sys.flags.safe_path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    words = sys.argv[1:] if arguments is None else arguments
    return run_command("freshgate", lambda: run(words))


def run(words: Sequence[str]) -> int:
    command = words[0] if words else ""
    if command in adapter.COMMANDS:
        return adapter.run_as("freshgate", words)
    if command in workers.OPERATOR_COMMANDS:
        return workers.run_as("freshgate", words)
    if command == "workers":
        return workers.run_as("freshgate workers", words[1:])
    if command in ("-h", "--help"):
        print(help_text(shutil.get_terminal_size().columns))
        return 0
    if command == "--version":
        print(f"freshgate {VERSION}")
        return 0
    print(f"{USAGE}\nfreshgate: {_complaint(command)} `freshgate --help` lists the commands.", file=sys.stderr)
    return USAGE_WRONG


def help_text(width: int) -> str:
    """All commands with a line each, grouped by what they are for."""
    parts = [USAGE, "Freshgate: CDP webhooks in, fresh mails out."]
    lines = list(_commands())
    for group, title in TITLES.items():
        entries = [_entry(command, text, width) for folder, command, text in lines if folder == group]
        parts.append("\n".join([f"{title}:", *entries]))
    return "\n\n".join([*parts, EXAMPLES])


def _commands() -> Iterator[tuple[str, str, str]]:
    """Group, command and help of each."""
    for name, module in adapter.COMMANDS.items():
        yield module.split(".")[-2], name, adapter.load_command(name).HELP
    for name, text in workers.OPERATOR_COMMANDS.items():
        yield "operate", name, text
    for name, text in workers.PROCESSES.items():
        yield "processes", f"workers {name}", text


def _entry(command: str, text: str, width: int) -> str:
    indent = " " * 19
    return textwrap.fill(text, max(width, 60), initial_indent=f"  {command:<16} ", subsequent_indent=indent)


def _complaint(command: str) -> str:
    if not command:
        return "write a command."
    lines = {name: name for name in (*adapter.COMMANDS, *workers.OPERATOR_COMMANDS, "workers")}
    lines |= {name: f"workers {name}" for name in workers.PROCESSES}
    matches = difflib.get_close_matches(command, lines, 1)
    return f"no command {command!r}." + (f" Did you mean `freshgate {lines[matches[0]]}`?" if matches else "")


if __name__ == "__main__":
    sys.exit(main())
