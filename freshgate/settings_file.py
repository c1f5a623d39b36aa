"""Reads the settings from freshgate.toml and the environment, once; composition roots call `load`.

`settings.py` has the structs, `settings_parsing.py` and `settings_checks.py` their values.
"""

from __future__ import annotations

import logging
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import fields
from redis.connection import parse_url

from freshgate.errors import SettingsError
from freshgate.settings import (
    AskSettings,
    EspSettings,
    OutcomeSettings,
    Secrets,
    Settings,
    SourceSettings,
    TriggerSettings,
    secret_fields,
)
from freshgate.settings_checks import convert
from freshgate.settings_parsing import apply_environment, check_names, setting_name

LOG = logging.getLogger(__name__)

TABLES: dict[str, type[msgspec.Struct]] = {
    "sources": SourceSettings,
    "triggers": TriggerSettings,
    "esps": EspSettings,
    "outcomes": OutcomeSettings,
    "asks": AskSettings,
}
# Kinds of ESP with `url` in place of `base_url`; they say themselves when it is missing.
HOOKS = ("webhook", "zapier", "make", "azure_function")
# Kind of ESP → its `base_url` for real mail.
LIVE_URLS = {
    "sendgrid": "https://api.sendgrid.com",
    "mailchimp_transactional": "https://mandrillapp.com/api/1.4",
    "resend": "https://api.resend.com",
    "postmark": "https://api.postmarkapp.com",
    "ses": "https://email.eu-central-1.amazonaws.com",
    "lambda": "https://lambda.eu-central-1.amazonaws.com",
    "mailchimp_marketing": "https://us1.api.mailchimp.com/3.0",
}
# Of the sandbox, as other stand-ins for SMTP servers have it.
SANDBOX_SMTP_PORT = 1025
SMTP_FIELDS = frozenset(
    ("host", "port", "username", "password", "tls", "dkim_domain", "dkim_selector", "dkim_key_file")
)
WARNING = "%s is a secret in the settings file: for local use only"
TABLE_NAME = re.compile(r"[a-z][a-z0-9_]*")


def load(environ: Mapping[str, str], path: Path | None = None) -> Settings:
    """The settings file, overridden by the environment. Raises SettingsError, which names the key and what to write.

    path  the file; None is what FRESHGATE_CONFIG names, else freshgate.toml in the working directory, if it is there
    """
    document = _read_file(environ, path)
    _warn_about_secrets(document)
    structs: tuple[type[msgspec.Struct], ...] = (Settings, *TABLES.values())
    lists = {field.name for struct in structs for field in fields(struct) if field.type in (tuple[str, ...], Secrets)}
    apply_environment(document, environ, lists)
    check_names(document, (field.name for field in fields(Settings)))
    # Without any table, the demo of `make run`: three CDPs in, the sandbox's SendGrid out.
    document.setdefault("sources", {"segment": {}, "tealium": {}, "mparticle": {}})
    document.setdefault("esps", {"sendgrid": {}})
    sandbox = f"http://127.0.0.1:{document.get('sandbox_port', Settings().sandbox_port)}"
    smtp_port = document.get("sandbox_smtp_port") or SANDBOX_SMTP_PORT
    for table, struct in TABLES.items():
        entries = document.get(table, {})
        if not isinstance(entries, dict):
            raise SettingsError(f"{table}: expected tables; write [{table}.NAME] and its keys below")
        for name, entry in entries.items():
            if table == "sources" and not TABLE_NAME.fullmatch(name):
                raise SettingsError(
                    f"sources.{name}: a source's name is part of its URL; write small letters, digits, _"
                )
            if table == "esps" and not TABLE_NAME.fullmatch(name):
                raise SettingsError(
                    f"esps.{name}: an account's name is part of its queue's; write small letters, digits, _"
                )
            check_names(entry, (field.name for field in fields(struct)), table, name)
            if table in ("sources", "esps"):
                entry.setdefault("kind", name)
            if table == "esps":
                if entry["kind"] == "smtp":
                    _complete_smtp(name, entry, sandbox, smtp_port)
                else:
                    _complete_esp(name, entry, sandbox)
                if entry["kind"] == "smtp" and entry["base_url"]:
                    document["sandbox_smtp_port"] = smtp_port
            if table == "outcomes":
                _complete_outcomes(name, entry, document["sources"], sandbox)
        document[table] = {name: convert(entry, struct, table, name) for name, entry in entries.items()}
    _check_failovers(document["esps"])
    settings = convert(document, Settings)
    for name in ("redis_url", "queue_redis_url"):
        _check_redis(name, getattr(settings, name))
    _check_queues(settings)
    return settings


