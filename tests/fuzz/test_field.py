"""The hand-written payloads, garbled in the ways of docs/FIELD.md, against an oracle that knows what was garbled.

A spelling that means the same is read as the same event; what lost its meaning is left out. Nothing is read as
something else.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapter.ingest.bodies import plain_body
from adapter.sources import SOURCES
from adapter.sources.reading.names import fold
from adapter.sources.reading.paths import alternatives
from catalog.events import EVENTS
from freshgate.ids import JUNK_IDS
from tests.adapter.sources.test_payloads import RECEIVED_AT, SETTINGS, as_expected

FOLDER = Path(__file__).parent.parent / "payloads"
KINDS = ("segment", "rudderstack", "mparticle", "tealium")
TYPES = {event.name: event for event in EVENTS}
# Kind → the path of an event's name, and those of ids: (field of the event, where it stands).
NAMES = {
    "segment": "event",
    "rudderstack": "event",
    "mparticle": "events.0.data.event_name",
    "tealium": "tealium_event",
}
SEGMENT_IDS = (("user_id", "userId"), ("anonymous_id", "anonymousId"))
IDS = {
    "segment": SEGMENT_IDS,
    "rudderstack": SEGMENT_IDS,
    "mparticle": (("anonymous_id", "mpid"), ("user_id", "user_identities.customer_id")),
    "tealium": (("user_id", "customer_id"), ("anonymous_id", "tealium_visitor_id")),
}
# Where the catalog's paths begin in a payload of the kind.
ROOTS = {"segment": "", "rudderstack": "", "mparticle": "events.0.", "tealium": ""}
FUZZ = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


class Pair(NamedTuple):
    """A payload of one event, and what is read from it."""

    kind: str
    payload: dict[str, Any]
    expected: dict[str, Any]


def pairs(kind: str) -> Iterator[Pair]:
    for file in sorted((FOLDER / kind).glob("*.expected.json")):
        expected = json.loads(file.read_text("utf-8"))
        payload = json.loads(file.with_name(file.name.replace(".expected.json", ".json")).read_text("utf-8"))
        # What has a form of its own (a visitor, Firehose, an envelope) has places of its own.
        forms = {"mparticle": "type", "tealium": "_id", "segment": "json", "rudderstack": "json"}
        is_plain = isinstance(payload, dict) and not payload.keys() & {forms[kind], "action", "data", "user_id"}
        if isinstance(expected, dict) and expected["verdict"] == "event" and is_plain:
            yield Pair(kind, payload, expected)


PAIRS = {kind: list(pairs(kind)) for kind in KINDS}


def read(pair: Pair, payload: Any) -> dict[str, Any]:
    source = SOURCES[pair.kind].configure("shop", SETTINGS[pair.kind], EVENTS)
    verdicts = source.read(json.dumps(payload).encode(), RECEIVED_AT)
    return as_expected(verdicts[0]) if verdicts else {"verdict": "nothing"}


def holder(payload: Any, path: str) -> tuple[Any, Any] | None:
    """The object or array and the key of what stands at that path; None where nothing does."""
    *steps, key = path.split(".")
    for step in steps:
        if isinstance(payload, list):
            payload = payload[0] if payload else None
        else:
            payload = payload.get(step) if isinstance(payload, dict) else None
        if payload is None:
            return None
    return (payload, key) if isinstance(payload, dict) and payload.get(key) not in (None, "") else None


def same(read: dict[str, Any], expected: dict[str, Any], *but: str) -> bool:
    """Whether both are the same but for a computed message id, the bounce's own name, and the fields named."""
    trimmed = []
    for event in (read, expected):
        fields = {name: value for name, value in event["fields"].items() if name not in ("event_name", *but)}
        unreadable = [name for name in event["unreadable"] if name not in but]
        trimmed.append({**event, "message_id": "", "fields": fields, "unreadable": unreadable})
    return trimmed[0] == trimmed[1]


