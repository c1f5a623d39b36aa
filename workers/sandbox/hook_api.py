"""The hooks as the sandbox plays them: `/hooks/KIND` takes the document of `workers/esp/hook.py`.

`apis.py` lists them. A password of the sandbox is the last part of the path: `/hooks/zapier/PASSWORD`.
"""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

from workers.sandbox.api import ADDRESS, TEXT, Api, Call, Refused, Reply, mail, parse, reply

DOCUMENT: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["type", "freshgate_send", "freshgate_trigger", "to"],
    "additionalProperties": False,
    "properties": {
        "type": {"const": "freshgate.mail"},
        "freshgate_send": TEXT,
        "freshgate_trigger": TEXT,
        "to": ADDRESS,
        "template_id": TEXT,
        "template_data": {"type": "object", "minProperties": 1},
    },
}
VALIDATOR = Draft202012Validator(DOCUMENT)
SIGNATURE_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


def key(call: Call) -> str:
    """What a hook knows the caller by: a header, or its own URL."""
    header: str = call.headers.get("x-functions-key") or call.headers.get("x-make-apikey") or ""
    return header or call.match.group(0).rstrip("/").rpartition("/")[2]


def accept(call: Call) -> tuple[list[bytes], Reply]:
    """The mail, and a 2xx as the kind has it."""
    kind = call.match["kind"]
    if kind == "azure_function" and not call.headers.get("x-functions-key"):
        raise Refused(401, "x-functions-key is missing")
    if kind == "webhook" and not all(call.headers.get(name) for name in SIGNATURE_HEADERS):
        raise Refused(401, f"the signature is missing: {', '.join(SIGNATURE_HEADERS)}")
    return accept_document(kind, call)


def accept_document(kind: str, call: Call) -> tuple[list[bytes], Reply]:
    body = parse(call.body, VALIDATOR)
    custom_args = {name: body[name] for name in ("freshgate_send", "freshgate_trigger")}
    accepted = mail(kind, body["to"], body.get("template_id", ""), body.get("template_data", {}), custom_args, body)
    return [accepted], _reply(kind, body["freshgate_send"])


def error(status: int, message: str, field: str = "") -> Reply:
    return status, {"Content-Type": "text/plain; charset=utf-8"}, message.encode()


def _reply(kind: str, send_id: str) -> Reply:
    if kind == "zapier":
        return reply(200, {"attempt": send_id, "id": send_id, "request_id": send_id, "status": "success"})
    if kind == "make":
        return 200, {"Content-Type": "text/plain"}, b"Accepted"
    return 204, {}, b""


def _api(kind: str) -> Api:
    return Api(kind, "POST", rf"/hooks/(?P<kind>{kind})(?:/[^?]*)?", key, accept, error)


HOOK_APIS = tuple(_api(kind) for kind in ("zapier", "make", "lambda", "azure_function", "webhook"))
