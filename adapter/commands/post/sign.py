"""`python -m adapter sign`: the signature of a body, for a request to paste.

Each kind declares how its CDP signs: `SourceKind.prove`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from adapter.sources import find_kind
from freshgate.errors import SettingsError
from freshgate.local_settings import load_local_settings
from freshgate.settings_parsing import setting_name

HELP = "print the signature of a body, as the source's CDP sends it"


def add(commands: Any) -> None:
    epilog = "example: python -m adapter sign --source segment body.json"
    parser = commands.add_parser("sign", help=HELP, description=HELP, epilog=epilog)
    parser.add_argument("--source", required=True, metavar="NAME", help="whose first secret signs")
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="the body's exact bytes; - is stdin")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings, name = load_local_settings(), options.source
    source = settings.sources.get(name)
    if source is None:
        raise SettingsError(f"--source: no source {name!r} in the settings; known: {', '.join(settings.sources)}")
    kind = find_kind(name, source)
    secrets: tuple[str, ...] = getattr(source, kind.proven_by)
    if not secrets:
        raise SettingsError(f"{setting_name('sources', name, kind.proven_by)}: empty; write the secret to sign with")
    body = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    headers = kind.prove(secrets[0], body)
    # A single header is named by whoever pastes its value.
    print("\n".join(headers.values() if len(headers) == 1 else map(": ".join, headers.items())))
    return 0
