"""`python -m workers`: the worker, the timers, the sandbox ESP, and the operator's desk."""

from __future__ import annotations

import argparse
import os
import sys

from freshgate.clock import now_ms
from freshgate.errors import FreshgateError
from freshgate.local_settings import load_local_settings
from freshgate.settings import load
from freshgate.telemetry import logs
from workers import commands, main
from workers.sandbox import server


def run(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    subcommands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    subcommands.add_parser("deliver", help="work on the sends: gate, claim, call the ESP, settle")
    subcommands.add_parser("timers", help="turn due timers into jobs")
    subcommands.add_parser("sandbox", help="a local stand-in for the ESPs, with an outbox page")
    commands.add_commands(subcommands)
    chosen = parser.parse_args(argv)
    try:
        served = chosen.command in ("deliver", "timers", "sandbox")
        # The desk is used from a terminal of its own: it finds the local Valkey and secrets through var/.
        settings = load(os.environ) if served else load_local_settings()
        logs.configure(settings.log_level, json=not sys.stderr.isatty())
        if chosen.command == "deliver":
            return main.deliver(settings)
        if chosen.command == "timers":
            return main.timers(settings)
        if chosen.command == "sandbox":
            server.serve(settings.sandbox_host, settings.sandbox_port, settings.sandbox_password)
            return 0
        return commands.run(settings, chosen, now_ms())
    except FreshgateError as error:
        print(f"workers: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(run())
