"""`python -m adapter settings`: prints the settings as a process sees them, with secrets masked.

`freshgate/settings.py` says which fields are secrets.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import msgspec

from freshgate.local_settings import load_local_settings
from freshgate.settings import secret_fields

HELP = "print the settings in force, with secrets masked"
# What a hook's URL is, wherever it stands: its own secret.
HOOK = "url"


def add(commands: Any) -> None:
    epilog = "example: FRESHGATE_PORT=9000 python -m adapter settings | grep port"
    parser = commands.add_parser("settings", help=HELP, description=HELP, epilog=epilog)
    parser.set_defaults(run=run)


def run(_options: argparse.Namespace) -> int:
    print(msgspec.json.format(msgspec.json.encode(mask_secrets(load_local_settings()))).decode())
    return 0


def mask_secrets(settings: msgspec.Struct) -> dict[str, Any]:
    """The same settings with *** in the place of each secret."""
    secrets = secret_fields(type(settings))
    return {name: _mask(value, name, name in secrets) for name, value in msgspec.structs.asdict(settings).items()}


def _mask(value: Any, name: str, is_secret: bool) -> Any:
    if isinstance(value, Mapping):
        return {entry: mask_secrets(inner) for entry, inner in value.items()}
    if (is_secret or name == HOOK) and value:
        return "***" if isinstance(value, str) else ["***"] * len(value)
    # A password may stand in any URL.
    if name.endswith("_url") and "@" in value:
        return "***@" + value.rpartition("@")[2]
    return value
