"""One frozen Settings, read once from freshgate.toml and the environment; fails at start, naming the key.

Composition roots call `load`; everyone else is handed the part that it needs.
"""

from __future__ import annotations

import logging
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from msgspec.structs import fields

from freshgate.errors import SettingsError
from freshgate.ids import JUNK_IDS
from freshgate.settings_parsing import apply_environment, check_names, duration_ms, parse_cap, setting_name

LOG = logging.getLogger(__name__)
T = TypeVar("T", bound=msgspec.Struct)


class SourceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: str
    secrets: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    id_space: str = "main"
    trust: str = "server"
    max_bytes: int = 16 * 1024 * 1024
    max_elements: int = 4000
    junk_ids: tuple[str, ...] = JUNK_IDS
    write_keys: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    rate: tuple[int, int] | None = None
    rate_per_ip: tuple[int, int] | None = None
    addresses_per_ip: tuple[int, int] | None = None
    consent_purposes: tuple[str, ...] = ()
    user_id_keys: tuple[str, ...] = ("customer_id", "user_id")
    email_keys: tuple[str, ...] = ("customer_email", "email_address", "email")
    allow_get: bool = False


class TriggerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Overrides of a declared trigger; None keeps what the catalog says. Times in milliseconds, as parsed."""

    enabled: bool | None = None
    delay: int | None = None
    settle: int | None = None
    max_age: int | None = None
    cap: tuple[int, int] | None = None
    unknown: str | None = None
    template_id: str | None = None
    kind: str | None = None
    asm_group_id: int | None = None


class EspSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: str = "sendgrid"
    api_key: str = ""
    base_url: str = "http://127.0.0.1:8025"
    from_email: str = "shop@example.com"
    from_name: str = ""
    timeout_s: float = 10.0
    live: bool = False
    only_to: tuple[str, ...] = ()


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sources: Mapping[str, SourceSettings] = {}
    triggers: Mapping[str, TriggerSettings] = {}
    esps: Mapping[str, EspSettings] = {}
    catalog: str = "catalog"
    redis_url: str = ""
    pii_key: str = ""
    host: str = "127.0.0.1"
    port: int = 8080
    sandbox_host: str = "127.0.0.1"
    sandbox_port: int = 8025
    sandbox_password: str = ""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 9108
    worker_metrics_port: int = 9109
    timers_metrics_port: int = 9110
    trusted_proxies: int = 0
    receiver_workers: int = 2
    receiver_threads: int = 4
    order_grace: int = 120_000
    email_identity: bool = False
    address_cap: tuple[int, int] = (10, 3_600_000)
    otlp_endpoint: str = ""
    trace_ratio: float = 0.05
    var: str = "var"
    log_level: str = "info"
    durability: Literal["process", "disk"] = "process"


def require_pii_key(settings: Settings) -> None:
    """Raises SettingsError without a key. Addresses are hashed with it: processes that differ would not see an
    unsubscribe, and without one the hashes are a list of addresses for whoever has a dictionary."""
    if not settings.pii_key:
        raise SettingsError(f"{setting_name('pii_key')}: missing; write a long random text, the same for all processes")


DURATIONS = {"delay", "settle", "max_age", "order_grace"}
CAPS = {"cap", "address_cap", "rate", "rate_per_ip", "addresses_per_ip"}
# Each is remembered with the address.
MAX_MAILS_PER_ADDRESS = 1000
TABLES: dict[str, type[msgspec.Struct]] = {"sources": SourceSettings, "triggers": TriggerSettings, "esps": EspSettings}
ONE_OF: dict[tuple[type[msgspec.Struct], str], tuple[str, ...]] = {
    (SourceSettings, "trust"): ("server", "browser"),
    (TriggerSettings, "unknown"): ("hold", "resend"),
    (TriggerSettings, "kind"): ("transactional", "marketing"),
    (Settings, "durability"): ("process", "disk"),
    (Settings, "log_level"): ("debug", "info", "warning", "error"),
}
# The smallest value of each number; a metrics port of 0 turns that endpoint off.
SMALLEST = {
    "port": 1,
    "sandbox_port": 1,
    "metrics_port": 0,
    "worker_metrics_port": 0,
    "timers_metrics_port": 0,
    "trusted_proxies": 0,
    "receiver_workers": 1,
    "receiver_threads": 1,
    "max_bytes": 1,
    "max_elements": 1,
    "timeout_s": 0.1,
    "asm_group_id": 1,
}
IN_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": 'a list, such as ["one", "two"]',
    "str": "a text in quotes",
}
SOURCE_NAME = re.compile(r"[a-z][a-z0-9_]*")
ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")


def load(environ: Mapping[str, str], path: Path | None = None) -> Settings:
    """The settings file with the environment laid over it. SettingsError names the key and what to write there."""
    document = _read(environ, path)
    _warn_of_secrets(document)
    structs: tuple[type[msgspec.Struct], ...] = (Settings, *TABLES.values())
    apply_environment(document, environ, {f.name for s in structs for f in fields(s) if f.type == tuple[str, ...]})
    check_names(document, (f.name for f in fields(Settings)))
    # Without any table, what `make run` shows: three CDPs in, the sandbox's SendGrid out.
    document.setdefault("sources", {"segment": {}, "tealium": {}, "mparticle": {}})
    document.setdefault("esps", {"sendgrid": {}})
    sandbox = f"http://127.0.0.1:{document.get('sandbox_port', Settings().sandbox_port)}"
    for table, struct in TABLES.items():
        entries = document.get(table, {})
        if not isinstance(entries, dict):
            raise SettingsError(f"{table}: expected tables; write [{table}.NAME] and its keys below")
        for name, entry in entries.items():
            if table == "sources" and not SOURCE_NAME.fullmatch(name):
                raise SettingsError(
                    f"sources.{name}: a source's name is part of its URL; write small letters, digits, _"
                )
            check_names(entry, (f.name for f in fields(struct)), table, name)
            if table == "sources":
                entry.setdefault("kind", name)
            if table == "esps":
                given = bool(entry.get("base_url"))
                entry.setdefault("base_url", sandbox)
                if _typed(dict(entry), EspSettings, table, name).live and not given:
                    raise SettingsError(
                        f"{setting_name('esps', name, 'base_url')}: live = true, but mails would go to the sandbox; "
                        'write the URL of the ESP, such as "https://api.sendgrid.com"'
                    )
        document[table] = {name: _typed(entry, struct, table, name) for name, entry in entries.items()}
    return _typed(document, Settings)


def _read(environ: Mapping[str, str], path: Path | None) -> dict[str, Any]:
    named = path or (Path(environ["FRESHGATE_CONFIG"]) if environ.get("FRESHGATE_CONFIG") else None)
    file = named or Path("freshgate.toml")
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named is None:
            return {}
        raise SettingsError(f"{file}: no such settings file; FRESHGATE_CONFIG must name one that exists") from None
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: not valid TOML: {error}") from None


def _warn_of_secrets(document: dict[str, Any]) -> None:
    for table in ("sources", "esps"):
        entries = document.get(table)
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            for field in ("secrets", "tokens", "write_keys", "api_key"):
                if isinstance(entry, dict) and entry.get(field):
                    LOG.warning("%s stands in the settings file: for local use only", setting_name(table, name, field))
    for field in ("pii_key", "sandbox_password"):
        if document.get(field):
            LOG.warning("%s stands in the settings file: for local use only", setting_name(field))


def _typed(entry: dict[str, Any], struct: type[T], *parts: str) -> T:
    for field, value in entry.items():
        key = setting_name(*parts, field)
        allowed = ONE_OF.get((struct, field))
        if allowed and value not in allowed:
            raise SettingsError(f"{key}: {value!r} is not known; write one of {', '.join(allowed)}")
        if field in DURATIONS:
            entry[field] = duration_ms(value, key)
        elif field in CAPS:
            entry[field] = parse_cap(value, key)
    try:
        typed = msgspec.convert(entry, struct, strict=False)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$.")
        field = where.partition("[")[0].rstrip("`")
        wanted = next((words for name, words in IN_WORDS.items() if f"`{name}" in text.partition(",")[0]), text)
        raise SettingsError(f"{setting_name(*parts, field)}: this value cannot be used; write {wanted}") from None
    for field in entry:
        _check(getattr(typed, field), field, setting_name(*parts, field))
    return typed


def _check(value: Any, field: str, key: str) -> None:
    if field in SMALLEST and not SMALLEST[field] <= value <= (65535 if field.endswith("port") else value):
        largest = " to 65535" if field.endswith("port") else " or more"
        raise SettingsError(f"{key}: {value} is out of range; write a number from {SMALLEST[field]}{largest}")
    if field == "from_email" and not ADDRESS.fullmatch(value):
        raise SettingsError(f'{key}: {value!r} is no address; write one such as "shop@example.com"')
    if field == "address_cap" and value[0] > MAX_MAILS_PER_ADDRESS:
        raise SettingsError(f"{key}: {value[0]} is out of range; write at most {MAX_MAILS_PER_ADDRESS} mails")
    if field == "trace_ratio" and not 0 <= value <= 1:
        raise SettingsError(f"{key}: {value} is no share; write a number from 0 to 1, such as 0.05")
    if field == "otlp_endpoint" and value and not value.startswith(("http://", "https://")):
        raise SettingsError(f'{key}: {value!r} is no URL; write one such as "http://127.0.0.1:4318"')
    if field == "base_url" and not value.startswith(("http://", "https://")):
        raise SettingsError(f'{key}: {value!r} is no URL; write one such as "https://api.sendgrid.com"')
