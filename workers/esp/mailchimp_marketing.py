"""Mailchimp Marketing: the member is written, then an event or a journey's step starts the automation that mails it.

`http_account.py` carries the requests; `sandbox/mailchimp_marketing_api.py` plays the other side.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from typing import Any
from urllib.parse import quote

from freshgate.errors import EspError, SettingsError
from freshgate.outbound import parse_url
from freshgate.settings import EspSettings
from freshgate.settings_parsing import setting_name
from workers.esp.base import Message, SendResult
from workers.esp.capabilities import Capabilities
from workers.esp.connection import HttpResponse
from workers.esp.http_account import HttpAccount, checked_api_url, checked_key

# A `template_id` of this form triggers a step of a journey; any other is not used.
JOURNEY = re.compile(r"journeys/[0-9]+/steps/[0-9]+")
DATA_CENTER = re.compile(r"-([a-z]{2,3}[0-9]+)$")
# An event's name has 2 to 30 characters.
MAX_NAME_LENGTH = 30
SANDBOX_LIST = "sandbox"


class MailchimpMarketing(HttpAccount):
    """An audience at Mailchimp. Its automation decides whether and what to mail. Raises SettingsError."""

    capabilities = Capabilities(
        accepts="recorded: an automation that listens to the event mails the member, if it is subscribed",
        templates="receiver",
        send_id="property `freshgate_send` of the event; it does not come back",
        # mailchimp.com/developer/marketing/docs/fundamentals: more are answered 429.
        max_calls=10,
        live_url="https://us1.api.mailchimp.com/3.0",
    )

    def __init__(self, name: str, settings: EspSettings) -> None:
        url = checked_api_url(name, settings, self.capabilities)
        key = checked_key(name, settings, "Mailchimp")
        data_center = DATA_CENTER.search(key)
        if settings.live and data_center and not parse_url(url).host.startswith(f"{data_center[1]}."):
            raise SettingsError(
                f"{setting_name('esps', name, 'base_url')}: the key is of {data_center[1]}; "
                f"write https://{data_center[1]}.api.mailchimp.com/3.0"
            )
        if settings.live and not settings.list_id:
            raise SettingsError(
                f"{setting_name('esps', name, 'list_id')}: mailchimp_marketing needs list_id: write the audience's id, "
                "which its settings page shows"
            )
        self._list = quote(settings.list_id or SANDBOX_LIST, safe="")
        credentials = base64.b64encode(f"freshgate:{key}".encode()).decode()
        super().__init__(
            name, settings, url=url, headers={"Authorization": f"Basic {credentials}"}, secrets=[key, credentials]
        )

    def member(self, message: Message) -> dict[str, Any]:
        """The member. `status_if_new` and never `status`: that would subscribe whoever has left."""
        return {"email_address": message.to, "status_if_new": self.settings.status_if_new}

    def body(self, message: Message) -> dict[str, Any]:
        """The event: its name is the trigger's, its properties are texts."""
        ids = {"freshgate_send": message.send_id, "freshgate_trigger": message.trigger}
        properties = {name: text for name, value in message.template_data.items() if (text := _text(value))}
        return {"name": message.trigger[:MAX_NAME_LENGTH].ljust(2, "_"), "properties": {**properties, **ids}}

    def send(self, message: Message) -> SendResult:
        """Two calls, in `timeout_s` together. Repeating the first changes nothing: only the second can be in doubt."""
        started = time.monotonic()
        step = JOURNEY.fullmatch(message.template_id)
        second = self.encode(lambda: {"email_address": message.to} if step else self.body(message))
        # Named as Mailchimp names a member: not a secret, and not a protection.
        digest = hashlib.md5(message.to.lower().encode(), usedforsecurity=False).hexdigest()
        member = f"/lists/{self._list}/members/{digest}"
        self._write_member(member, self.encode(lambda: self.member(message)))
        path = f"/customer-journeys/{step[0]}/actions/trigger" if step else f"{member}/events"
        remaining_s = self.settings.timeout_s - (time.monotonic() - started)
        if remaining_s <= 0:
            raise EspError(f"{self.name}: not sent: out of time")
        response = self.call("POST", path, second, timeout_s=remaining_s)
        if not 200 <= response.status < 300:
            raise self.error(response)
        return SendResult("", response.status)

    def reason(self, document: Any) -> str:
        return f"{document['title']}: {document['detail']}"

    def error(self, response: HttpResponse) -> EspError:
        # Under high load the throttle answers 403 without a document; a refused key has one.
        if response.status == 403 and not _is_document(response.body):
            return self.retry(response)
        return super().error(response)

    def _write_member(self, path: str, body: bytes) -> None:
        try:
            response = self.call("PUT", path, body)
            if 200 <= response.status < 300:
                return
            error = self.error(response)
        except EspError as failure:
            error = failure
        if error.ambiguous:
            raise EspError(f"{error}; no event was sent", status=error.status)
        raise error


def _is_document(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


def _text(value: object) -> str:
    """A property, which is a text: anything nested as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
