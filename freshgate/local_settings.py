"""The settings of a system that `make run` started: with its generated secrets and its embedded Valkey.

The secrets are files in var/secrets/, which `adapter/local/secrets.py` writes; commands use `load_local_settings`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import redis

from freshgate.errors import SettingsError
from freshgate.settings import EspSettings, Settings
from freshgate.settings_file import load
from freshgate.state.store import connect

# What the sandbox can sign.
REPORTING_KINDS = ("mailchimp_transactional", "postmark", "resend", "sendgrid")


def with_secrets(environ: Mapping[str, str], settings: Settings, var: Path) -> dict[str, str]:
    """The environment, with a `*_FILE` variable for each generated secret that the settings do not set themselves."""
    extended = dict(environ)
    for file, key in missing_secrets(settings):
        path = var / "secrets" / file
        if path.exists():
            extended[f"FRESHGATE_{key}_FILE"] = str(path)
    for name, esp in settings.esps.items():
        if settings.sandbox_password and not esp.api_key and is_sandbox(esp.base_url, settings):
            # An ESP's client sends its API key and nothing else, so that is where the password goes.
            extended[f"FRESHGATE_ESPS__{name.upper()}__API_KEY"] = settings.sandbox_password
        if esp.kind == "mailchimp_transactional" and reports_back(esp, settings) and not esp.feedback_url:
            url = f"http://{settings.host}:{settings.port}/feedback/{name}"
            extended[f"FRESHGATE_ESPS__{name.upper()}__FEEDBACK_URL"] = url
    return extended


def load_local_settings() -> Settings:
    """The settings as the launcher's processes have them: with the generated secrets, and the embedded Valkey's URL."""
    environ = dict(os.environ)
    settings = load(environ)
    var = Path(settings.var).resolve()
    environ = with_secrets(environ, settings, var)
    url = var / "redis" / "url"
    if not settings.redis_url and url.exists():
        environ["FRESHGATE_REDIS_URL"] = url.read_text(encoding="utf-8").strip()
    return load(environ)


def connect_local_store(settings: Settings) -> redis.Redis:
    """The Redis or Valkey that a command reads. Raises SettingsError when there is none."""
    if not settings.redis_url:
        raise SettingsError(
            f"redis_url is empty, and no embedded Valkey runs in the folder {settings.var!r}: "
            "start it with `make run`, or set FRESHGATE_VAR as it was set for `make run`"
        )
    return connect(settings.redis_url, timeout_s=5.0, queue_url=settings.queue_redis_url)


def missing_secrets(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each secret that the settings do not set: its file in var/secrets/, and its variable without "FRESHGATE_"."""
    for name, source in settings.sources.items():
        if not source.write_keys:
            yield f"source.{name}.write_key", f"SOURCES__{name.upper()}__WRITE_KEYS"
        if not source.secrets and not source.tokens:
            yield f"source.{name}.secret", f"SOURCES__{name.upper()}__SECRETS"
            yield f"source.{name}.token", f"SOURCES__{name.upper()}__TOKENS"
    for name, esp in settings.esps.items():
        if not esp.api_key and is_sandbox(esp.base_url, settings) and not settings.sandbox_password:
            yield f"esp.{name}.api_key", f"ESPS__{name.upper()}__API_KEY"
        if not esp.wants_feedback and reports_back(esp, settings):
            yield f"esp.{name}.feedback_secret", f"ESPS__{name.upper()}__FEEDBACK_SECRETS"
    if not settings.pii_key:
        yield "pii_key", "PII_KEY"


def reports_back(esp: EspSettings, settings: Settings) -> bool:
    """Whether the sandbox reports to us what became of the account's mails: `workers/sandbox/reports.py`."""
    return settings.sandbox_reports and esp.kind in REPORTING_KINDS and is_sandbox(esp.base_url, settings)


def is_sandbox(base_url: str, settings: Settings) -> bool:
    """Whether an ESP account's base_url is our own sandbox."""
    url = urlsplit(base_url)
    return url.hostname in ("127.0.0.1", "localhost", "::1") and url.port == settings.sandbox_port
