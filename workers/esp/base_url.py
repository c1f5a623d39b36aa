"""Checks an account's base URL at start: the key never travels in the clear, and real mail leaves only if `live`.

Each ESP calls `checked_base_url` before it opens anything.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from freshgate.errors import SettingsError
from freshgate.settings_parsing import setting_name

# The sandbox in docker-compose.yml. A single word is not a host of the internet, so no real mail can get there.
SANDBOX = "sandbox"


def checked_base_url(name: str, base_url: str, *, live: bool) -> str:
    """The base URL without a trailing slash. Raises SettingsError unless key and mails are safe there."""
    key = setting_name("esps", name, "base_url")
    try:
        url = urlsplit(base_url)
        host, _ = url.hostname, url.port
    except ValueError:
        raise SettingsError(f"{key}: this is not a URL; write one such as https://api.sendgrid.com") from None
    plain = base_url.isascii() and base_url.isprintable() and " " not in base_url
    if url.scheme not in ("http", "https") or not host or not plain:
        raise SettingsError(f"{key}: this is not a URL; write one such as https://api.sendgrid.com")
    if "@" in url.netloc:
        api_key = setting_name("esps", name, "api_key")
        raise SettingsError(f"{key}: credentials do not belong in a URL; write them to {api_key}")
    if url.query or url.fragment:
        raise SettingsError(f"{key}: write it without ? and #")
    is_local = is_loopback(host) or (url.scheme == "http" and host == SANDBOX)
    if url.scheme == "http" and not is_local:
        raise SettingsError(f"{key}: http would send the key in the clear; write https://{host}")
    if not live and not is_local:
        live_key = setting_name("esps", name, "live")
        raise SettingsError(f"{live_key}: {host} sends real mail; write live = true to mean it, or a loopback base_url")
    return base_url.rstrip("/")


def is_loopback(host: str | None) -> bool:
    """Whether the name or address can only be this machine."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
