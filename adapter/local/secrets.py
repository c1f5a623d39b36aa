"""Secrets for a first run that nobody had to write: var/secrets/, one file each, readable by their owner only.

The launcher makes what is missing; `freshgate/local_settings.py` names the files in the environment of each process.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from freshgate.local_settings import missing_secrets
from freshgate.settings import Settings

# Kinds that prove themselves by the `Authorization` header alone.
BY_HEADER = frozenset({"mparticle", "tealium", "rudderstack", "hightouch"})


def make_secrets(settings: Settings, var: Path) -> None:
    """Create the secrets that the settings leave out and no earlier start made."""
    folder = var / "secrets"
    for name, _ in missing_secrets(settings):
        prefix = _prefix(settings, name)
        file = folder / name
        if prefix is None:
            # Left from when the source was of another kind: this one would ask its callers for it.
            file.unlink(missing_ok=True)
            continue
        if file.exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as new:
            new.write(f"{prefix}{secrets.token_urlsafe(24)}\n")


def _prefix(settings: Settings, name: str) -> str | None:
    """What stands before the random part; None where the source's kind has no such secret."""
    table, _, rest = name.partition(".")
    if table != "source":
        return ""
    source, _, field = rest.rpartition(".")
    kind = settings.sources[source].kind
    if kind == "tracking" or field == "write_key":
        return "" if kind == "tracking" and field == "write_key" else None
    if kind in BY_HEADER:
        # Where the header is all there is, a token would be a second header that somebody has to set.
        return "Bearer " if field == "secret" else None
    return ""
