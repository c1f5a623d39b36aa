"""Amazon SES v2's SendEmail and SendBulkEmail: the body of a mail, and the named errors that answer.

`aws.py` signs the request, `http_account.py` carries it; `sandbox/ses_api.py` plays the other side.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from email.header import Header
from typing import Any

from freshgate.errors import EspError
from freshgate.settings import EspSettings
from workers.esp.aws import Signer
from workers.esp.base import Message, SendResult
from workers.esp.capabilities import Capabilities
from workers.esp.connection import HttpResponse
from workers.esp.http_account import HttpAccount, checked_api_url, retry_after_s

# Names of errors, and statuses of a mail of a bulk call → how EspError classes them:
# docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html and API_BulkEmailEntryResult.html
BLOCKED = {
    "AccountSuspendedException",
    "SendingPausedException",
    "MailFromDomainNotVerifiedException",
    "ACCOUNT_SUSPENDED",
    "ACCOUNT_SENDING_PAUSED",
    "ACCOUNT_DAILY_QUOTA_EXCEEDED",
    "CONFIGURATION_SET_SENDING_PAUSED",
    "MAIL_FROM_DOMAIN_NOT_VERIFIED",
}
RETRYABLE = {
    "TooManyRequestsException",
    "ThrottlingException",
    "LimitExceededException",
    "ACCOUNT_THROTTLED",
    "TRANSIENT_FAILURE",
}
MAX_BATCH = 50
# A tag's value holds these characters only, 256 at most.
NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_.@-]")


class Ses(HttpAccount):
    """An account of Amazon SES; a BatchEsp where the templates are stored there. Raises SettingsError."""

    capabilities = Capabilities(
        accepts="queued; addresses of SES's own suppression list are dropped later, which an event says",
        templates="by id or ours",
        send_id="tag `freshgate_send`, in every event of a configuration set",
        headers=True,
        live_url="https://email.eu-central-1.amazonaws.com",
    )
    path = "/v2/email/outbound-emails"
    # Of stored templates.
    max_batch = MAX_BATCH

    def __init__(self, name: str, settings: EspSettings) -> None:
        self._url = checked_api_url(name, settings, self.capabilities)
        self._signer = Signer(name, settings, "ses", self._url)
        self.max_batch = MAX_BATCH if settings.templates == "stored" else 1
        super().__init__(name, settings, url=self._url)

    def prepare(self) -> None:
        self._signer.prepare()
        super().prepare()

    def body(self, message: Message) -> dict[str, Any]:
        content: dict[str, Any]
        if self.settings.templates == "stored":
            content = {"Template": _template(message)}
        else:
            content = {"Simple": _simple(message)}
        if message.headers:
            next(iter(content.values()))["Headers"] = _pairs(message.headers)
        return {
            **self._shared(),
            "Destination": {"ToAddresses": [message.to]},
            "Content": content,
            "EmailTags": _tags(message),
        }

    def bulk_body(self, messages: Sequence[Message]) -> dict[str, Any]:
        """All are of one template; each has data, headers and tags of its own."""
        entries: list[dict[str, Any]] = []
        for message in messages:
            entry: dict[str, Any] = {
                "Destination": {"ToAddresses": [message.to]},
                "ReplacementTags": _tags(message),
                "ReplacementEmailContent": {
                    "ReplacementTemplate": {"ReplacementTemplateData": _data(message.template_data)}
                },
            }
            if message.headers:
                entry["ReplacementHeaders"] = _pairs(message.headers)
            entries.append(entry)
        default = {"Template": {"TemplateName": messages[0].template_id, "TemplateData": "{}"}}
        return {**self._shared(), "DefaultContent": default, "BulkEmailEntries": entries}

    def headers(self, message: Message, body: bytes) -> Mapping[str, str]:
        return self._sign(self.path, body)

    def send_batch(self, messages: Sequence[Message]) -> Sequence[SendResult | EspError]:
        """SES answers for each mail, in their order."""
        path = "/v2/email/outbound-bulk-emails"
        body = self.encode(lambda: self.bulk_body(messages))
        response = self.post(path, body, self._sign(path, body))
        try:
            results = list(json.loads(response.body)["BulkEmailEntryResults"])
            statuses = [str(result["Status"]) for result in results]
        except (ValueError, TypeError, KeyError, RecursionError):
            statuses = []
        if len(statuses) != len(messages):
            raise EspError(f"{self.name}: its 200 cannot be read", ambiguous=True, status=response.status)
        return [
            SendResult(str(result.get("MessageId") or ""), response.status)
            if status == "SUCCESS"
            else self._refusal(status, f"{self.name}: {status} {self.scrub(str(result.get('Error', '')))}", response)
            for status, result in zip(statuses, results, strict=True)
        ]

    def provider_id(self, response: HttpResponse) -> str:
        try:
            return str(json.loads(response.body)["MessageId"] or "")
        except (ValueError, TypeError, KeyError, RecursionError):
            return ""

    def reason(self, document: Any) -> str:
        return str(document.get("message") or document["Message"])

    def error(self, response: HttpResponse) -> EspError:
        name = error_name(response)
        if name in BLOCKED | RETRYABLE:
            return self._refusal(name, f"{self.text_of(response)} {name}", response)
        return super().error(response)

    def _refusal(self, name: str, text: str, response: HttpResponse) -> EspError:
        if name in RETRYABLE:
            wait_s = retry_after_s(response.headers, self.now_s())
            return EspError(text, retry_after_s=wait_s, status=response.status)
        return EspError(text, blocked=name in BLOCKED, permanent=name not in BLOCKED, status=response.status)

    def _shared(self) -> dict[str, Any]:
        shared: dict[str, Any] = {"FromEmailAddress": _sender(self.settings)}
        if self.settings.configuration_set:
            shared["ConfigurationSetName"] = self.settings.configuration_set
        return shared

    def _sign(self, path: str, body: bytes) -> Mapping[str, str]:
        return self._signer.headers("POST", self._url + path, {"Content-Type": "application/json"}, body)


def error_name(response: HttpResponse) -> str:
    """Amazon's name of an error: `x-amzn-ErrorType` without what follows a colon."""
    name: str = response.headers.get("x-amzn-ErrorType", "")
    return name.partition(":")[0]


def _template(message: Message) -> dict[str, Any]:
    return {"TemplateName": message.template_id, "TemplateData": _data(message.template_data)}


def _simple(message: Message) -> dict[str, Any]:
    content = message.render()
    body = {"Text": {"Data": content.text, "Charset": "UTF-8"}}
    if content.html:
        body["Html"] = {"Data": content.html, "Charset": "UTF-8"}
    return {"Subject": {"Data": content.subject, "Charset": "UTF-8"}, "Body": body}


def _data(template_data: Mapping[str, Any]) -> str:
    return json.dumps(dict(template_data), ensure_ascii=False, allow_nan=False)


def _pairs(headers: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in headers.items()]


def _tags(message: Message) -> list[dict[str, str]]:
    tags = {"freshgate_send": message.send_id, "freshgate_trigger": message.trigger}
    return [{"Name": name, "Value": NOT_IN_TAGS.sub("_", value)[:256]} for name, value in tags.items()]


def _sender(settings: EspSettings) -> str:
    """SES wants a name that is not ASCII as RFC 2047 writes it."""
    if not settings.from_name:
        return settings.from_email
    if settings.from_name.isascii():
        name = settings.from_name.replace("\\", "").replace('"', "")
        return f'"{name}" <{settings.from_email}>'
    return f"{Header(settings.from_name, 'utf-8', maxlinelen=10_000).encode()} <{settings.from_email}>"
