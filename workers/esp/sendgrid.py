"""SendGrid's v3 mail/send: how a message becomes its body, and what each of its responses means.

`transport.py` carries the request; `sandbox/sendgrid_schema.py` checks the body in tests and in the sandbox.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from http.client import HTTPMessage
from typing import Any

from freshgate.errors import EspError, SettingsError
from freshgate.settings import EspSettings
from freshgate.settings_parsing import setting_name
from workers.esp.base import Message, SendResult
from workers.esp.base_url import checked_base_url
from workers.esp.capabilities import DAY_S, Capabilities
from workers.esp.connection import Connection
from workers.esp.http_account import ADDRESS, BLOCKED, RETRYABLE, UNPRINTABLE, retry_after_s
from workers.esp.transport import SafeClient


class Sendgrid:
    """An account at SendGrid; a BatchEsp. Raises SettingsError; without `live`, its URL is loopback or the sandbox."""

    # Personalizations of one call: twilio.com/docs/sendgrid/api-reference/mail-send/limitations
    max_batch = 1000

    capabilities = Capabilities(
        accepts="queued; what SendGrid drops later comes by its event webhook",
        schedule_s=3 * DAY_S,
        send_id="`custom_args.freshgate_send`, in every webhook event",
        headers=True,
        asm_group=True,
        live_url="https://api.sendgrid.com",
    )

    def __init__(self, name: str, settings: EspSettings, *, now_s: Callable[[], float] = time.time) -> None:
        base_url = checked_base_url(name, settings.base_url, live=settings.live)
        if settings.live and not settings.api_key:
            raise SettingsError(f"{setting_name('esps', name, 'api_key')}: write the key that SendGrid gave you")
        self.name = name
        self._settings = settings
        self._now_s = now_s
        # The sandbox accepts any key but wants one, as SendGrid does.
        self._key = settings.api_key or "sandbox"
        if not re.fullmatch(r"[\x21-\x7e]+", self._key):
            raise SettingsError(
                f"{setting_name('esps', name, 'api_key')}: a key has no spaces; write it as SendGrid gave it"
            )
        self._connection = Connection(name, base_url, settings.allow_networks)
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "freshgate",
        }
        client = SafeClient(base_url, headers, 3, timeout=settings.timeout_s, connection=self._connection)
        self._mail_send = client.mail.send

    def body(self, messages: Sequence[Message]) -> dict[str, Any]:
        """The JSON body of mail/send: a personalization with one recipient for each message, nothing empty."""
        sender = {"email": self._settings.from_email}
        if self._settings.from_name:
            sender["name"] = self._settings.from_name
        body: dict[str, Any] = {
            "from": sender,
            "personalizations": [_personalization(message) for message in messages],
            "template_id": messages[0].template_id,
        }
        if messages[0].asm_group_id is not None:
            body["asm"] = {"group_id": messages[0].asm_group_id}
        if self._settings.categories:
            body["categories"] = list(self._settings.categories)
        if self._settings.sandbox_mode:
            body["mail_settings"] = {"sandbox_mode": {"enable": True}}
        tracking = {"click_tracking": self._settings.click_tracking, "open_tracking": self._settings.open_tracking}
        chosen = {name: {"enable": value} for name, value in tracking.items() if value is not None}
        return body | {"tracking_settings": chosen} if chosen else body

    def prepare(self) -> None:
        """Opens the connection unless it stands. Raises EspError, which is retryable."""
        self._connection.prepare(self._settings.timeout_s)

    def send(self, message: Message) -> SendResult:
        """Hands one mail over, in `timeout_s` at most. Raises EspError only, which says whether a retry may help."""
        return self._post([message])

    def send_batch(self, messages: Sequence[Message]) -> Sequence[SendResult]:
        """Hands mails of one template over in one call, which SendGrid accepts or refuses as a whole."""
        return [self._post(messages)] * len(messages)

    def _post(self, messages: Sequence[Message]) -> SendResult:
        try:
            response = self._mail_send.post(request_body=self.body(messages))
        except (TypeError, ValueError, RecursionError) as error:
            # Raised by the JSON encoder, before anything was sent.
            text = f"{self.name}: the body cannot be written as JSON: {type(error).__name__}"
            raise EspError(text, permanent=True) from None
        status: int = response.status_code
        if 200 <= status < 300:
            return SendResult(provider_id=response.headers.get("X-Message-Id", ""), status=status)
        raise self._error(status, response.headers, response.body)

    def close(self) -> None:
        self._connection.close()

    def _error(self, status: int, headers: HTTPMessage, body: bytes) -> EspError:
        text = f"{self.name}: {status} {self._reason(body)}".rstrip()
        if status in BLOCKED:
            return EspError(text, blocked=True, status=status)
        if status in RETRYABLE:
            return EspError(text, retry_after_s=retry_after_s(headers, self._now_s()), status=status)
        if 400 <= status < 500:
            return EspError(text, permanent=True, status=status)
        # A redirect or an unheard-of status: some server took the request, and may have acted on it.
        return EspError(text, ambiguous=True, status=status)

    def _reason(self, body: bytes) -> str:
        """SendGrid's own words, shortened, without addresses and the key; "" when it sent no JSON."""
        try:
            error = json.loads(body)["errors"][0]
            message, field = str(error.get("message") or ""), str(error.get("field") or "")
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            return ""
        reason = f"{message} ({field})" if field else message
        reason = ADDRESS.sub("<address>", reason.replace(self._key, "<key>"))
        return UNPRINTABLE.sub(" ", reason)[:200]


def _personalization(message: Message) -> dict[str, Any]:
    # In the personalization: SendGrid's specification types the message's own custom_args as a string.
    # Their values must be strings, and come back with every event. SendGrid does not treat them as personal data.
    custom_args = {"freshgate_send": str(message.send_id), "freshgate_trigger": str(message.trigger)}
    personalization: dict[str, Any] = {"to": [{"email": message.to}], "custom_args": custom_args}
    if message.template_data:
        personalization["dynamic_template_data"] = dict(message.template_data)
    if message.headers:
        personalization["headers"] = dict(message.headers)
    return personalization