def _check_redis(name: str, url: str) -> None:
    if not url or "+cluster://" in url:
        return
    try:
        parse_url(url)  # type: ignore[no-untyped-call]  # redis-py has no types for it
    except ValueError:
        # Its text may quote the URL, and that may have a password.
        raise SettingsError(
            f'{setting_name(name)}: not the URL of a Redis; write it like "redis://127.0.0.1:6379/0"'
        ) from None


def _check_queues(settings: Settings) -> None:
    is_cluster, name = "+cluster://" in settings.redis_url, setting_name("queue_redis_url")
    if is_cluster and (not settings.queue_redis_url or "+cluster://" in settings.queue_redis_url):
        raise SettingsError(
            f'{name}: RQ knows no Cluster; write the URL of a Redis of its own for the queues, such as "redis://queues:6379"'
        )
    if settings.queue_redis_url and not is_cluster:
        raise SettingsError(f"{name}: only beside a Cluster; leave it out, the queues are where redis_url is")


def _complete_esp(name: str, entry: dict[str, Any], sandbox: str) -> None:
    smtp_only = sorted(SMTP_FIELDS & entry.keys())
    if smtp_only:
        raise SettingsError(f'{setting_name("esps", name, smtp_only[0])}: only for kind = "smtp"; leave it out')
    has_url = bool(entry.get("base_url") or entry.get("url"))
    entry.setdefault("base_url", sandbox)
    if convert(dict(entry), EspSettings, "esps", name).live and not has_url and entry["kind"] not in HOOKS:
        raise SettingsError(
            f"{setting_name('esps', name, 'base_url')}: live = true, but mails would go to the sandbox; "
            f'write the URL of the ESP, such as "{LIVE_URLS.get(entry["kind"], LIVE_URLS["sendgrid"])}"'
        )


def _complete_smtp(name: str, entry: dict[str, Any], sandbox: str, smtp_port: Any) -> None:
    """An account of kind `smtp` has a host and a port. Its `base_url` is the sandbox's pages, or empty."""
    if "base_url" in entry:
        raise SettingsError(f'{setting_name("esps", name, "base_url")}: not for kind = "smtp"; write host and port')
    if entry.get("host"):
        # So that the sandbox is not started for it.
        entry["base_url"] = ""
        return
    if convert(dict(entry), EspSettings, "esps", name).live:
        raise SettingsError(
            f"{setting_name('esps', name, 'host')}: live = true, but mails would go to the sandbox; "
            'write the SMTP server, such as "smtp.example.com"'
        )
    entry |= {"base_url": sandbox, "host": "127.0.0.1", "port": smtp_port, "tls": "none"}


def _complete_outcomes(shop: str, entry: dict[str, Any], sources: Mapping[str, SourceSettings], sandbox: str) -> None:
    shops = sorted({source.id_space for source in sources.values()})
    if shop not in shops:
        raise SettingsError(
            f"outcomes.{shop}: the table is named by the shop, the id_space of its sources; write one of: "
            + ", ".join(f"[outcomes.{name}]" for name in shops)
        )
    if not entry.get("url"):
        entry["url"] = sandbox if entry.get("kind", "segment") == "segment" else f"{sandbox}/hooks/outcomes"


def _check_failovers(accounts: Mapping[str, EspSettings]) -> None:
    for name, account in accounts.items():
        others = [other for other in accounts if other != name]
        if account.failover is not None and account.failover not in others:
            advice = f"write one of: {', '.join(others)}" if others else "there is no other account"
            raise SettingsError(
                f"{setting_name('esps', name, 'failover')}: {account.failover!r} is not another account; {advice}"
            )


def _read_file(environ: Mapping[str, str], path: Path | None) -> dict[str, Any]:
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


def _warn_about_secrets(document: dict[str, Any]) -> None:
    for name in sorted(document.keys() & secret_fields(Settings)):
        if document[name]:
            LOG.warning(WARNING, setting_name(name))
    for table, struct in TABLES.items():
        entries = document.get(table)
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            for field in sorted(entry.keys() & secret_fields(struct)) if isinstance(entry, dict) else ():
                if entry[field]:
                    LOG.warning(WARNING, setting_name(table, name, field))


def require_redis(settings: Settings) -> None:
    """Raises SettingsError for a process that is not told where its Redis is."""
    if not settings.redis_url:
        raise SettingsError(f'{setting_name("redis_url")}: missing; write the URL, such as "redis://127.0.0.1:6379/0"')


def require_pii_key(settings: Settings) -> None:
    """Raises SettingsError without a key for the hashes of addresses.

    Processes with different keys would not see each other's unsubscribes; without a key, a dictionary turns the hashes
    back into addresses.
    """
    if not settings.pii_key:
        raise SettingsError(f"{setting_name('pii_key')}: missing; write a long random text, the same for all processes")