@st.composite
def spelled(draw: st.DrawFn, name: str) -> str:
    """The same name in another case, with other separators."""
    words = [word for word in "".join(char if char.isalnum() else " " for char in name).split(" ") if word]
    cased = [getattr(word, draw(st.sampled_from(["upper", "lower", "title", "strip"])))() for word in words]
    return (
        draw(st.sampled_from(["", " "]))
        + draw(st.sampled_from([" ", "_", "-", "", "  ", "."])).join(cased)
        + draw(st.sampled_from(["", " ", "\n"]))
    )


@st.composite
def ids_of_nobody(draw: st.DrawFn) -> Any:
    word = draw(
        st.sampled_from([word for word in JUNK_IDS if any(map(str.isalpha, word)) and not any(map(str.isdigit, word))])
    )
    return draw(
        PLACEHOLDERS
        | st.sampled_from(
            [
                word,
                word.upper(),
                f" {word} ",
                f"'{word}'",
                f'"{word}"',
                f"<{word}>",
                f"({word})",
                f"[{word}]",
                word.replace(" ", "_"),
            ]
        )
        | st.sampled_from(
            ["[object Object]", "{{user.id}}", "${id}", "%id%", "0", "000", "-1", "--", 0, -1, 0.0, 1.5, True, [], {}]
        )
    )


