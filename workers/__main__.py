"""The command line of the workers: `python -m workers COMMAND`, or `freshgate workers COMMAND`.

The processes are `deliver`, `timers` and `sandbox`; the operator's commands stand in `commands.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from freshgate.command_line import Parser, run_command
from freshgate.local_settings import load_local_settings
from freshgate.settings import Settings
from freshgate.settings_file import load
from freshgate.telemetry import logs
from workers import accounts, backup, commands, esp_table, suppressions

PROCESSES = {
    "deliver": "work on the sends: gate, claim, call the ESP, settle",
    "timers": "turn due timers into jobs",
    "sandbox": "a local stand-in for the ESPs, with an outbox page",
}
# The operator's commands, with a line each.
OPERATOR_COMMANDS = {
    **commands.HELP,
    "suppressions": suppressions.HELP,
    "accounts": accounts.HELP,
    **backup.HELP,
    "esps": esp_table.HELP,
}
EXAMPLES = """examples:
  python -m workers deliver                      (a process: it works on the sends until it is stopped)
  python -m workers unknown list
  python -m workers dead replay --max-age 3d
  python -m workers hold abandoned_cart          (and `release abandoned_cart`)
  python -m workers accounts

`python -m workers COMMAND --help` explains one, with examples. `make run` starts the processes by itself."""
EPILOGS = {
    "deliver": """examples:
  python -m workers deliver
  python -m workers deliver --esp newsletter                      (only the account [esps.newsletter])
  python -m workers deliver --processes 4                         (four, where one keeps its core busy)
  FRESHGATE_WORKER_METRICS_PORT=9119 python -m workers deliver    (a second one on the same machine)

Any number may run. A process makes up to `concurrency` calls at once. With several accounts it starts processes for
each, so that none waits for another, starts those again that end, and serves the metrics of all. SIGTERM ends it after
the calls that are under way.""",
    "timers": """example:
  python -m workers timers

Any number may run; none of them is the leader. Without one, no waiting mail leaves and nothing is retried.""",
    "sandbox": """examples:
  python -m workers sandbox
  FRESHGATE_SANDBOX_PORT=8026 python -m workers sandbox
  FRESHGATE_SANDBOX_SMTP_PORT=1025 python -m workers sandbox         (with an SMTP server)

It takes mails as each kind of ESP does, sends none, and shows them at http://127.0.0.1:8025/. Anything that can be
pointed at another URL can use it alone; docs/ESPS.md lists the calls and the faults.""",
}


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; faults are printed as one line."""
    words = sys.argv[1:] if arguments is None else arguments
    return run_command("workers", lambda: run_as("python -m workers", words))


def run_as(program: str, arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code. `program` is how the caller is named in the help."""
    options = build_parser(program).parse_args(arguments)
    if options.command == "esps":
        return esp_table.run()
    is_process = options.command in PROCESSES
    # Operators use a terminal of their own, where the local Valkey and the secrets are found through var/.
    settings = load(os.environ) if is_process else load_local_settings()
    logs.configure(settings.log_level, json=not sys.stderr.isatty())
    if is_process:
        return _run_process(options, settings)
    if options.command in ("suppressions", *suppressions.ALIASES):
        return suppressions.run(settings, options)
    if options.command in backup.HELP:
        return backup.run(settings, options)
    if options.command == "accounts":
        return accounts.run(settings, options)
    return commands.run(settings, options)


def build_parser(program: str = "python -m workers") -> argparse.ArgumentParser:
    parser = Parser(
        prog=program,
        description="Freshgate's workers: the processes, and the operator's commands.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subcommands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {}
    for name, text in PROCESSES.items():
        parsers[name] = subcommands.add_parser(
            name,
            help=text,
            description=text,
            epilog=EPILOGS[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    parsers["deliver"].add_argument("--esp", metavar="NAME", help="only this account; all of them if left out")
    parsers["deliver"].add_argument(
        "--processes", type=int, metavar="N", help="so many for each account; the setting worker_processes if left out"
    )
    commands.add_commands(subcommands)
    suppressions.add_command(subcommands)
    esp_table.add_command(subcommands)
    accounts.add_command(subcommands)
    backup.add_commands(subcommands)
    return parser


def _run_process(options: argparse.Namespace, settings: Settings) -> int:
    # Imported here, so that an operator's command starts without RQ.
    from workers import main
    from workers.sandbox import server
    from workers.sandbox.reports import Reporter

    if options.command == "deliver":
        return main.deliver(settings, options.esp, options.processes)
    if options.command == "timers":
        return main.timers(settings)
    server.serve(
        settings.sandbox_host,
        settings.sandbox_port,
        settings.sandbox_password,
        smtp_port=settings.sandbox_smtp_port,
        reporter=Reporter(settings) if settings.sandbox_reports else None,
    )
    return 0


if __name__ == "__main__":
    sys.exit(run())
