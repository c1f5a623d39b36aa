"""Amazon SES v2's side of SendEmail and SendBulkEmail as the sandbox plays it.

`apis.py` lists them. The schemas are of the parts that Freshgate uses; the signature is not checked.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

from jsonschema import Draft202012Validator

from workers.sandbox.api import SENDER, TEXT, Api, Call, Refused, Reply, mail, parse, reply, unused


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "additionalProperties": False,
        "properties": properties,
    }


_TAGS: dict[str, Any] = {
    "type": "array",
    "maxItems": 50,
    "items": _object(
        ("Name", "Value"),
        Name={"type": "string", "pattern": "^[A-Za-z0-9_-]{1,256}$"},
        Value={"type": "string", "pattern": "^[A-Za-z0-9_.@-]{1,256}$"},
    ),
}
_HEADERS: dict[str, Any] = {"type": "array", "maxItems": 15, "items": _object(("Name", "Value"), Name=TEXT, Value=TEXT)}
_DATA: dict[str, Any] = {"type": "string", "maxLength": 262_144, "pattern": r"^\{"}
_CHARSET: dict[str, Any] = _object(("Data",), Data=TEXT, Charset=TEXT)
_DESTINATION = _object(
    ("ToAddresses",),
    ToAddresses={"type": "array", "minItems": 1, "maxItems": 50, "items": SENDER},
    **unused("CcAddresses", "BccAddresses"),
)
_TEMPLATE = _object(("TemplateName",), TemplateName=TEXT, TemplateData=_DATA, Headers=_HEADERS, **unused("Attachments"))
_SIMPLE = _object(
    ("Subject", "Body"),
    Subject=_CHARSET,
    Body={**_object((), Text=_CHARSET, Html=_CHARSET), "minProperties": 1},
    Headers=_HEADERS,
    **unused("Attachments"),
)
_OPTIONS = unused(
    "ReplyToAddresses",
    "FeedbackForwardingEmailAddress",
    "FromEmailAddressIdentityArn",
    "FeedbackForwardingEmailAddressIdentityArn",
    "EndpointId",
    "TenantName",
)
SEND_EMAIL = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_object(
        ("FromEmailAddress", "Destination", "Content"),
        FromEmailAddress=SENDER,
        Destination=_DESTINATION,
        Content={**_object((), Template=_TEMPLATE, Simple=_SIMPLE), "minProperties": 1, "maxProperties": 1},
        EmailTags=_TAGS,
        ConfigurationSetName=TEXT,
        **_OPTIONS,
        **unused("ListManagementOptions"),
    ),
}
_ENTRY = _object(
    ("Destination",),
    Destination=_DESTINATION,
    ReplacementTags=_TAGS,
    ReplacementHeaders=_HEADERS,
    ReplacementEmailContent=_object((), ReplacementTemplate=_object((), ReplacementTemplateData=_DATA)),
)
SEND_BULK_EMAIL = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_object(
        ("FromEmailAddress", "DefaultContent", "BulkEmailEntries"),
        FromEmailAddress=SENDER,
        DefaultContent=_object(("Template",), Template=_TEMPLATE),
        BulkEmailEntries={"type": "array", "minItems": 1, "maxItems": 50, "items": _ENTRY},
        ConfigurationSetName=TEXT,
        **_OPTIONS,
        **unused("DefaultEmailTags"),
    ),
}
SINGLE = Draft202012Validator(SEND_EMAIL)
BULK = Draft202012Validator(SEND_BULK_EMAIL)
ACCESS_KEY = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/")
# Amazon's name of an error by status.
ERRORS = {400: "BadRequestException", 404: "NotFoundException", 429: "TooManyRequestsException"}


def key(call: Call) -> str:
    """The access key that signs."""
    match = ACCESS_KEY.match(call.headers.get("Authorization", ""))
    return match[1] if match else ""


def accept_single(call: Call) -> tuple[list[bytes], Reply]:
    """200 and the MessageId."""
    body = parse(call.body, SINGLE)
    template = body["Content"].get("Template", {})
    accepted = mail(
        "ses",
        body["Destination"]["ToAddresses"][0],
        template.get("TemplateName", ""),
        _data(template.get("TemplateData", "{}")),
        _tags(body.get("EmailTags", [])),
        body,
    )
    return [accepted], reply(200, {"MessageId": secrets.token_hex(16)})


def accept_bulk(call: Call) -> tuple[list[bytes], Reply]:
    """200 and a result for each mail, in their order."""
    body = parse(call.body, BULK)
    name = body["DefaultContent"]["Template"]["TemplateName"]
    mails, results = [], []
    for entry in body["BulkEmailEntries"]:
        template = entry.get("ReplacementEmailContent", {}).get("ReplacementTemplate", {})
        data = _data(template.get("ReplacementTemplateData", "{}"))
        tags = _tags(entry.get("ReplacementTags", []))
        mails.append(mail("ses", entry["Destination"]["ToAddresses"][0], name, data, tags, body))
        results.append({"Status": "SUCCESS", "MessageId": secrets.token_hex(16)})
    return mails, reply(200, {"BulkEmailEntryResults": results})


def error(status: int, message: str, field: str = "") -> Reply:
    """A reply in the shape of SES' errors."""
    code, headers, body = reply(status, {"message": message})
    return code, {**headers, "x-amzn-ErrorType": ERRORS.get(status, "InternalFailure")}, body


def _tags(tags: list[dict[str, str]]) -> dict[str, str]:
    return {tag["Name"]: tag["Value"] for tag in tags}


def _data(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(400, "the template's data are not JSON") from None


SEND_EMAIL_API = Api("ses", "POST", "/v2/email/outbound-emails", key, accept_single, error)
SEND_BULK_EMAIL_API = Api("ses", "POST", "/v2/email/outbound-bulk-emails", key, accept_bulk, error)
