"""The settings as a system that `make run` started has them: secrets that nobody had to write, the embedded Valkey.

The secrets stand in var/secrets/, one file each; `adapter/local/secrets.py` makes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import redis

from freshgate.errors import SettingsError
from freshgate.settings import Settings, load
from freshgate.state.store import connect


def with_secrets(environ: Mapping[str, str], settings: Settings, var: Path) -> dict[str, str]:
    """The environment, and a `*_FILE` variable for each secret that the settings leave out and a first start made."""
    found = dict(environ)
    for file, key in left_out(settings):
        path = var / "secrets" / file
        if path.exists():
            found[f"FRESHGATE_{key}_FILE"] = str(path)
    for name, esp in settings.esps.items():
        if settings.sandbox_password and not esp.api_key and is_sandbox(esp.base_url, settings):
            # An ESP's client has no other way to say a password.
            found[f"FRESHGATE_ESPS__{name.upper()}__API_KEY"] = settings.sandbox_password
    return found


def load_local_settings() -> Settings:
    """The settings as a process of the launcher has them: with the local secrets, and the running embedded Valkey."""
    environ = dict(os.environ)
    settings = load(environ)
    var = Path(settings.var).resolve()
    environ = with_secrets(environ, settings, var)
    url = var / "redis" / "url"
    if not settings.redis_url and url.exists():
        environ["FRESHGATE_REDIS_URL"] = url.read_text(encoding="utf-8").strip()
    return load(environ)


def connect_local_store(settings: Settings) -> redis.Redis:
    """The store that a command looks into. Raises SettingsError where there is none."""
    if not settings.redis_url:
        raise SettingsError("redis_url is empty and no embedded Valkey runs here; start it with `make run`")
    return connect(settings.redis_url, timeout_s=5.0)


def left_out(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each secret that the settings leave out: its file in var/secrets/, and its key."""
    for name, source in settings.sources.items():
        if not source.write_keys:
            yield f"source.{name}.write_key", f"SOURCES__{name.upper()}__WRITE_KEYS"
        if not source.secrets and not source.tokens:
            yield f"source.{name}.secret", f"SOURCES__{name.upper()}__SECRETS"
            yield f"source.{name}.token", f"SOURCES__{name.upper()}__TOKENS"
    for name, esp in settings.esps.items():
        if not esp.api_key and is_sandbox(esp.base_url, settings) and not settings.sandbox_password:
            yield f"esp.{name}.api_key", f"ESPS__{name.upper()}__API_KEY"
    if not settings.pii_key:
        yield "pii_key", "PII_KEY"


def is_sandbox(base_url: str, settings: Settings) -> bool:
    """Whether an ESP's base_url is our own sandbox."""
    url = urlsplit(base_url)
    return url.hostname in ("127.0.0.1", "localhost", "::1") and url.port == settings.sandbox_port
