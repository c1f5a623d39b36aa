"""Checks an account's URL at start: the key never travels in the clear, and real mail leaves only if `live`.

Each ESP calls `checked_base_url` before it opens anything; `freshgate/outbound.py` guards the connection itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from freshgate.errors import SettingsError
from freshgate.outbound import (
    HTTPS_PORT,
    LOOPBACK,
    PRIVATE,
    Network,
    Target,
    UrlError,
    is_loopback,
    parse_networks,
    parse_url,
)
from freshgate.settings_parsing import setting_name

# The sandbox in docker-compose.yml. A single word is not a host of the internet, so no real mail can get there.
SANDBOX = "sandbox"
# Ports below belong to other protocols, such as 22, 25 and 53.
MIN_PORT = 1024
EXAMPLE = "https://api.sendgrid.com"


def checked_base_url(
    name: str,
    base_url: str,
    *,
    live: bool,
    field: str = "base_url",
    example: str = EXAMPLE,
    query: bool = False,
    table: str = "esps",
) -> str:
    """The URL without a trailing slash. Raises SettingsError unless key and mails are safe there.

    field  the setting that holds it; the text of an error quotes the host and nothing else, since a URL may be a secret
    query  whether it may have a query
    table  of the settings
    """
    key = setting_name(table, name, field)
    if "@" in base_url.partition("?")[0]:
        secret = setting_name(table, name, "api_key" if table == "esps" else "write_key")
        raise SettingsError(f"{key}: credentials do not belong in a URL; write them to {secret}")
    if "#" in base_url or ("?" in base_url and not query):
        raise SettingsError(f"{key}: write it without ? and #")
    try:
        target = parse_url(base_url)
    except UrlError as error:
        raise SettingsError(f"{key}: this is not a URL: {error}; write one such as {example}") from None
    host = target.host
    if target.scheme == "http" and not is_local(target):
        raise SettingsError(f"{key}: http would send the key in the clear; write https://{host}")
    if not live and not is_local(target):
        live_key = setting_name("esps", name, "live")
        raise SettingsError(f"{live_key}: {host} sends real mail; write live = true to mean it, or a loopback {field}")
    if not is_local(target) and target.port != HTTPS_PORT and target.port < MIN_PORT:
        raise SettingsError(
            f"{key}: port {target.port} is not one of the web; write {HTTPS_PORT} or {MIN_PORT} to 65535"
        )
    return base_url.rstrip("/")


def is_local(target: Target) -> bool:
    """Whether the URL can only lead to this machine, or to the sandbox of docker-compose.yml."""
    return is_loopback(target.host) or (target.scheme == "http" and target.host == SANDBOX)


def allowed_networks(target: Target, networks: Sequence[str] = ()) -> tuple[Network, ...]:
    """Where a connection may lead beside the public internet: only a URL that says so leads to this machine."""
    local: tuple[Network, ...] = ()
    if is_loopback(target.host):
        local = LOOPBACK
    elif is_local(target):
        local = LOOPBACK + PRIVATE
    return local + parse_networks(networks)
