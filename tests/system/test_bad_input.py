"""Bad input gets a 4xx or a verdict, never a 5xx; neighbours of a bad element are recorded; no log shows a body.

Bodies are signed unless a test is about signatures, since an unsigned one gets a 401 and is not read.
"""

from __future__ import annotations

import copy
import gzip
import json
import socket
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from typing import Any

import pytest

from adapter.sources.segment.signature import sign
from tests.harness.system import SECRET, TOKEN, Response, System
from tests.system.conftest import Shopper, counter_total, is_quiet

MARKER = "marker-that-no-log-may-show"
PATHS: tuple[tuple[str | int, ...], ...] = (
    *((name,) for name in ("type", "event", "userId", "anonymousId", "previousId", "messageId", "context")),
    *((name,) for name in ("timestamp", "originalTimestamp", "sentAt", "receivedAt", "properties", "traits", "json")),
    ("context", "traits"),
    ("context", "traits", "email"),
    *(("properties", name) for name in ("order_id", "total", "currency", "email", "products")),
    ("properties", "products", 0),
    *(("properties", "products", 0, name) for name in ("product_id", "name", "price", "quantity", "variant")),
)
WRONG: tuple[Any, ...] = (None, True, 0, -1, 1.5, 1e308, 10**400, "", MARKER, [], [[MARKER]], {}, {MARKER: MARKER})


