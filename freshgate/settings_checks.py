"""Checks of the settings' values: a table of raw values becomes a struct, or a SettingsError that says what to write.

`settings.py` owns the structs; `settings_parsing.py` reads durations, caps and lists.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

import msgspec

from freshgate.errors import SettingsError
from freshgate.outbound import UrlError, is_loopback, parse_networks, parse_url
from freshgate.outcomes import EVENTS
from freshgate.settings_parsing import duration_ms, parse_cap, parse_ramp, setting_name

T = TypeVar("T", bound=msgspec.Struct)

DURATIONS = {"delay", "settle", "max_age", "order_grace", "session_window", "feedback_wait", "breaker_wait"}
CAPS = {
    "api_rate",
    *("cap", "address_cap", "rate", "rate_per_ip", "addresses", "addresses_per_ip"),
    *("recorded_bytes", "recorded_bytes_per_ip", "pace"),
}
# Redis remembers each mail with its address.
MAX_MAILS_PER_ADDRESS = 1000
MAX_PORT = 65535
# The smallest value of each number; a metrics port of 0 turns that endpoint off.
MINIMUM = {
    "port": 1,
    "sandbox_port": 1,
    "sandbox_smtp_port": 1,
    "metrics_port": 0,
    "worker_metrics_port": 0,
    "timers_metrics_port": 0,
    "people_port": 0,
    "people_metrics_port": 0,
    "people_workers": 1,
    "trusted_proxies": 0,
    "worker_processes": 1,
    "receiver_workers": 1,
    "receiver_threads": 1,
    "max_bytes": 1,
    "max_elements": 1,
    "timeout_s": 0.1,
    "concurrency": 1,
    "batch": 1,
    "max_in_flight": 1,
    "breaker_wait": 1,
    "asm_group_id": 1,
    "soft_bounces": 1,
    "backlog": 100,
}
# The largest value of the numbers that have one. A lane of a worker is a thread with two connections.
MAXIMUM = {"concurrency": 256, "backlog": 10_000_000}
# What msgspec expected → how an operator writes it.
IN_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": 'a list, such as ["new", "old"]',
    "str": "a text in quotes",
}
# Fields that hold a ratio → an example of one.
RATIOS = {"trace_ratio": 0.05, "bounce_limit": 0.1, "complaint_limit": 0.01}
HEADER = re.compile(r"[A-Za-z0-9-]+")
ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")
LINK_HOST = re.compile(r"(?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)*", re.IGNORECASE)
MIN_SECRET_LENGTH = 16
# Fields that hold a URL → an example of one.
URLS = {
    "otlp_endpoint": "http://127.0.0.1:4318",
    "base_url": "https://api.sendgrid.com",
    "public_url": "https://mails.shop.example",
}


def convert(table: dict[str, Any], struct: type[T], *parts: str) -> T:
    """The table as a checked struct. `parts` name the table: ("sources", "shop"); none of them is the top level.

    Durations and caps are replaced in `table` itself.
    """
    choices = {field.name: _literals(field.type) for field in msgspec.structs.fields(struct)}
    for field, value in table.items():
        key = setting_name(*parts, field)
        if choices[field] and value not in choices[field]:
            raise SettingsError(f"{key}: {value!r} is not known; write one of {', '.join(choices[field])}")
        if field in DURATIONS:
            table[field] = duration_ms(value, key)
        elif field in CAPS:
            table[field] = parse_cap(value, key)
        elif field == "ramp":
            table[field] = parse_ramp(value, key)
    try:
        converted = msgspec.convert(table, struct, strict=False)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$.")
        field = place.partition("[")[0].rstrip("`")
        expected = next((words for name, words in IN_WORDS.items() if f"`{name}" in text.partition(",")[0]), text)
        raise SettingsError(f"{setting_name(*parts, field)}: this value cannot be used; write {expected}") from None
    for field in table:
        _check(getattr(converted, field), field, setting_name(*parts, field))
    return converted


def _literals(field_type: Any) -> tuple[str, ...]:
    """The texts that a Literal allows, within an optional one too; empty for any other type."""
    options = (value for part in (field_type, *get_args(field_type)) for value in get_args(part))
    return tuple(dict.fromkeys(value for value in options if isinstance(value, str)))


def _check(value: Any, field: str, key: str) -> None:
    maximum = MAX_PORT if field.endswith("port") else MAXIMUM.get(field)
    if field in MINIMUM and not MINIMUM[field] <= value <= (maximum or value):
        limit = f" to {maximum}" if maximum else " or more"
        raise SettingsError(f"{key}: {value} is out of range; write a number from {MINIMUM[field]}{limit}")
    if field == "from_email" and not ADDRESS.fullmatch(value):
        raise SettingsError(f'{key}: {value!r} is not an address; write one such as "shop@example.com"')
    if field == "link_hosts" and (wrong := next((host for host in value if not LINK_HOST.fullmatch(host)), None)):
        raise SettingsError(f'{key}: {wrong!r} is not a host; write one such as "cdn.example.com" or "*.example.com"')
    if field == "address_cap" and value[0] > MAX_MAILS_PER_ADDRESS:
        raise SettingsError(f"{key}: {value[0]} is out of range; write at most {MAX_MAILS_PER_ADDRESS} mails")
    if field == "allow_networks":
        try:
            parse_networks(value)
        except UrlError as error:
            raise SettingsError(f'{key}: {error}; write a list such as ["10.0.0.0/8"]') from None
    if field == "events" and (unknown := next((name for name in value if name not in EVENTS), None)):
        nearest = get_close_matches(unknown, EVENTS, n=1)
        advice = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(EVENTS)}"
        raise SettingsError(f"{key}: {unknown!r} is not one of the outcomes; {advice}")
    if field in RATIOS and not 0 <= value <= 1:
        raise SettingsError(f"{key}: {value} is not a ratio; write a number from 0 to 1, such as {RATIOS[field]}")
    # An empty endpoint turns traces off; kind `smtp` has no base_url.
    if field in URLS and value and not value.startswith(("http://", "https://")):
        raise SettingsError(f'{key}: {value!r} is not a URL; write one such as "{URLS[field]}"')
    if field == "public_url" and value:
        _check_public_url(value, key)
    if field in ("header", "secret"):
        _check_header(value, field, key)
    if field == "unsubscribe_secrets" and any(len(secret) < MIN_SECRET_LENGTH for secret in value):
        raise SettingsError(f"{key}: too short; write long random texts, such as those of `openssl rand -hex 32`")


def _check_header(value: str, field: str, key: str) -> None:
    if field == "header" and not HEADER.fullmatch(value):
        raise SettingsError(f'{key}: {value!r} is not the name of a header; write one such as "Authorization"')
    if not (value.isascii() and value.isprintable()):
        raise SettingsError(f"{key}: it has a character that no header has; write it in one line")


def _check_public_url(value: str, key: str) -> None:
    """Mailboxes call it, and over https only: RFC 8058."""
    try:
        target = parse_url(value)
    except UrlError as error:
        raise SettingsError(f'{key}: {error}; write it like "{URLS["public_url"]}"') from None
    if "?" in value:
        raise SettingsError(f"{key}: write it without ?")
    if target.scheme == "http" and not is_loopback(target.host):
        raise SettingsError(f"{key}: mailboxes only call https; write https://{target.authority}")