# A placeholder may have any name.
PLACEHOLDERS = st.builds(
    str.replace,
    st.sampled_from(
        ["{{X}}", "{{ X }}", "u-{{X}}", "${X}", "#{X}", "<%= X %>", "%X%", "%%X%%", "*|X|*", "{X}", "<X>", "__X__"]
    ),
    st.just("X"),
    st.from_regex(r"[a-z]{3,9}(_[a-z]{3,9})?", fullmatch=True),
)
IDS_OF_SOMEBODY = st.one_of(
    st.integers(1, 2**53 - 1).map(str),
    st.uuids().map(str).filter(lambda text: UUID(text).int not in (0, 2**128 - 1)),
    st.from_regex(r"[a-z]{1,8}[-_|:][1-9][0-9]{0,9}", fullmatch=True),
    st.from_regex(r"[0-9a-f]{16}", fullmatch=True).filter(
        lambda text: set(text) - {"0"} and text != "9774d56d682e549c"
    ),
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_in_another_spelling_is_the_same_event(kind: str) -> None:
    named = [pair for pair in PAIRS[kind] if holder(pair.payload, NAMES[kind])]

    @FUZZ
    @given(data=st.data(), pair=st.sampled_from(named))
    def check(data: st.DataObject, pair: Pair) -> None:
        payload = deepcopy(pair.payload)
        place = holder(payload, NAMES[kind])
        assert place is not None
        place[0][place[1]] = data.draw(spelled(place[0][place[1]]))
        assert same(read(pair, payload), pair.expected)

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_in_another_spelling_is_the_same_field(kind: str) -> None:
    @FUZZ
    @given(data=st.data(), pair=st.sampled_from(PAIRS[kind]))
    def check(data: st.DataObject, pair: Pair) -> None:
        event = TYPES[pair.expected["name"]]
        # A product that is the whole object has keys of its own.
        dialect = event.sources.get(kind) or event.sources.get("segment")
        if dialect is None or "product" in event.fields or "email" in pair.expected["unreadable"]:
            return
        payload = deepcopy(pair.payload)
        paths = [ROOTS[kind] + path for path in dialect.paths.values() for path in alternatives(path)]
        places = [
            place
            for path in paths
            if "custom_attributes" in path or kind != "mparticle"
            if (place := holder(payload, path))
        ]
        for container, key in places:
            # The envelope's own members, and those of its context, are spelled as the CDP spells them.
            if container in (payload, payload.get("context")) or key not in container or "cart_products" in key:
                continue
            others = {fold(other) for other in container if other != key}
            if fold(key) not in others:
                container[data.draw(spelled(key)).strip(".")] = container.pop(key)
        assert same(read(pair, payload), pair.expected)

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_of_nobody_is_left_out_whichever_it_is(kind: str) -> None:
    @FUZZ
    @given(data=st.data(), pair=st.sampled_from(PAIRS[kind]))
    def check(data: st.DataObject, pair: Pair) -> None:
        payload, expected = deepcopy(pair.payload), deepcopy(pair.expected)
        for field, path in IDS[kind]:
            place = holder(payload, path)
            # Other members may hold the same id, too.
            if place and expected[field] == str(place[0][place[1]]):
                place[0][place[1]] = data.draw(ids_of_nobody())
                expected[field] = None
        result = read(pair, payload)
        if result["verdict"] == "event":
            ids = {name: result[name] for name in ("user_id", "anonymous_id", "previous_id")}
            # What is left is another member's id, never the word.
            known = {expected["user_id"], expected["anonymous_id"], expected["previous_id"], None}
            rest = json.dumps(pair.payload)
            assert all(value in known or json.dumps(value)[1:-1] in rest for value in ids.values())
            assert result["name"] == expected["name"] or "Bounced" in result["name"]
        else:
            # A batch without events that is about nobody says nothing.
            assert result.get("reason", "no_identity") == "no_identity"

    check()


@FUZZ
@given(
    user_id=IDS_OF_SOMEBODY, blanks=st.text("\u200b\ufeff \t\u00a0", max_size=3), after=st.text("\u2060 \n", max_size=3)
)
def test_what_could_be_somebodys_id_is_kept_to_the_letter(user_id: str, blanks: str, after: str) -> None:
    pair = Pair("segment", {}, {})
    assert read(pair, {"type": "page", "userId": f"{blanks}{user_id}{after}"})["user_id"] == user_id
    assert read(pair, {"type": "page", "anonymousId": user_id})["anonymous_id"] == user_id
    if user_id.isdigit():
        assert read(pair, {"type": "page", "userId": float(user_id)})["user_id"] == user_id
        assert read(pair, {"type": "page", "userId": f"{user_id}.0"})["user_id"] == user_id


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_that_is_none_costs_its_field_alone(kind: str) -> None:
    @FUZZ
    @given(
        data=st.data(),
        pair=st.sampled_from(PAIRS[kind]),
        word=st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    )
    def check(data: st.DataObject, pair: Pair, word: float) -> None:
        event = TYPES[pair.expected["name"]]
        dialect = event.sources.get(kind) or event.sources.get("segment")
        if dialect is None:
            return
        payload = deepcopy(pair.payload)
        amounts = [
            (name, place)
            for name in pair.expected["fields"]
            if name in dialect.paths and event.fields[name] in ("money", "number")
            for path in alternatives(dialect.paths[name])
            # An object that is an amount may hold the currency, too.
            if (place := holder(payload, ROOTS[kind] + path)) and type(place[0][place[1]]) is not dict
        ]
        if not amounts:
            return
        name, (container, key) = data.draw(st.sampled_from(amounts))
        container[key] = word
        result = read(pair, payload)
        assert name not in result["fields"] or result["fields"][name] == pair.expected["fields"][name]
        assert name in result["fields"] or name in result["unreadable"]
        assert same(result, pair.expected, name)

    check()


@FUZZ
@given(data=st.data())
def test_a_body_is_the_same_with_a_mark_and_packed(data: st.DataObject) -> None:
    # What begins otherwise may be in another encoding.
    body = data.draw(st.sampled_from([b"{", b"[", b" {"])) + data.draw(st.binary(max_size=300))
    mark = data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    cut = data.draw(st.integers(0, len(body)))
    packed = gzip.compress((mark + body)[:cut]) + gzip.compress((mark + body)[cut:])
    assert plain_body(mark + body, None, 1000) == body
    assert plain_body(packed, "gzip", 1000) == body
