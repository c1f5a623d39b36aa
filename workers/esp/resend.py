"""Resend's POST /emails: the body of a mail, and the key under which asking again sends no second mail.

`http_account.py` carries the request; `sandbox/resend_api.py` plays the other side.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from freshgate.errors import EspError
from freshgate.settings import EspSettings
from freshgate.templates import Content
from workers.esp.base import Message, SendResult
from workers.esp.capabilities import DAY_S, Capabilities
from workers.esp.connection import HttpResponse
from workers.esp.http_account import HttpAccount, checked_api_url, checked_key, sender

# resend.com/docs/api-reference/errors
SAME_KEY_OTHER_BODY = "invalid_idempotent_request"
SAME_KEY_NOW = "concurrent_idempotent_requests"
# resend.com/docs/api-reference/emails/send-batch-emails
MAX_BATCH = 100
# A tag's name and value hold these characters only, 256 at most.
NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_-]")


class Resend(HttpAccount):
    """An account at Resend. Raises SettingsError.

    With `idempotent` (the default) a mail is a call, and its key is the send id. Without it, an account is a BatchEsp:
    Resend's key names a call and not a mail, so a batch in doubt could not be asked for again.
    """

    capabilities = Capabilities(
        accepts="queued",
        # resend.com/docs/dashboard/emails/idempotency-keys
        idempotency_s=DAY_S,
        templates="by id or ours",
        schedule_s=30 * DAY_S,
        send_id="header `Idempotency-Key`; tag `freshgate_send`, in every webhook event",
        headers=True,
        live_url="https://api.resend.com",
    )
    path = "/emails"
    # Of an account that is not `idempotent`.
    max_batch = MAX_BATCH

    def __init__(self, name: str, settings: EspSettings) -> None:
        url = checked_api_url(name, settings, self.capabilities)
        key = checked_key(name, settings, "Resend")
        self.max_batch = 1 if settings.idempotent else MAX_BATCH
        self.idempotency_s = self.capabilities.idempotency_s if settings.idempotent else 0
        super().__init__(name, settings, url=url, headers={"Authorization": f"Bearer {key}"}, secrets=[key])

    def body(self, message: Message) -> dict[str, Any]:
        """One recipient."""
        tags = {"freshgate_send": message.send_id, "freshgate_trigger": message.trigger}
        body = {
            "from": sender(self.settings),
            "to": [message.to],
            **(_stored(message) if self.settings.templates == "stored" else _rendered(message.render())),
            "tags": [{"name": name, "value": NOT_IN_TAGS.sub("_", text)[:256]} for name, text in tags.items()],
        }
        return body | {"headers": dict(message.headers)} if message.headers else body

    def headers(self, message: Message, body: bytes) -> Mapping[str, str]:
        return {"Idempotency-Key": message.send_id}

    def send(self, message: Message) -> SendResult:
        """As the base says; and a key that Resend has with another body means that the mail is there."""
        try:
            return super().send(message)
        except EspError as error:
            if error.status == 409 and SAME_KEY_OTHER_BODY in str(error):
                return SendResult("", 409)
            raise

    def send_batch(self, messages: Sequence[Message]) -> Sequence[SendResult]:
        """Resend accepts or refuses a batch as a whole, and answers with the ids in the order of the mails."""
        response = self.post("/emails/batch", self.encode(lambda: [self.body(message) for message in messages]))
        try:
            ids = [str(reply["id"]) for reply in json.loads(response.body)["data"]]
        except (ValueError, TypeError, KeyError, RecursionError):
            ids = []
        ids += [""] * (len(messages) - len(ids))
        return [SendResult(provider_id, response.status) for provider_id in ids[: len(messages)]]

    def provider_id(self, response: HttpResponse) -> str:
        try:
            return str(json.loads(response.body)["id"] or "")
        except (ValueError, TypeError, KeyError, RecursionError):
            return ""

    def reason(self, document: Any) -> str:
        return f"{document['name']}: {document['message']}"

    def error(self, response: HttpResponse) -> EspError:
        error = super().error(response)
        if response.status == 409 and SAME_KEY_NOW in str(error):
            return self.retry(response)
        if error.permanent and "API key is invalid" in str(error):
            return EspError(str(error), blocked=True, status=response.status)
        return error


def _stored(message: Message) -> dict[str, Any]:
    """The subject is the template's own: a subject in the body would replace it."""
    template: dict[str, Any] = {"id": message.template_id}
    variables = {name: variable(value) for name, value in message.template_data.items()}
    if variables:
        template["variables"] = variables
    return {"template": template}


def _rendered(content: Content) -> dict[str, Any]:
    body = {"subject": content.subject, "text": content.text}
    return body | {"html": content.html} if content.html else body


def variable(value: object) -> str | int | float:
    """A template's variable, which Resend wants as text or number: true and false as text, anything nested as JSON."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
