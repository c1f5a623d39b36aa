"""SendGrid's v3 mail/send: how a message becomes its body, and what each of its answers means.

`transport.py` carries the request; `sandbox/sendgrid_schema.py` checks the body in tests and in the sandbox.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from http.client import HTTPMessage
from typing import Any

from freshgate.errors import EspError, SettingsError
from freshgate.settings import EspSettings
from freshgate.settings_parsing import setting_name
from workers.esp.base import Message, SendResult
from workers.esp.transport import Connection, SafeClient, checked_base_url

# docs.sendgrid.com/api-reference/how-to-use-the-sendgrid-v3-api/responses
BLOCKED = {401, 403}
RETRYABLE = {408, 429, 500, 502, 503, 504}
MAX_WAIT_S = 86_400.0
ADDRESS = re.compile(r"[^\s@<>\"'(),;:]+@[^\s@<>\"'(),;:]+")
UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")


class Sendgrid:
    """One account at SendGrid. Without `live`, it can reach loopback only. Raises SettingsError."""

    def __init__(self, name: str, settings: EspSettings, *, now_s: Callable[[], float] = time.time) -> None:
        base_url = checked_base_url(name, settings.base_url, live=settings.live)
        if settings.live and not settings.api_key:
            raise SettingsError(f"{setting_name('esps', name, 'api_key')}: write the key that SendGrid gave you")
        self.name = name
        self._settings = settings
        self._now_s = now_s
        # The sandbox takes any key, but wants one, as SendGrid does.
        self._key = settings.api_key or "sandbox"
        if not re.fullmatch(r"[\x21-\x7e]+", self._key):
            raise SettingsError(
                f"{setting_name('esps', name, 'api_key')}: a key has no spaces; write it as SendGrid gave it"
            )
        self._connection = Connection(name, base_url)
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "freshgate",
        }
        client = SafeClient(base_url, headers, 3, timeout=settings.timeout_s, connection=self._connection)
        self._mail_send = client.mail.send

    def body(self, message: Message) -> dict[str, Any]:
        """The JSON body of mail/send: one personalization, one recipient, nothing empty."""
        # At the level of the personalization; the message's own is typed as a string in SendGrid's specification.
        # They come back in every event, flat, are stored as not personal, and must be strings.
        custom_args = {"freshgate_send": str(message.send_id), "freshgate_trigger": str(message.trigger)}
        personalization: dict[str, Any] = {"to": [{"email": message.to}], "custom_args": custom_args}
        if message.data:
            personalization["dynamic_template_data"] = dict(message.data)
        sender = {"email": self._settings.from_email}
        if self._settings.from_name:
            sender["name"] = self._settings.from_name
        body: dict[str, Any] = {
            "from": sender,
            "personalizations": [personalization],
            "template_id": message.template_id,
        }
        if message.asm_group_id is not None:
            body["asm"] = {"group_id": message.asm_group_id}
        return body

    def send(self, message: Message) -> SendResult:
        """Raises EspError, which says whether trying again helps; nothing else. Takes `timeout_s` at most."""
        try:
            answer = self._mail_send.post(request_body=self.body(message))
        except (TypeError, ValueError, RecursionError) as error:
            # Raised by the JSON encoder, before anything was written.
            raise EspError(f"{self.name}: the body is no JSON: {type(error).__name__}", permanent=True) from None
        status: int = answer.status_code
        if 200 <= status < 300:
            return SendResult(provider_id=answer.headers.get("X-Message-Id", ""), status=status)
        raise self._refusal(status, answer.headers, answer.body)

    def close(self) -> None:
        self._connection.close()

    def _refusal(self, status: int, headers: HTTPMessage, body: bytes) -> EspError:
        text = f"{self.name}: {status}{self._said(body)}"
        if status in BLOCKED:
            return EspError(text, blocked=True, status=status)
        if status in RETRYABLE:
            return EspError(text, retry_after_s=_wait_s(headers, self._now_s()), status=status)
        if 400 <= status < 500:
            return EspError(text, permanent=True, status=status)
        # A redirect or an unheard-of status: some server took the request, and may have acted on it.
        return EspError(text, ambiguous=True, status=status)

    def _said(self, body: bytes) -> str:
        """SendGrid's own words in short, without addresses and the key; nothing when it sent no JSON."""
        try:
            errors = json.loads(body)["errors"]
            first = errors[0]
            message, field = str(first.get("message") or ""), str(first.get("field") or "")
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            return ""
        said = f" {message} ({field})" if field else f" {message}"
        said = ADDRESS.sub("<address>", said.replace(self._key, "<key>"))
        return UNPRINTABLE.sub(" ", said)[:200].rstrip()


def _wait_s(headers: HTTPMessage, now_s: float) -> float | None:
    """Seconds to wait, from 1 to a day. `Retry-After` is seconds or a date, `X-RateLimit-Reset` epoch seconds:
    twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/rate-limits"""
    wait = _number(headers.get("Retry-After"))
    if wait is None and headers.get("Retry-After"):
        try:
            wait = parsedate_to_datetime(headers["Retry-After"]).timestamp() - now_s
        except (ValueError, TypeError, OverflowError):
            wait = None
    reset = _number(headers.get("X-RateLimit-Reset"))
    if wait is None and reset is not None:
        wait = reset - now_s
    return None if wait is None else min(max(wait, 1.0), MAX_WAIT_S)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
