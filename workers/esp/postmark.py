"""Postmark's email/withTemplate: the body of a mail, and the codes with which Postmark refuses one.

`http_account.py` carries the request; `sandbox/postmark_api.py` plays the other side.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from freshgate.errors import EspError
from freshgate.settings import EspSettings
from freshgate.templates import Content
from workers.esp.base import Message, SendResult
from workers.esp.capabilities import Capabilities
from workers.esp.connection import HttpResponse
from workers.esp.http_account import HttpAccount, checked_api_url, checked_key, retry_after_s, sender

# Postmark's ErrorCode → how EspError classes it: postmarkapp.com/developer/api/overview#error-codes
# 10 bad token, 400 and 401 sender signature, 405 no credits, 412 account pending, 413 account may not send.
BLOCKED = {10, 400, 401, 405, 412, 413}
# 100 maintenance, 429 rate limit.
RETRYABLE = {100, 429}


# Setting `templates` → the paths of a call with one mail, and with several.
PATHS = {
    "stored": ("/email/withTemplate", "/email/batchWithTemplates"),
    "catalog": ("/email", "/email/batch"),
}


class Postmark(HttpAccount):
    """A server at Postmark; a BatchEsp. Raises SettingsError."""

    capabilities = Capabilities(
        accepts="queued; an inactive recipient is `rejected` at once",
        templates="by id or ours",
        send_id="`Metadata.freshgate_send`, in every webhook event",
        headers=True,
        live_url="https://api.postmarkapp.com",
    )
    # postmarkapp.com/developer/api/templates-api
    max_batch = 500

    def __init__(self, name: str, settings: EspSettings) -> None:
        url = checked_api_url(name, settings, self.capabilities)
        key = checked_key(name, settings, "Postmark")
        self._is_stored = settings.templates == "stored"
        self.path, self._batch_path = PATHS[settings.templates]
        super().__init__(name, settings, url=url, headers={"X-Postmark-Server-Token": key}, secrets=[key])

    def body(self, message: Message) -> dict[str, Any]:
        """One recipient."""
        body: dict[str, Any] = {
            "From": sender(self.settings),
            "To": message.to,
            **(_stored(message) if self._is_stored else _rendered(message.render())),
            "Tag": message.trigger,
            # A value has 80 characters at most.
            "Metadata": {"freshgate_send": message.send_id[:80], "freshgate_trigger": message.trigger[:80]},
        }
        if message.headers:
            body["Headers"] = [{"Name": name, "Value": value} for name, value in message.headers.items()]
        if self.settings.message_stream:
            body["MessageStream"] = self.settings.message_stream
        return body

    def send_batch(self, messages: Sequence[Message]) -> Sequence[SendResult | EspError]:
        """Postmark answers for each mail, in their order."""
        bodies = self.encode(lambda: self._batch([self.body(message) for message in messages]))
        response = self.post(self._batch_path, bodies)
        try:
            replies = list(json.loads(response.body))
            codes = [int(reply["ErrorCode"]) for reply in replies]
        except (ValueError, TypeError, KeyError, RecursionError):
            codes = []
        if len(codes) != len(messages):
            raise EspError(f"{self.name}: its 200 cannot be read", ambiguous=True, status=response.status)
        return [
            self._refusal(code, f"{self.name}: {self.scrub(self.reason(reply))}", response)
            if code
            else SendResult(str(reply.get("MessageID") or ""), response.status)
            for code, reply in zip(codes, replies, strict=True)
        ]

    def _batch(self, bodies: list[dict[str, Any]]) -> Any:
        return {"Messages": bodies} if self._is_stored else bodies

    def provider_id(self, response: HttpResponse) -> str:
        try:
            return str(json.loads(response.body)["MessageID"] or "")
        except (ValueError, TypeError, KeyError, RecursionError):
            return ""

    def reason(self, document: Any) -> str:
        return f"{document['ErrorCode']} {document.get('Message', '')}"

    def error(self, response: HttpResponse) -> EspError:
        try:
            code = int(json.loads(response.body)["ErrorCode"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return super().error(response)
        if code in BLOCKED | RETRYABLE:
            return self._refusal(code, self.text_of(response), response)
        return super().error(response)

    def _refusal(self, code: int, text: str, response: HttpResponse) -> EspError:
        if code in RETRYABLE:
            wait_s = retry_after_s(response.headers, self.now_s())
            return EspError(text, retry_after_s=wait_s, status=response.status)
        return EspError(text, blocked=code in BLOCKED, permanent=code not in BLOCKED, status=response.status)


def _stored(message: Message) -> dict[str, Any]:
    """A template id of digits is an id, any other an alias. The model is required, also if it is empty."""
    by_id = message.template_id.isascii() and message.template_id.isdigit()
    template = {"TemplateId": int(message.template_id)} if by_id else {"TemplateAlias": message.template_id}
    return {**template, "TemplateModel": dict(message.template_data)}


def _rendered(content: Content) -> dict[str, Any]:
    body = {"Subject": content.subject, "TextBody": content.text}
    return body | {"HtmlBody": content.html} if content.html else body