def post(system: System, body: bytes, first: bytes | None = None, **headers: str) -> Response:
    """Post these bytes, signed over `first` or over all of them. Header names are written with `_` for `-`."""
    all_headers = {
        "content-type": "application/json",
        "x-signature": sign(SECRET, body if first is None else first),
        **({} if first is None else {"x-freshgate-token": TOKEN}),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return system.request("PORT", "POST", "/webhooks/segment", body, all_headers)


def post_batch(system: System, *elements: bytes) -> Response:
    return post(system, b"[" + b",".join(elements) + b"]", elements[0])


def as_json(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


def with_value(event: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(event)
    container: Any = changed
    for key in path[:-1]:
        container = container[key]
    container[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    "body", [b"", b" ", b"{", b"}", b'{"a":', b"null", b"1", b'"text"', b"\x00\xff\xfe", b"{} {}", MARKER.encode()]
)
def test_what_is_no_json_object_and_no_array_is_400(system: System, body: bytes) -> None:
    assert post(system, body).status == 400


@pytest.mark.parametrize("body", [b"[", b"[1,", b"[1 2", b"[1]]", b'[{"a":1}'])
def test_an_array_that_does_not_close_is_no_5xx_and_records_nothing(system: System, body: bytes) -> None:
    first = body.strip(b"[] ,2") or b"["
    assert post(system, body, first).status in (400, 401)


def test_an_empty_array_with_a_token_is_200_and_nothing(system: System) -> None:
    response = post(system, b"[]", b"")
    assert (response.status, response.json["accepted"]) == (200, 0)


def test_a_missing_or_wrong_signature_is_401(system: System, ada: Shopper) -> None:
    body = as_json(ada.identify())
    assert post(system, body, x_signature="").status == 401
    assert post(system, body, x_signature=MARKER).status == 401
    assert post(system, body, x_signature="é".encode().decode("latin-1")).status == 401
    assert post(system, body, first=body + b" ").status == 401
    assert post(system, body, x_freshgate_token=MARKER).status == 401


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_a_wrong_type_in_any_field_has_a_verdict_and_its_neighbours_are_kept(
    system: System, ada: Shopper, path: tuple[str | int, ...]
) -> None:
    order = ada.ordered(order=f"{ada.user}-1")
    wrong = [with_value(order | {"messageId": f"{order['messageId']}-{n}"}, path, v) for n, v in enumerate(WRONG)]
    for event in wrong:
        response = post(system, as_json(event))
        assert response.status == 200, event
        assert sum(response.json[verdict] for verdict in ("accepted", "duplicate", "ignored", "refused")) == 1
    response = post_batch(system, as_json(ada.identify()), *map(as_json, wrong), as_json(ada.added()))
    assert response.status == 200
    refused = {refusal["index"] for refusal in response.json["refusals"]}
    assert not refused & {0, len(wrong) + 1}
    assert response.json["accepted"] >= 2


DEEP = b'{"type":"track","event":"Product Added","userId":"deep","properties":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
NAN = b'{"type":"track","event":"Order Completed","userId":"nan","properties":{"order_id":"nan","total":NaN}}'


@pytest.mark.parametrize("bad", [DEEP, NAN, b"1", b"null", b"[]", b'{"a"}', b'{"a":1e}'], ids=lambda bad: bad[:8])
def test_the_neighbours_of_a_bad_element_are_kept_and_all_are_counted(system: System, ada: Shopper, bad: bytes) -> None:
    def total(verdict: str) -> float:
        return counter_total(system, "freshgate_events_total", "METRICS_PORT", source="segment", verdict=verdict)

    before = total("accepted"), total("refused")
    response = post_batch(system, as_json(ada.identify()), bad, as_json(ada.added()))
    assert response.status == 200
    assert (response.json["accepted"], response.json["refused"]) == (2, 1)
    assert [refusal["index"] for refusal in response.json["refusals"]] == [1]
    assert (total("accepted"), total("refused")) == (before[0] + 2, before[1] + 1)


@pytest.mark.parametrize("body", [DEEP, NAN], ids=["10,000 deep", "NaN"])
def test_a_single_element_that_cannot_be_read_is_refused_with_200(system: System, body: bytes) -> None:
    response = post(system, body)
    assert (response.status, response.json["refused"]) == (200, 1)


def test_half_an_emoji_is_replaced_and_the_order_is_confirmed(system: System, ada: Shopper) -> None:
    order = ada.ordered()
    order["properties"]["products"][0]["name"] = f"{MARKER} \ud83d"
    assert post(system, as_json(order)).json["accepted"] == 1
    (mail,) = system.wait_for(lambda: ada.mails(system, "order_confirmation"))
    assert mail["template_data"]["products"][0]["name"] == f"{MARKER} \ufffd"


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 5000, "0." + "1" * 5000, "-0", "1E+400"])
def test_a_huge_number_has_a_verdict(system: System, ada: Shopper, number: str) -> None:
    for name in ("total", "order_id"):
        order = ada.ordered() | {"properties": {"order_id": f"{ada.user}-{len(number)}", name: "HERE"}}
        response = post(system, as_json(order).replace(b'"HERE"', number.encode()))
        assert response.status == 200
        assert response.json["accepted"] + response.json["refused"] == 1


def test_a_body_of_a_hundred_megabytes_is_413_or_a_reset(system: System) -> None:
    head = (
        "POST /webhooks/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"X-Signature: {'0' * 40}\r\nContent-Length: {100 << 20}\r\n\r\n"
    )
    zeros = bytes(1 << 20)
    status = None
    with socket.create_connection(("127.0.0.1", system.ports["PORT"]), timeout=20) as connection:
        with suppress(ConnectionError):
            connection.sendall(head.encode())
            for _ in range(100):
                connection.sendall(zeros)
        with suppress(ConnectionError, HTTPException):
            response = HTTPResponse(connection)
            response.begin()
            status = response.status
    assert status in (None, 413)
    assert system.request("PORT", "GET", "/healthz").status == 200


def test_a_compressed_body_is_415(system: System, ada: Shopper) -> None:
    assert post(system, gzip.compress(as_json(ada.identify())), content_encoding="gzip").status == 415


def test_a_form_is_415(system: System) -> None:
    assert post(system, b"a=1", content_type="application/x-www-form-urlencoded").status == 415


def test_ten_thousand_elements_are_413_and_none_of_them_is_recorded(system: System, ada: Shopper) -> None:
    events = [as_json(ada.identify() | {"messageId": f"{ada.user}-{number}"}) for number in range(10_000)]
    assert post_batch(system, *events).status == 413
    system.wait_for(lambda: "body_refused" in system.console() and "max_elements" in system.console())
    assert post(system, events[0]).json["accepted"] == 1


def test_a_body_that_is_refused_as_a_whole_is_an_error_in_the_log(system: System) -> None:
    assert post(system, b'{"type": "track"').status == 400
    system.wait_for(lambda: "not JSON" in system.console())


def test_four_thousand_elements_are_taken(system: System, ada: Shopper) -> None:
    events = [as_json(ada.identify() | {"messageId": f"{ada.user}-{number}"}) for number in range(4000)]
    assert post_batch(system, *events).json["accepted"] == 4000


def test_an_unknown_source_is_404(system: System, ada: Shopper) -> None:
    assert system.post(ada.identify(), source=MARKER).status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_another_method_is_405(system: System, method: str) -> None:
    assert system.request("PORT", method, "/webhooks/segment").status == 405


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_put_and_patch_are_taken_like_post(system: System, ada: Shopper, method: str) -> None:
    body = as_json(ada.identify())
    headers = {"content-type": "application/json", "x-signature": sign(SECRET, body)}
    assert system.request("PORT", method, "/webhooks/segment", body, headers).json["accepted"] == 1


def test_no_log_shows_a_body_an_address_or_a_secret(system: System, ada: Shopper) -> None:
    order = ada.ordered(order=f"{MARKER}-0")
    order["event_note"] = MARKER
    assert post(system, as_json(order)).status == 200
    post(system, as_json(order)[:-1])
    post(system, as_json(order), x_signature=MARKER)
    post_batch(system, as_json(order), as_json(order)[:-1] + b",}", DEEP.replace(b"deep", MARKER.encode()))
    system.faults(kind="status", status=400)
    system.faults(kind="drop", accept=True)
    for name in (f"{MARKER}-1", f"{MARKER}-2"):
        assert post(system, as_json(ada.ordered(order=name))).status == 200
    system.wait_for(lambda: len(ada.decisions(system, "order_confirmation")) >= 3)
    system.wait_for(lambda: is_quiet(system))
    logs = [file for file in (system.var / "log").iterdir() if file.is_file()]
    generated_secrets = [file.read_text(encoding="ascii").strip() for file in (system.var / "secrets").iterdir()]
    assert {"receiver.log", "worker.log"} <= {file.name for file in logs}
    for file in logs:
        text = file.read_text(encoding="utf-8", errors="replace")
        for hidden in (MARKER, ada.email, "shoppers.example.com", SECRET, TOKEN, *generated_secrets):
            assert hidden not in text, f"{file.name} shows {hidden}"
