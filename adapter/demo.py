"""What makes a first run work by itself: secrets that nobody had to write, and a signed example to paste.

The secrets stand in var/secrets/, one file each, readable by their owner only, and survive restarts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import redis

from freshgate.errors import SettingsError
from freshgate.settings import Settings, load
from freshgate.state.store import connect

# Kinds that prove themselves by the `Authorization` header alone.
BY_HEADER = frozenset({"mparticle", "tealium", "rudderstack", "hightouch"})


def with_secrets(environ: Mapping[str, str], settings: Settings, var: Path, *, make: bool) -> dict[str, str]:
    """The environment, and a `*_FILE` variable for each secret that the settings leave out.

    make  creates those that are missing; otherwise only those that an earlier start made are named
    """
    folder = var / "secrets"
    found = dict(environ)
    for name, key, before in _left_out(settings):
        file = folder / name
        if make and not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as new:
                new.write(f"{before}{secrets.token_urlsafe(24)}\n")
        if file.exists():
            found[f"FRESHGATE_{key}_FILE"] = str(file)
    for name, esp in settings.esps.items():
        if settings.sandbox_password and not esp.api_key and is_sandbox(esp.base_url, settings):
            # An ESP's client has no other way to say a password.
            found[f"FRESHGATE_ESPS__{name.upper()}__API_KEY"] = settings.sandbox_password
    return found


def settings_here() -> Settings:
    """The settings as a process of the launcher has them: with the demo's secrets, and the running embedded Valkey."""
    environ = dict(os.environ)
    settings = load(environ)
    var = Path(settings.var).resolve()
    environ = with_secrets(environ, settings, var, make=False)
    url = var / "redis" / "url"
    if not settings.redis_url and url.exists():
        environ["FRESHGATE_REDIS_URL"] = url.read_text(encoding="utf-8").strip()
    return load(environ)


def store_here(settings: Settings) -> redis.Redis:
    """The store that a command looks into. Raises SettingsError where there is none."""
    if not settings.redis_url:
        raise SettingsError("redis_url is empty and no embedded Valkey runs here; start it with `make run`")
    return connect(settings.redis_url, timeout_s=5.0)


def _left_out(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Of each secret that is missing: its file, its key, and what stands before the random part."""
    for name, source in settings.sources.items():
        if source.kind == "tracking":
            if not source.write_keys:
                yield f"source.{name}.write_key", f"SOURCES__{name.upper()}__WRITE_KEYS", ""
        elif not source.secrets and not source.tokens:
            # Where the header is all there is, a token would be a second header that somebody has to set.
            header = source.kind in BY_HEADER
            yield f"source.{name}.secret", f"SOURCES__{name.upper()}__SECRETS", "Bearer " if header else ""
            if not header:
                yield f"source.{name}.token", f"SOURCES__{name.upper()}__TOKENS", ""
    for name, esp in settings.esps.items():
        if not esp.api_key and is_sandbox(esp.base_url, settings) and not settings.sandbox_password:
            yield f"esp.{name}.api_key", f"ESPS__{name.upper()}__API_KEY", ""
    if not settings.pii_key:
        yield "pii_key", "PII_KEY", ""


def is_sandbox(base_url: str, settings: Settings) -> bool:
    """Whether an ESP's base_url is our own sandbox."""
    url = urlsplit(base_url)
    return url.hostname in ("127.0.0.1", "localhost", "::1") and url.port == settings.sandbox_port


def sign(secret: str, body: bytes) -> str:
    """Segment's X-Signature. https://segment.com/docs/connections/destinations/catalog/actions-webhook/"""
    return hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()


def curl_line(settings: Settings) -> str:
    """A line to paste: an order that was completed just now, with an address, signed for the first Segment source."""
    name = next((n for n, source in settings.sources.items() if source.kind == "segment" and source.secrets), None)
    if name is None:
        return ""
    source = settings.sources[name]
    body = json.dumps(_order(), separators=(",", ":"))
    headers = {"content-type": "application/json", "x-signature": sign(source.secrets[0], body.encode())}
    if source.tokens:
        headers["x-freshgate-token"] = source.tokens[0]
    options = " ".join(f"-H '{header}: {value}'" for header, value in headers.items())
    return f"curl -sS {options} -d '{body}' {url_of(settings)}/webhooks/{name}"


def url_of(settings: Settings) -> str:
    """Where the receiver is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104  # asked, not bound
    return f"http://{host}:{settings.port}"


def _order() -> dict[str, object]:
    order = secrets.token_hex(4)
    return {
        "type": "track",
        "event": "Order Completed",
        "messageId": f"demo-{secrets.token_hex(8)}",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "userId": f"demo-{order}",
        "context": {"traits": {"email": "ada@example.com", "firstName": "Ada"}},
        "properties": {
            "order_id": f"demo-{order}",
            "email": "ada@example.com",
            "total": 59.9,
            "currency": "EUR",
            "products": [{"product_id": "mug-1", "name": "Mug", "price": 29.95, "quantity": 2}],
        },
    }
