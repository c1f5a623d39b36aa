"""SendGrid's side of mail/send as the sandbox plays it: what it refuses, in which words, and what it keeps.

`apis.py` lists it; `sendgrid_schema.py` is the schema of the body.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from jsonschema import Draft202012Validator

from workers.sandbox.api import Api, Call, Refused, Reply, bearer, mail, parse, reply
from workers.sandbox.sendgrid_schema import MAIL_SEND, MAX_CUSTOM_ARGS_BYTES

VALIDATOR = Draft202012Validator(MAIL_SEND)


def accept(call: Call) -> tuple[list[bytes], Reply]:
    """202 and a mail for each recipient."""
    if call.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "Content-Type should be application/json.")
    body = parse(call.body, VALIDATOR)
    for number, personalization in enumerate(body["personalizations"]):
        if len(json.dumps(personalization.get("custom_args", {})).encode()) >= MAX_CUSTOM_ARGS_BYTES:
            field = f"personalizations.{number}.custom_args"
            raise Refused(400, f"custom_args take less than {MAX_CUSTOM_ARGS_BYTES} bytes", field)
    is_sandboxed = body.get("mail_settings", {}).get("sandbox_mode", {}).get("enable", False)
    status = 200 if is_sandboxed else 202
    mails = [] if is_sandboxed else _mails(body)
    return mails, (status, {"X-Message-Id": secrets.token_urlsafe(16)}, b"")


def error(status: int, message: str, field: str = "") -> Reply:
    """A reply in the shape of SendGrid's errors."""
    return reply(status, {"errors": [{"message": message, "field": field or None, "help": None}]})


def _mails(body: dict[str, Any]) -> list[bytes]:
    return [
        mail(
            "sendgrid",
            recipient["email"],
            body.get("template_id", ""),
            personalization.get("dynamic_template_data", {}),
            personalization.get("custom_args", {}),
            body,
        )
        for personalization in body["personalizations"]
        for recipient in personalization["to"]
    ]


MAIL_SEND_API = Api("sendgrid", "POST", "/v3/mail/send", bearer, accept, error)
