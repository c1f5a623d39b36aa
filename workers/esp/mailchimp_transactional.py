"""Mailchimp Transactional's messages/send-template: the body of a mail, and the statuses and named errors that answer.

`http_account.py` carries the request; `sandbox/mailchimp_transactional_api.py` plays the other side.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from freshgate.errors import EspError
from freshgate.settings import EspSettings
from workers.esp.base import Message, SendResult
from workers.esp.capabilities import DAY_S, Capabilities
from workers.esp.connection import HttpResponse
from workers.esp.http_account import HttpAccount, checked_api_url, checked_key

# Mailchimp's names of errors → how EspError classes them. They stand in the body, under various statuses, of which 500
# is one: mailchimp.com/developer/transactional/docs/error-glossary
BLOCKED = {"Invalid_Key", "PaymentRequired", "Unknown_Subaccount"}
RETRYABLE = {"GeneralError", "ServiceUnavailable", "RequestLimitExceeded"}
# Statuses of a recipient: mailchimp.com/developer/transactional/api/messages/send-using-message-template
ACCEPTED = {"sent", "queued", "scheduled"}
REFUSED = {"rejected", "invalid"}


class MailchimpTransactional(HttpAccount):
    """An account at Mailchimp Transactional, once called Mandrill; a BatchEsp. Raises SettingsError."""

    capabilities = Capabilities(
        accepts="sent or queued; a recipient whom Mailchimp rejects is `rejected` at once, with its reason",
        schedule_s=365 * DAY_S,
        send_id="`metadata.freshgate_send` of the recipient, in every webhook event",
        headers=True,
        live_url="https://mandrillapp.com/api/1.4",
    )
    path = "/messages/send-template"
    # Of one call; Mailchimp names no number, and bounds the body by size.
    max_batch = 1000

    def __init__(self, name: str, settings: EspSettings) -> None:
        url = checked_api_url(name, settings, self.capabilities)
        self._key = checked_key(name, settings, "Mailchimp Transactional")
        super().__init__(name, settings, url=url, secrets=[self._key])

    def body(self, message: Message) -> dict[str, Any]:
        return self.batch_body([message])

    def batch_body(self, messages: Sequence[Message]) -> dict[str, Any]:
        """All are of one template. The template's data are Handlebars variables of a recipient, which may be nested."""
        content: dict[str, Any] = {
            "to": [{"email": message.to, "type": "to"} for message in messages],
            # Nobody sees the other recipients.
            "preserve_recipients": False,
            "from_email": self.settings.from_email,
            "metadata": {"freshgate_trigger": messages[0].trigger},
            "recipient_metadata": [
                {"rcpt": message.to, "values": {"freshgate_send": message.send_id}} for message in messages
            ],
            # At most 50 characters, and none that begins with an underscore.
            "tags": [messages[0].trigger.lstrip("_")[:50]],
        }
        if self.settings.from_name:
            content["from_name"] = self.settings.from_name
        if len(messages) == 1 and messages[0].headers:
            content["headers"] = dict(messages[0].headers)
        variables = [_variables(message) for message in messages if message.template_data]
        if variables:
            content |= {"merge_language": "handlebars", "merge_vars": variables}
        # `template_content` is required even if the template has no editable regions.
        return {
            "key": self._key,
            "template_name": messages[0].template_id,
            "template_content": [],
            "message": content,
        }

    def send(self, message: Message) -> SendResult:
        """As the base says; and a recipient whom Mailchimp rejects is a permanent EspError."""
        (result,) = self.send_batch([message])
        if isinstance(result, EspError):
            raise result
        return result

    def send_batch(self, messages: Sequence[Message]) -> Sequence[SendResult | EspError]:
        """Variables and metadata belong to an address, so the second mail to one address waits for another call.

        Headers are the call's, so mails with headers of their own go alone: the caller comes to that in halves.
        """
        if len(messages) > 1 and any(message.headers for message in messages):
            raise EspError(f"{self.name}: mails with headers of their own do not share a call", permanent=True)
        first = {message.to.lower(): message for message in reversed(messages)}
        chosen = [message for message in messages if first[message.to.lower()] is message]
        response = self.post(self.path, self.encode(lambda: self.batch_body(chosen)))
        try:
            replies = {str(reply["email"]).lower(): reply for reply in json.loads(response.body)}
        except (ValueError, TypeError, KeyError, RecursionError):
            # Sent or rejected, nobody knows.
            raise EspError(f"{self.name}: its 200 cannot be read", ambiguous=True, status=response.status) from None
        return [
            self._result(replies.get(message.to.lower()), response.status)
            if first[message.to.lower()] is message
            else EspError(f"{self.name}: another mail of the call has this address")
            for message in messages
        ]

    def _result(self, reply: Any, http_status: int) -> SendResult | EspError:
        if not isinstance(reply, dict):
            return EspError(f"{self.name}: its 200 does not name the recipient", ambiguous=True, status=http_status)
        status = str(reply.get("status"))
        if status in ACCEPTED:
            return SendResult(str(reply.get("_id") or ""), http_status)
        why = self.scrub(str(reply.get("reject_reason") or ""))
        text = f"{self.name}: {self.scrub(status)} {why}".rstrip()
        return EspError(text, permanent=status in REFUSED, ambiguous=status not in REFUSED, status=http_status)

    def reason(self, document: Any) -> str:
        return f"{document['name']}: {document['message']}"

    def error(self, response: HttpResponse) -> EspError:
        try:
            name = str(json.loads(response.body)["name"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return super().error(response)
        text, status = self.text_of(response), response.status
        if name in BLOCKED:
            return EspError(text, blocked=True, status=status)
        if name in RETRYABLE:
            return self.retry(response)
        # ValidationError, Unknown_Template, Invalid_Template and the like: this mail can never leave.
        return EspError(text, permanent=True, status=status)


def _variables(message: Message) -> dict[str, Any]:
    """The published contract has texts only; Handlebars' own pages loop over lists and objects, which are sent as such.

    mailchimp.com/developer/transactional/docs/templates-dynamic-content
    """
    variables = [{"name": name, "content": value} for name, value in message.template_data.items()]
    return {"rcpt": message.to, "vars": variables}
