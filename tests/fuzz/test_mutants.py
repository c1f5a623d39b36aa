"""Real payloads, a little wrong: the hand-written payloads of each kind with parts replaced, removed or moved.

Whatever is wrong, the response is not a 5xx, no element lands in the quarantine, and its neighbours are recorded.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from adapter.commands.post.proof import proof
from adapter.sources import SOURCES
from freshgate.settings import SourceSettings
from freshgate.state import keys
from tests.fuzz.conftest import Serve
from tests.fuzz.test_openapi import VALUES

FOLDER = Path(__file__).parent.parent / "payloads"
# Kind → the kind whose folder of payloads it shares.
DIALECT = dict.fromkeys(("rudderstack", "hightouch", "customerio", "tracking"), "segment")
PAYLOADS = {
    kind: [
        json.loads(file.read_text(encoding="utf-8"))
        for file in sorted((FOLDER / DIALECT.get(kind, kind)).glob("*.json"))
        if not file.name.endswith(".expected.json")
    ]
    for kind in SOURCES
}
CONFIGURED = {
    kind: SourceSettings(kind=kind, write_keys=("k",))
    if kind == "tracking"
    else SourceSettings(kind=kind, secrets=("s",), tokens=("t",) if kind in ("segment", "customerio") else ())
    for kind in SOURCES
}
ODD = VALUES | st.sampled_from(
    [
        "",
        " ",
        "null",
        "NaN",
        "1e400",
        "-0",
        "２０２６-１１-２４",
        "2026-02-30T00:00:00Z",
        "9" * 40,
        "\ud83d",
        "\x00",
        "a@b@c",
    ]
    + [10**30, -1, 1e308, 1790000040, 1790000040000, 1790000040000000, [], {}, [[]], [{}], [None]]
)


@pytest.fixture(scope="module")
def client(serve: Serve) -> FlaskClient:
    return serve(CONFIGURED)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    inner: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, element in items:
        inner += [(value, key), *places(element)]
    return inner


@st.composite
def mutants(draw: st.DrawFn, payloads: list[Any]) -> Any:
    """One of the payloads, with one to four of its parts changed."""
    document = [deepcopy(draw(st.sampled_from(payloads)))]
    for _ in range(draw(st.integers(1, 4))):
        container, key = draw(st.sampled_from(places(document)))
        how = draw(st.sampled_from(["odd", "odd", "lost", "listed", "text", "moved", "renamed"]))
        if how == "odd":
            container[key] = deepcopy(draw(ODD))
        elif how == "listed":
            container[key] = [container[key]] * draw(st.integers(0, 3))
        elif how == "text":
            container[key] = json.dumps(container[key])
        elif how == "moved":
            container[key] = deepcopy(draw(st.sampled_from(places(document)))[0])
        elif how == "renamed" and isinstance(container, dict):
            container[draw(st.text(max_size=6))] = container.pop(key)
        elif how == "lost" and isinstance(container, dict):
            del container[key]
    return document[0] if document else None


def post(client: FlaskClient, kind: str, body: bytes) -> Any:
    url = "/v1/batch" if kind == "tracking" else f"/webhooks/{kind}"
    headers = proof(kind, CONFIGURED[kind], body)
    return client.post(url, data=body, headers=headers, content_type="application/json")


def quarantined(redis_server: str) -> int:
    return int(Redis.from_url(redis_server).exists(keys.QUARANTINE))


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_a_payload_that_is_a_little_wrong_gets_no_fault(client: FlaskClient, redis_server: str, kind: str) -> None:
    @settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    @given(mutant=mutants(PAYLOADS[kind]), cut=st.integers(0, 40))
    def check(mutant: Any, cut: int) -> None:
        payload = {"batch": [mutant]} if kind == "tracking" else mutant
        body = json.dumps(payload).encode()
        # Sometimes the end is missing, too.
        body = body[:-cut] if cut > 35 else body
        # 401: an array that is cut off within its first element has no element to check the signature against.
        assert post(client, kind, body).status_code in (200, 400, 413, *([401] if cut > 35 else []))
        assert quarantined(redis_server) == 0

    check()


@pytest.mark.parametrize("kind", ["segment", "tealium", "rudderstack", "hightouch", "customerio"])
def test_its_neighbours_are_kept(client: FlaskClient, kind: str) -> None:
    good = PAYLOADS[kind][0]

    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    @given(mutant=mutants(PAYLOADS[kind]))
    def check(mutant: Any) -> None:
        reply = post(client, kind, json.dumps([good, mutant, good]).encode()).get_json()
        # A visitor of Tealium adds further verdicts, after those of the elements.
        assert sum(reply[verdict] for verdict in ("accepted", "duplicate", "ignored", "refused")) >= 3
        assert not {0, 2} & {refusal["index"] for refusal in reply["refusals"]}

    check()
