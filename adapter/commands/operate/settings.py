"""`python -m adapter settings`: the settings as a process sees them, with what is secret left out.

`freshgate/settings.py` reads them.
"""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from freshgate.local_settings import load_local_settings

HELP = "print the effective settings, secrets masked"
MASKED = {"secrets", "tokens", "write_keys", "api_key", "pii_key", "sandbox_password"}


def add(commands: Any) -> None:
    epilog = "example: FRESHGATE_PORT=9000 python -m adapter settings | grep port"
    parser = commands.add_parser("settings", help=HELP, description=HELP, epilog=epilog)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    told = masked(msgspec.to_builtins(load_local_settings()))
    print(msgspec.json.format(msgspec.json.encode(told)).decode())
    return 0


def masked(value: Any, name: str = "") -> Any:
    """The same settings, with *** for each secret."""
    if isinstance(value, dict):
        return {key: masked(inner, key) for key, inner in value.items()}
    if name in MASKED and value:
        return "***" if isinstance(value, str) else ["***"] * len(value)
    if name == "redis_url" and "@" in str(value):
        return "***@" + str(value).rpartition("@")[2]
    return value
