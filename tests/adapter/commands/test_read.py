"""`python -m adapter read` prints the verdict with its reason, the path of each field, and the mails it would start.

The command line itself runs in a folder without settings, and without Redis.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapter.__main__ import main
from catalog import EVENTS
from tests.adapter.commands.conftest import ROOT

ORDER = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "m-1",
    "userId": "u-1",
    "timestamp": "2026-09-21T14:13:17.842Z",
    "context": {"traits": {"email": "ada@example.com", "firstName": "Ada"}},
    "properties": {"orderId": "o-1", "revenue": 39.95, "tax": "a lot", "email": "", "products": [{"product_id": "p"}]},
}


@pytest.fixture
def read(workdir: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(body: Any, *words: str, source: str = "segment") -> tuple[int, str]:
        file = workdir / "body.json"
        file.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
        code = main(["read", str(file), "--source", source, *words])
        return code, capsys.readouterr().out

    return call


def only_verdict(result: tuple[int, str]) -> dict[str, Any]:
    (verdict,) = json.loads(result[1])["verdicts"]
    return dict(verdict)


def test_an_event_of_a_browser_starts_less_and_may_be_refused(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHGATE_SOURCES__PAGE__KIND", "segment")
    monkeypatch.setenv("FRESHGATE_SOURCES__PAGE__TRUST", "browser")
    assert only_verdict(read(ORDER, "--json"))["starts"] == {"order_confirmation": "at once"}
    verdict = only_verdict(read({**ORDER, "anonymousId": "x"}, "--json", source="page"))
    assert (verdict["starts"], verdict["cannot_start"]) == ({}, ["order_confirmation: told by a browser"])
    assert only_verdict(read(ORDER, "--json", source="page")) == {"verdict": "refused", "reason": "not_trusted"}
    lines = [{"product_id": "p", "name": "Open evil.example", "url": "https://evil.example/"}]
    viewed = {**ORDER, "anonymousId": "x", "event": "Cart Viewed", "properties": {"products": lines}}
    assert only_verdict(read(viewed, "--json", source="page"))["unreadable"] == ["products.0.name", "products.0.url"]


def test_each_field_is_shown_with_the_path_that_matched(read: Any) -> None:
    event = only_verdict(read(ORDER, "--json"))
    assert event["fields"] == {
        "order_id": "o-1",
        "revenue": {"money": "39.95"},
        "products": [{"product_id": "p", "has_quantity": False}],
        "first_name": "Ada",
    }
    assert event["unreadable"] == ["tax"]
    assert event["from"] == {
        "order_id": "properties.orderId",
        "revenue": "properties.revenue",
        "tax": "properties.tax",
        "products": "properties.products",
        "first_name": "context.traits.firstName",
        "email": "context.traits.email",
    }
    assert "order_email" in event["absent"] and "order_id" not in event["absent"]
    assert event["starts"] == {"order_confirmation": "at once"}


def test_the_first_present_of_two_paths_is_named(read: Any) -> None:
    both = {**ORDER, "properties": {"order_id": "first", "orderId": "second"}}
    assert only_verdict(read(both, "--json"))["from"]["order_id"] == "properties.order_id"
    empty = {**ORDER, "properties": {"order_id": "", "orderId": "second"}}
    assert only_verdict(read(empty, "--json"))["from"]["order_id"] == "properties.orderId"


def test_a_text_that_is_not_an_address_is_passed_over(read: Any) -> None:
    identify = {"type": "identify", "userId": "u", "traits": {"email": "nobody"}, "context": ORDER["context"]}
    event = only_verdict(read(identify, "--json"))
    assert (event["email"], event["from"]["email"]) == ("ada@example.com", "context.traits.email")


def test_a_mail_that_cannot_start_says_what_is_missing(read: Any) -> None:
    event = only_verdict(read({**ORDER, "properties": {}}, "--json"))
    assert event["starts"] == {}
    assert event["cannot_start"] == ["order_confirmation: missing order_id"]


def test_a_waiting_mail_says_how_long(read: Any) -> None:
    added = {**ORDER, "event": "Product Added", "properties": {"product_id": "p-1"}}
    assert only_verdict(read(added, "--json"))["starts"] == {"abandoned_cart": "30m"}


def test_each_element_has_a_verdict_and_the_exit_code_is_1_if_one_is_refused(read: Any) -> None:
    code, text = read([ORDER, {"type": "track", "event": "Plan Chosen"}, 7, {"type": "alias", "previousId": "x"}])
    assert code == 1
    assert "event  Order Completed" in text
    assert (
        "ignored  track / Plan Chosen\n   no event type for it: freshgate new event 'Plan Chosen' --from segment"
        in text
    )
    assert "refused  not_an_object" in text
    assert "refused  no_identity" in text
    assert ".order_id        o-1   ← properties.orderId" in text
    assert "starts           order_confirmation, at once" in text


def test_the_exit_code_of_events_and_ignored_elements_is_0(read: Any) -> None:
    assert read(ORDER)[0] == 0
    assert read({"type": "track", "event": "Plan Chosen"})[0] == 0


def test_a_body_that_is_refused_as_a_whole_is_shown_with_the_status(read: Any) -> None:
    code, text = read(b"no json")
    assert code == 1
    assert "with 400: not JSON" in text
    assert json.loads(read(b"no json", "--json")[1])["status"] == 400


def test_a_body_without_elements_says_so(read: Any) -> None:
    assert read([]) == (0, "nothing: this source finds no element in it\n")


def test_an_unknown_source_is_an_error_that_names_the_known(read: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file = ROOT / "tests/payloads/segment/alias__full.json"
    assert main(["read", str(file), "--source", "nobody"]) == 2
    assert "segment" in capsys.readouterr().err


def test_no_colours_without_a_terminal_nor_with_no_color(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\033" not in read(ORDER)[1]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\033[32mevent" in read(ORDER)[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033" not in read(ORDER)[1]


PAIRS = sorted(path for path in (ROOT / "tests/payloads").glob("*/*.json") if ".expected" not in path.name)


def test_every_payload_is_shown_and_every_field_has_its_path(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert PAIRS
    declared = {
        event.name: {name for spelling in event.sources.values() for name in spelling.paths} for event in EVENTS
    }
    for path in PAIRS:
        main(["read", str(path), "--source", path.parent.name, "--json"])
        report = json.loads(capsys.readouterr().out)
        for verdict in report.get("verdicts", ()):
            if verdict["verdict"] == "event":
                fields = declared[verdict["name"]] & set(verdict["fields"])
                assert fields <= set(verdict["from"]), f"{path}: a field came from nowhere"
