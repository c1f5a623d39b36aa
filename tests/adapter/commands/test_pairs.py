"""`python -m adapter check` compares the payload pairs of a catalog: each difference is a line of the expected file.

The catalog is the sound one of `shop.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.adapter.commands.shop import Check

PAYLOAD = {
    "type": "track",
    "event": "Renewed",
    "messageId": "m-1",
    "userId": "u-1",
    "timestamp": "2026-09-21T14:13:17.842Z",
    "properties": {"plan": "Gold", "total": 9.9},
}
EXPECTED = {
    "verdict": "event",
    "name": "Renewed",
    "message_id": "m-1",
    "occurred_at": 1789999997842,
    "user_id": "u-1",
    "anonymous_id": None,
    "previous_id": None,
    "email": None,
    "fields": {"plan": "Gold", "total": {"money": "9.9"}},
    "unreadable": [],
    "clamped": False,
}
MPARTICLE = {
    "mpid": "5",
    "events": [
        {"event_type": "custom_event", "data": {"event_name": "Renewed", "event_id": "e-1", "custom_attributes": {}}}
    ],
}
MPARTICLE_EXPECTED = {
    **EXPECTED,
    "message_id": "e-1",
    "occurred_at": 1790000040000,
    "user_id": None,
    "anonymous_id": "5",
    "fields": {},
}


@pytest.fixture
def pairs(workdir: Path) -> Path:
    """The folder of a pair for each spelling of the sound catalog."""
    folder = workdir / "payloads"
    for kind, body, expected in (("segment", PAYLOAD, EXPECTED), ("mparticle", MPARTICLE, MPARTICLE_EXPECTED)):
        (folder / kind).mkdir(parents=True)
        (folder / kind / "renewed__full.json").write_text(json.dumps(body))
        (folder / kind / "renewed__full.expected.json").write_text(json.dumps(expected, indent=2))
    return folder


def test_pairs_that_are_read_as_expected_have_no_fault(check_shop: Check, pairs: Path) -> None:
    assert check_shop() == []


def test_a_difference_is_a_fault_of_its_line(check_shop: Check, pairs: Path) -> None:
    expected = pairs / "segment" / "renewed__full.expected.json"
    wrong = {**EXPECTED, "fields": {"plan": "Silver", "total": {"money": "9.90"}}, "email": "ada@example.com"}
    del wrong["clamped"]
    expected.write_text(json.dumps(wrong, indent=2))
    head = "payloads/segment/renewed__full.expected.json"
    assert check_shop() == [
        f'{head}:9: Renewed: email is "ada@example.com" here, and is read as null',
        f'{head}:11: Renewed: plan is "Silver" here, and is read as "Gold"',
        f'{head}:12: Renewed: total is {{"money": "9.90"}} here, and is read as {{"money": "9.9"}}',
        f"{head}:1: Renewed: clamped is missing; what is read is false",
    ]


def test_a_field_that_is_not_read_and_one_that_is_not_expected_are_faults(check_shop: Check, pairs: Path) -> None:
    expected = pairs / "segment" / "renewed__full.expected.json"
    expected.write_text(json.dumps({**EXPECTED, "fields": {"plan": "Gold", "colour": "red"}}, indent=2))
    assert [fault.partition(": ")[2] for fault in check_shop()] == [
        'Renewed: total is missing; what is read is {"money": "9.9"}',
        'Renewed: colour is "red" here, and is not read',
    ]


@pytest.mark.parametrize("name", ["segmnt/renewed__full", "segment/deep/renewed__full", "renewed__full"])
def test_an_expected_file_that_nobody_compares_is_a_fault(check_shop: Check, pairs: Path, name: str) -> None:
    (pairs / name).parent.mkdir(exist_ok=True)
    (pairs / f"{name}.json").write_text(json.dumps(PAYLOAD))
    (pairs / f"{name}.expected.json").write_text(json.dumps(EXPECTED))
    (fault,) = check_shop()
    assert fault.startswith(f"payloads/{name}.expected.json:1: nobody compares this file")


def test_another_number_of_verdicts_is_a_fault_with_the_command_that_shows_them(check_shop: Check, pairs: Path) -> None:
    (pairs / "segment" / "renewed__full.expected.json").write_text(json.dumps([EXPECTED, EXPECTED]))
    assert check_shop() == [
        "payloads/segment/renewed__full.expected.json:1: 2 verdicts are expected, and 1 are read; "
        "compare: python -m adapter read payloads/segment/renewed__full.json --source segment"
    ]


def test_a_body_that_is_refused_is_a_fault_of_the_body(check_shop: Check, pairs: Path) -> None:
    (pairs / "segment" / "renewed__full.json").write_text("not json")
    assert check_shop() == ["payloads/segment/renewed__full.json:1: the whole body is refused: not JSON"]
