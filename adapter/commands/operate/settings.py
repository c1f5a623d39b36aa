"""`python -m adapter settings`: prints the settings as a process sees them, with secrets masked.

`freshgate/settings.py` reads them.
"""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from freshgate.local_settings import load_local_settings

HELP = "print the settings in force, with secrets masked"
MASKED = {
    "secrets",
    "tokens",
    "write_keys",
    "api_key",
    "url",
    "signing_secret",
    "password",
    "secret",
    "api_tokens",
    "feedback_secrets",
    "pii_key",
    "sandbox_password",
    "unsubscribe_secrets",
}


def add(commands: Any) -> None:
    epilog = "example: FRESHGATE_PORT=9000 python -m adapter settings | grep port"
    parser = commands.add_parser("settings", help=HELP, description=HELP, epilog=epilog)
    parser.set_defaults(run=run)


def run(_options: argparse.Namespace) -> int:
    settings = mask_secrets(msgspec.to_builtins(load_local_settings()))
    print(msgspec.json.format(msgspec.json.encode(settings)).decode())
    return 0


def mask_secrets(value: Any, name: str = "") -> Any:
    """The same settings with *** in the place of each secret."""
    if isinstance(value, dict):
        return {key: mask_secrets(inner, key) for key, inner in value.items()}
    if name in MASKED and value:
        return "***" if isinstance(value, str) else ["***"] * len(value)
    if name in ("redis_url", "queue_redis_url") and "@" in str(value):
        return "***@" + str(value).rpartition("@")[2]
    return value
