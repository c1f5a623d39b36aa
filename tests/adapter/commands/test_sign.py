"""`sign` prints the signature of the exact bytes that it is given, from a file or from its input."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from adapter.__main__ import main

BODY, SIGNED = b'{"cool":true}', "5099cab379b3be52908387457007040cc934ef86"


@pytest.mark.parametrize("file", ["-", "body.json"])
def test_sign_prints_segments_signature_of_the_exact_bytes(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    monkeypatch.setenv("FRESHGATE_SOURCES__SEGMENT__SECRETS", "abc123")
    (workdir / "body.json").write_bytes(BODY)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(BODY)))
    assert main(["sign", "--source", "segment", file]) == 0
    assert capsys.readouterr().out == f"{SIGNED}\n"
