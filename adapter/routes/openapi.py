"""The receiver's endpoints as an OpenAPI document, served at /openapi.json.

Written by hand, so that the promise does not change with the code; tests compare the two. Only how requests are
authenticated comes from the declarations of the source kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from flask import Flask, Response

from adapter.routes.openapi_schemas import SCHEMAS, Schema
from adapter.routes.tracking_api import CALLS
from adapter.sources import SOURCES
from adapter.sources.base import Source, SourceKind
from freshgate.version import VERSION

KEY_IN_QUERY: Schema = {
    "name": "writeKey",
    "in": "query",
    "required": False,
    "description": "the write key, where no header has it",
    "schema": {"type": "string"},
}

METHODS = ("post", "put", "patch")
KINDS = {
    endpoint: [kind for kind in SOURCES.values() if kind.endpoint == endpoint]
    for endpoint in ("webhook", "tracking_api")
}
_FAULTS = {
    400: "the body as a whole cannot be read",
    401: "not authentic; the log names the setting to check",
    403: "this write key may not be used in this page",
    404: "no such source, or call",
    405: "no such method",
    413: "more bytes or elements than are taken",
    415: "a content encoding or type that cannot be verified",
    429: "a limit of the source is reached; come again later",
    503: "our fault: Redis did not take it; try again",
}
_RETRY: Schema = {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}}
_ANYTHING: Schema = {
    "description": "What the CDP sends; its own documentation says more. Not JSON Schema's subject: bad elements are "
    "refused one by one, and told in the answer.",
    "required": True,
    "content": {"application/json": {"schema": {"anyOf": [{"type": "object"}, {"type": "array"}]}}},
}


def add_openapi(app: Flask, described: Mapping[str, Any]) -> None:
    """`GET /openapi.json`, encoded once. `described` is one of the documents below."""
    encoded = msgspec.json.encode(described)

    @app.get("/openapi.json")
    def openapi() -> Response:
        return Response(encoded, mimetype="application/json", headers={"Cache-Control": "max-age=3600"})


def document() -> dict[str, Any]:
    """The whole document, ready to be encoded."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Freshgate",
            "version": VERSION,
            "description": "CDP webhooks in, fresh mails out: what the receiver takes, and what it answers.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/webhooks/{source}": _webhook(
                "", [_path("source", "a source of the settings")], _alternatives(KINDS["webhook"])
            ),
            "/webhooks/{source}/{audience}/{turn}": _webhook(
                "OfAudience",
                [
                    _path(
                        "source", "a source of kind " + " or ".join(k.name for k in KINDS["webhook"] if k.has_audiences)
                    ),
                    _path("audience", "any name"),
                    _path("turn", "what the visitor did", enum=["joined", "left"]),
                ],
                _alternatives(kind for kind in KINDS["webhook"] if kind.security.on_audience_urls),
            ),
            "/v1/{call}": _tracking(),
            "/beacon/v1/{call}": _tracking("beacon", [KEY_IN_QUERY]),
            "/feedback/{account}": _feedback(),
            **_people(),
            "/unsubscribe/{token}": _unsubscribe(),
            "/healthz": {"get": _operation("healthz", "The process lives", {200: _json("Health", "it does")})},
            "/readyz": {
                "get": _operation(
                    "readyz",
                    "Redis is fit",
                    {200: _json("Readiness", "it is"), 503: _json("Readiness", "it is not; `problems` says why")},
                )
            },
            "/freshgate.js": {
                "get": _operation(
                    "snippet",
                    "The script for pages without a CDP",
                    {
                        200: {
                            "description": "JavaScript",
                            "content": {"text/javascript": {"schema": {"type": "string"}}},
                        },
                        304: {"description": "it has not changed"},
                    },
                )
            },
            "/openapi.json": {
                "get": _operation("openapi", "This document", {200: _content({"type": "object"}, "as you see")})
            },
        },
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Freshgate-Token"},
                "people": {"type": "http", "scheme": "bearer", "description": "one of `api_tokens`"},
                **{kind.security.name: kind.security.scheme for kind in SOURCES.values()},
            },
        },
    }


def people_document() -> dict[str, Any]:
    """The same for the People API as a process of its own."""
    whole = document()
    own = {path: whole["paths"][path] for path in (*_people(), "/healthz", "/readyz", "/openapi.json")}
    schemes = {"people": whole["components"]["securitySchemes"]["people"]}
    info = {**whole["info"], "description": "What is known of a person right now."}
    return {**whole, "info": info, "paths": own, "components": {"schemas": SCHEMAS, "securitySchemes": schemes}}


def _alternatives(kinds: Iterable[SourceKind[Source]]) -> list[Schema]:
    """The security requirements of which a request meets one: a scheme of one of the kinds, or the source's token."""
    alternatives: list[Schema] = []
    for kind in kinds:
        alternatives.append({kind.security.name: []})
        if kind.security.with_token:
            alternatives.append({kind.security.name: [], "token": []})
    alternatives.append({"token": []})
    return [alternative for index, alternative in enumerate(alternatives) if alternative not in alternatives[:index]]


