"""All commands of the adapter: each explains itself with an example, and a fault is one line.

Tests of the single commands stand beside this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapter.__main__ import COMMANDS, main

WORDS = [*COMMANDS]
WORDS += [f"new {what}" for what in ("event", "trigger", "source", "esp")]


@pytest.mark.parametrize("words", WORDS)
def test_every_command_explains_itself_with_an_example(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"python -m adapter {words}" in text.partition("\nexample")[2]


@pytest.mark.parametrize("words", [["unmapped"], ["why", "ada"]])
def test_without_redis_a_fault_is_one_line(
    words: list[str], workdir: Path, free_port: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert "redis_url" in capsys.readouterr().err
    monkeypatch.setenv("FRESHGATE_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    assert main(words) == 1
    line = capsys.readouterr().err
    assert line.startswith("freshgate: redis: ConnectionError") and line.count("\n") == 1


def test_secrets_are_never_printed(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = ("SOURCES__SEGMENT__SECRETS", "SOURCES__SEGMENT__TOKENS", "SOURCES__SHOP__SECRETS")
    for name in (*sources, "ESPS__SENDGRID__API_KEY", "PII_KEY"):
        monkeypatch.setenv(f"FRESHGATE_{name}", "hidden")
    monkeypatch.setenv("FRESHGATE_REDIS_URL", "redis://user:hidden@127.0.0.1/0")
    monkeypatch.setenv("FRESHGATE_ESPS__SENDGRID__BASE_URL", "https://user:hidden@api.sendgrid.com")
    assert main(["settings"]) == 0
    text = capsys.readouterr().out
    assert "hidden" not in text
    assert '"shop"' in text
    assert "***@127.0.0.1/0" in text
