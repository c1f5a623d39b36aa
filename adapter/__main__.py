"""The command line: `python -m adapter run | why | sign | settings`.

Errors are one line on stderr: exit code 2 for a setting that must be corrected, 1 for everything else.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # said before an import fails with something less helpful
    sys.exit("Freshgate needs Python 3.11 or newer; this is " + sys.version.split()[0])

import argparse
import os
from pathlib import Path
from typing import Any

import msgspec

from adapter import demo, launcher, logs, why
from adapter.errors import FreshgateError, SettingsError
from adapter.settings import Settings

MASKED = {"secrets", "tokens", "api_key", "pii_key"}


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        if options.command == "run":
            return launcher.run(os.environ)
        settings = demo.settings_here()
        if options.command == "why":
            logs.configure("warning", json=False)
            return why.main(settings, options.id, as_json=options.json)
        if options.command == "sign":
            return _sign(settings, options.source, options.file)
        print(msgspec.json.format(msgspec.json.encode(_masked(msgspec.to_builtins(settings)))).decode())
        return 0
    except SettingsError as error:
        print(f"freshgate: {error}", file=sys.stderr)
        return 2
    except (FreshgateError, OSError) as error:
        print(f"freshgate: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m adapter", description="Freshgate: CDP webhooks in, fresh mails out."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("run", help="start everything: Valkey, receiver, worker, timers and the sandbox ESP")
    trail = commands.add_parser("why", help="why did a person get, or not get, a mail: the audit trail")
    trail.add_argument("id", help="a user id, an anonymous id, an address, an order id or a send's id")
    trail.add_argument("--json", action="store_true", help="for machines")
    sign = commands.add_parser("sign", help="print the X-Signature of a body")
    sign.add_argument("--source", required=True, metavar="NAME", help="whose first secret signs")
    sign.add_argument("file", nargs="?", default="-", metavar="FILE", help="the body's exact bytes; - is stdin")
    commands.add_parser("settings", help="print the effective settings, secrets masked")
    return parser


def _sign(settings: Settings, name: str, file: str) -> int:
    source = settings.sources.get(name)
    if source is None:
        raise SettingsError(f"no source '{name}'; there are: {', '.join(settings.sources)}")
    if not source.secrets:
        raise SettingsError(f"sources.{name}.secrets is empty; set FRESHGATE_SOURCES__{name.upper()}__SECRETS")
    body = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    print(demo.sign(source.secrets[0], body))
    return 0


def _masked(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _masked(inner, key) for key, inner in value.items()}
    if name in MASKED and value:
        return "***" if isinstance(value, str) else ["***"] * len(value)
    if name == "redis_url" and "@" in str(value):
        return "***@" + str(value).rpartition("@")[2]
    return value


if __name__ == "__main__":
    sys.exit(main())