def _webhook(name: str, parameters: list[Schema], security: list[Schema]) -> Schema:
    path: Schema = {"parameters": parameters}
    for method in METHODS:
        answers = {200: _json("Answer", "recorded"), **_faults("Fault", (400, 401, 404, 405, 413, 415, 429, 503))}
        path[method] = _operation(f"{method}Webhook{name}", "Take what a CDP tells", answers)
        path[method] |= {"requestBody": _ANYTHING, "security": security}
    answers = {200: _json("Answer", "recorded"), **_faults("Fault", (400, 401, 404, 405, 413, 429, 503))}
    path["get"] = _operation(f"getWebhook{name}", "The same in `?data=`, for sources with allow_get", answers)
    path["get"]["security"] = _alternatives(kind for kind in KINDS["webhook"] if kind.has_audiences)
    return path


def _tracking(operation: str = "track", parameters: Sequence[Schema] = ()) -> Schema:
    answers = {200: _json("Done", "taken"), **_faults("TrackingFault", (400, 401, 403, 404, 405, 413, 415, 429, 503))}
    call = _operation(operation, "Segment's HTTP Tracking API: its SDKs need only another host", answers)
    # A write key may stand in the body instead.
    security: list[Schema] = [*({kind.security.name: []} for kind in KINDS["tracking_api"]), {}]
    call |= {"requestBody": {**_ANYTHING, "required": False}, "security": security}
    preflight = _operation(
        f"{operation}Preflight", "What a page may send", {204: {"description": "the headers say it"}}
    )
    names = sorted({*CALLS, *CALLS.values(), "m"})
    path = _path("call", "long or short", enum=names)
    return {"parameters": [path, *parameters], "post": call, "options": preflight}


def _feedback() -> Schema:
    post = _operation(
        "feedback",
        "Take what an ESP reports of mails, for accounts that are set up for it",
        {200: _json("Feedback", "recorded"), **_faults("Fault", (400, 401, 404, 405, 413, 503))},
    )
    get = _operation(
        "feedbackExists",
        "Whether an account is set up, as some ESPs ask",
        {200: _json("Health", "it is"), **_faults("Fault", (404,))},
    )
    body = {
        "content": {"*/*": {"schema": {}}},
        "description": "What the ESP sends, signed as it does",
        "required": True,
    }
    return {
        "parameters": [_path("account", "an account of the settings")],
        "post": post | {"requestBody": body},
        "get": get,
    }


def _people() -> dict[str, Schema]:
    """The People API, which exists where `api_tokens` are set."""
    parameters = [_path("id", "a user id, an anonymous id or an address")]
    paths: dict[str, Schema] = {}
    for path, name, summary in (
        ("/api/people/{id}", "person", "What is known of a person, each field with its age and source"),
        ("/api/people/{id}/recent", "recent", "The newest 50 events of a person"),
    ):
        answers = {200: _json(name.title(), "as of now"), **_faults("Fault", (400, 401, 404, 405, 429, 503))}
        operation = _operation(name, summary, answers) | {"security": [{"people": []}]}
        operation["parameters"] = [_query("shop", "an id_space of the sources; all of them without it")]
        if name == "person":
            operation["parameters"].append(_query("fresh_for", "`24h`, or `email:365d,cart:1h`"))
        paths[path] = {"parameters": parameters, "get": operation}
    return paths


def _query(name: str, description: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": {"type": "string"}}


def _unsubscribe() -> Schema:
    """Pages for readers, in their language; a mailbox posts the form of RFC 8058."""
    refusals = {404: _page("no link of ours"), 410: _page("the link has expired")}
    ask = _operation(
        "unsubscribePage", "The page of a mail's link; changes nothing", {200: _page("buttons"), **refusals}
    )
    answers = {
        200: _page("it is so from now on, also if it was before"),
        400: _page("the form asks for nothing"),
        **refusals,
        429: _page("this link was used too often") | {"headers": _RETRY},
        503: _page("our fault: Redis did not take it; try again") | {"headers": _RETRY},
    }
    leave = _operation("unsubscribe", "No more mail of a topic, or no marketing mail at all", answers)
    form = {
        "type": "object",
        "properties": {
            "List-Unsubscribe": {"const": "One-Click"},
            "leave": {"type": "string", "description": "`all`, or a topic"},
        },
    }
    kinds = ("application/x-www-form-urlencoded", "multipart/form-data")
    leave["requestBody"] = {"required": True, "content": {kind: {"schema": form} for kind in kinds}}
    return {"parameters": [_path("token", "of a mail's link")], "get": ask, "post": leave}


def _page(description: str) -> Schema:
    return {"description": description, "content": {"text/html": {"schema": {"type": "string"}}}}


def _faults(schema: str, statuses: Iterable[int]) -> dict[int, Schema]:
    faults = {status: _json(schema, _FAULTS[status]) for status in statuses}
    for status in {429, 503} & faults.keys():
        faults[status]["headers"] = _RETRY
    return faults


def _operation(name: str, summary: str, answers: dict[int, Schema]) -> Schema:
    responses = {str(status): answer for status, answer in answers.items()}
    return {"operationId": name, "summary": summary, "responses": responses}


def _path(name: str, description: str, enum: list[str] | None = None) -> Schema:
    schema: Schema = {"type": "string", "minLength": 1} | ({"enum": enum} if enum else {})
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _json(schema: str, description: str) -> Schema:
    return _content({"$ref": f"#/components/schemas/{schema}"}, description)


def _content(schema: Schema, description: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
