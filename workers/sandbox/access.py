"""Who may call the sandbox: it shows mails, so other web sites may not, and beyond loopback only with the password.

`server.py` asks for each request.
"""

from __future__ import annotations

import base64
import hmac
from email.message import Message
from urllib.parse import urlsplit

from freshgate.outbound import is_loopback
from workers.sandbox.api import Api, Call, Reply, error


def refusal(headers: Message, sandbox_host: str, password: str, *, is_api: bool) -> Reply | None:
    """The 401 or 403 for a caller who may not; None for one who may. An empty password asks for none.

    is_api  the call is of an ESP's API, whose key is the password: `key_refusal` checks it
    """
    host, origin = headers.get("Host", ""), headers.get("Origin")
    try:
        host_name = urlsplit(f"//{host}").hostname or ""
        origin_host = urlsplit(origin).netloc if origin else host
    except ValueError:
        return error(403, "this Host or Origin is not understood")
    # A name that an attacker's DNS points to this machine would let the attacker's page read the outbox.
    any_name = password and sandbox_host in ("0.0.0.0", "::")  # nosec B104
    if not (is_loopback(host_name) or host_name == sandbox_host.lower() or any_name):
        return error(403, "this Host is not the sandbox's")
    if origin is not None and origin_host != host:
        return error(403, "pages of another origin may not call the sandbox")
    if password and not is_api and not _has_password(headers, password):
        status, error_headers, body = error(401, "the password is FRESHGATE_SANDBOX_PASSWORD's; any user name")
        return status, {**error_headers, "WWW-Authenticate": 'Basic realm="sandbox"'}, body
    return None


def key_refusal(api: Api, call: Call, password: str) -> Reply | None:
    """The 401 for a call without a key, or with another one than the password."""
    key = api.key(call)
    if not key:
        return api.error(401, "The provided authorization grant is invalid, expired, or revoked", "")
    # An ESP's client has one key only: the password is it.
    if password and not hmac.compare_digest(key.encode("utf-8", "replace"), password.encode()):
        return api.error(401, "the key is not the sandbox's password", "")
    return None


def _has_password(headers: Message, password: str) -> bool:
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    try:
        decoded = base64.b64decode(credentials if scheme.lower() == "basic" else "", validate=True)
    except ValueError:
        return False
    return hmac.compare_digest(decoded.partition(b":")[2], password.encode())
