"""`python -m adapter preview`: the mail in the terminal and as a page, of a payload or of a person whom we know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from adapter.__main__ import main
from adapter.commands.develop import preview, preview_state
from catalog import TRIGGERS
from freshgate.settings import Settings
from freshgate.templates import Content
from tests.engine.world import PII_KEY, World

TRIGGER = {trigger.name: trigger for trigger in TRIGGERS}


@pytest.mark.parametrize("name", TRIGGER)
def test_each_built_in_mail_is_shown_of_its_payload(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mail.html"
    assert main(["preview", name, "--out", str(file)]) == 0
    text = capsys.readouterr().out
    assert "Subject: " in text
    assert "tests/payloads/segment/" in text
    assert text.rstrip().endswith(file.as_uri())
    page = file.read_text()
    assert "<iframe sandbox srcdoc=" in page
    assert "default-src 'none'" in page


def test_another_language_is_shown_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview", "abandoned_cart", "--language", "de", "--out", str(tmp_path / "x.html")]) == 0
    assert "Ihr Warenkorb" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "text"),
    [(["nothing"], "no such trigger; known: abandoned_cart"), (["welcome", "--language", "../x"], "is not a language")],
)
def test_a_wrong_word_is_one_line(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview", *words]) == 2
    assert text in capsys.readouterr().err


def test_a_mail_of_a_known_person_has_their_own_data_and_language(redis: Redis, redis_server: str) -> None:
    world = World(redis)
    settings = Settings(redis_url=redis_server, pii_key=PII_KEY.decode())
    ada: dict[str, Any] = {"user": "ada", "email": "ada@example.com"}
    world.record(world.event("Identify", **ada, first_name="Ada", locale="de-AT"))
    world.record(world.event("Order Completed", **ada, order_id="77", currency="EUR"))
    for searched in ("ada", "ada@example.com", "77"):
        state = preview_state.known_state(settings, TRIGGER["order_confirmation"], searched)
        assert "77" in preview.render(settings, TRIGGER["order_confirmation"], state).subject
    state = preview_state.known_state(settings, TRIGGER["abandoned_cart"], "ada")
    content = preview.render(settings, TRIGGER["abandoned_cart"], state)
    assert content.language == "de"
    assert "Ada" in content.text


def test_what_a_mail_says_cannot_leave_its_frame() -> None:
    content = Content(subject="<b>", text="</pre><script>", html="\"'><script>alert(1)</script>")
    page = preview.page(TRIGGER["welcome"], content, "<i>")
    assert "<script" not in page
    assert "<b>" not in page.replace("<header><b>", "")
