"""`python -m adapter sign`: the X-Signature of a body, for a request to paste.

`sources/segment/signature.py` signs, as Segment does.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from adapter.sources.segment.signature import sign
from freshgate.errors import SettingsError
from freshgate.local_settings import load_local_settings

HELP = "print the X-Signature of a body"


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
        raise SettingsError(f"no source '{name}'; there are: {', '.join(settings.sources)}")
    if not source.secrets:
        raise SettingsError(f"sources.{name}.secrets is empty; set FRESHGATE_SOURCES__{name.upper()}__SECRETS")
    body = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    print(sign(source.secrets[0], body))
    return 0
