"""The OpenAPI document describes the receiver: it has all routes, and each response matches one of its schemas.

Hypothesis builds the requests here; in `test_schemathesis.py` schemathesis builds them from the document.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from adapter.routes.openapi import METHODS, document
from freshgate.settings import SourceSettings
from tests.fuzz.conftest import Serve

DOCUMENT = document()
HEADER = "Basic eDp4"
KEY = base64.b64encode(b"k:").decode()
AUTHENTIC = {"Authorization": HEADER, "X-Freshgate-Token": "t"}
SOURCES = {
    "segment": SourceSettings(kind="segment", tokens=("t",)),
    "mparticle": SourceSettings(kind="mparticle", secrets=(HEADER,)),
    "tealium": SourceSettings(kind="tealium", secrets=(HEADER,), allow_get=True),
    "rudderstack": SourceSettings(kind="rudderstack", secrets=(HEADER,)),
    "sdk": SourceSettings(kind="tracking", write_keys=("k",)),
    "page": SourceSettings(kind="tracking", write_keys=("p",), trust="browser"),
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
# Names that CDPs use, so that requests get beyond the first check.
NAMES = st.sampled_from(
    ["type", "event", "userId", "anonymousId", "messageId", "timestamp", "properties", "context", "traits", "batch"]
    + ["events", "event_type", "data", "user_identities", "mpid", "timestamp_unixtime_ms", "udo", "tealium_event"]
    + ["visitor_id", "post_time", "product_id", "product_action", "action", "products", "email", "json", "writeKey"]
)
WORDS = st.sampled_from(
    ["track", "identify", "Order Completed", "Product Added", "commerce_event", "cart_add", "purchase"]
)
ELEMENTS = st.dictionaries(NAMES, VALUES | WORDS | st.dictionaries(NAMES, VALUES | WORDS, max_size=5), max_size=8)
BODIES = st.one_of(
    ELEMENTS.map(json.dumps),
    st.lists(ELEMENTS, max_size=4).map(json.dumps),
    st.text(max_size=40),
    ELEMENTS.map(lambda element: json.dumps({"batch": [element], "events": [element]})),
).map(lambda text: text.encode("utf-8", "surrogatepass"))
URLS = st.sampled_from(
    [f"/webhooks/{name}" for name in (*SOURCES, "nobody")]
    + ["/webhooks/tealium/Lamps/joined", "/webhooks/segment/Lamps/left"]
    + [f"/v1/{call}" for call in ("t", "track", "batch", "b", "i", "a", "m", "x")]
)
HEADERS = st.sampled_from(
    [AUTHENTIC, {**AUTHENTIC, "Authorization": f"Basic {KEY}"}, {}]
    + [{**AUTHENTIC, "Content-Encoding": "gzip"}, {**AUTHENTIC, "Content-Type": "application/x-www-form-urlencoded"}]
    + [{"Authorization": f"Basic {KEY}", "Origin": "https://shop.example.com"}]
)


@pytest.fixture(scope="module")
def client(serve: Serve) -> FlaskClient:
    return serve(SOURCES)


def response_schema(path: str, method: str, status: int) -> Any:
    """The schema of a response; KeyError if the document has none for this status."""
    response = DOCUMENT["paths"][path][method.lower()]["responses"][str(status)]
    return {**response["content"]["application/json"]["schema"], "components": DOCUMENT["components"]}


def template(url: str) -> str:
    if url.startswith("/v1/"):
        return "/v1/{call}"
    return "/webhooks/{source}/{audience}/{turn}" if url.count("/") > 2 else "/webhooks/{source}"


def test_every_route_stands_in_it_and_nothing_else(client: FlaskClient) -> None:
    routes = {
        (
            str(rule)
            .replace("<name>", "{source}")
            .replace("<path:searched_id>", "{id}")
            .replace("<", "{")
            .replace(">", "}"),
            method.lower(),
        )
        for rule in client.application.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS") and rule.endpoint != "static"
    }
    routes = {(path.replace("{any(joined, left):turn}", "{turn}"), method) for path, method in routes}
    documented = {
        (path, method) for path, item in DOCUMENT["paths"].items() for method in item if method in (*METHODS, "get")
    }
    assert documented == routes


def test_it_is_served(client: FlaskClient) -> None:
    response = client.get("/openapi.json")
    assert response.get_json() == json.loads(json.dumps(DOCUMENT))
    assert response.headers["Cache-Control"]


def test_its_schemas_are_schemas() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=True)
@given(url=URLS, method=st.sampled_from(["POST", "POST", "POST", "PUT", "PATCH", "GET"]), headers=HEADERS, body=BODIES)
def test_every_answer_is_one_that_it_promises(
    client: FlaskClient, url: str, method: str, headers: dict[str, str], body: bytes
) -> None:
    if url.startswith("/v1/"):
        method = "POST"
    query = {"data": body.decode("utf-8", "replace")} if method == "GET" else None
    response = client.open(url, method=method, data=None if query else body, query_string=query, headers=headers)
    assert response.status_code < 500
    Draft202012Validator(response_schema(template(url), method, response.status_code)).validate(response.get_json())


def test_a_method_that_is_not_there_is_told_which_are(client: FlaskClient) -> None:
    response = client.delete("/webhooks/segment")
    assert response.status_code == 405
    assert {"POST", "PUT", "PATCH"} <= set(response.headers["Allow"].split(", "))
