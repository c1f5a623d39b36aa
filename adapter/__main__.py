"""The command line: `python -m adapter COMMAND`. Each command is a file with `add` and `run`; this one lists them.

Errors are one line on stderr: exit code 2 for a setting that must be corrected, 1 for everything else.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # said before an import fails with something less helpful
    sys.exit("Freshgate needs Python 3.11 or newer; this is " + sys.version.split()[0])

import argparse
import os

from redis.exceptions import RedisError

from adapter.commands.develop import check, events, new, read
from adapter.commands.operate import quarantine, settings, unmapped, why
from adapter.commands.post import replay, sign, traffic
from adapter.local import launcher
from freshgate.errors import FreshgateError, SettingsError
from freshgate.state.store import unavailable

COMMANDS = (why, read, events, check, new, replay, quarantine, unmapped, sign, traffic, settings)
START = "start everything: Valkey, receiver, worker, timers and the sandbox ESP"


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        done: int = options.run(options)
    except SettingsError as error:
        print(f"freshgate: {error}", file=sys.stderr)
        return 2
    except RedisError as error:
        print(f"freshgate: {unavailable(error)}", file=sys.stderr)
        return 1
    except (FreshgateError, OSError) as error:
        print(f"freshgate: {error}", file=sys.stderr)
        return 1
    return done


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m adapter", description="Freshgate: CDP webhooks in, fresh mails out."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    start = commands.add_parser("run", help=START, description=START, epilog="example: python -m adapter run")
    start.set_defaults(run=lambda options: launcher.run(os.environ))
    for command in COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
