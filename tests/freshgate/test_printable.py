"""Nothing that a caller sent acts on the terminal of an operator: every command, into a pipe and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis

from adapter.ingest import quarantine
from adapter.sources.segment.signature import sign
from freshgate.printable import ESCAPE_MARK, EscapingStream, printable
from freshgate.state import keys
from tests.harness.receiver_process import SECRET, Receiver

EVIL = "\x1b[2J\x1b]0;pwned\x07\x1b[31mred\u202e\x9b1m\r\x08"
WHO = "esc-user"
# Control characters, separators of lines and paragraphs, halves of characters.
ACTED_ON = ("Cc", "Zl", "Zp", "Cs")


@pytest.fixture(scope="module")
def receiver(redis_server: str) -> Iterator[Receiver]:
    client = Redis.from_url(redis_server)
    client.flushdb()
    with Receiver(redis_server, {"FRESHGATE_RECEIVER_WORKERS": "1"}) as receiver:
        order = {
            "type": "track",
            "event": "Order Completed",
            "userId": WHO,
            "messageId": f"m{EVIL}",
            "context": {"traits": {"email": "ada@example.com", "firstName": EVIL}},
            "properties": {"order_id": f"o{EVIL}", "total": 1, "currency": EVIL},
        }
        post(receiver, order)
        post(receiver, {**order, "event": f"Unknown{EVIL}", "messageId": "m-2"})
        raw = json.dumps(order, ensure_ascii=False).encode()
        quarantine.add_elements(client, [quarantine.QuarantinedElement(f"segment{EVIL}", raw, 1_790_000_000_000)])
        client.sadd(keys.HOLD, f"welcome{EVIL}")
        (receiver.var / "body.json").write_text(json.dumps(order), encoding="utf-8")
        yield receiver
    client.close()


def post(receiver: Receiver, event: Mapping[str, object]) -> None:
    body = json.dumps(event).encode()
    head = f"POST /webhooks/segment HTTP/1.1\r\nHost: x\r\nX-Signature: {sign(SECRET, body)}\r\nConnection: close\r\n"
    answer = receiver.raw(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert answer.startswith(b"HTTP/1.1 200 "), answer


def command(receiver: Receiver, *words: str) -> list[str]:
    return [sys.executable, "-m", *[word.replace("BODY", str(receiver.var / "body.json")) for word in words]]


COMMANDS = (
    ("adapter", "why", WHO),
    ("adapter", "why", WHO, "--json"),
    ("adapter", "why", f"nobody{EVIL.replace(chr(0), '')}"),
    ("adapter", "unmapped"),
    ("adapter", "unmapped", "--json"),
    ("adapter", "quarantine", "list"),
    ("adapter", "read", "--source", "segment", "BODY"),
    ("adapter", "read", "--source", "segment", "--json", "BODY"),
    ("adapter", "read", "--source", f"no{EVIL}", "BODY"),
    ("workers", "dead", "list"),
    ("workers", "release", "welcome"),
    ("workers", "hold", f"no{EVIL}"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:3]).encode("unicode_escape").decode())
def test_no_command_prints_what_a_terminal_would_act_on(receiver: Receiver, words: tuple[str, ...]) -> None:
    completed = subprocess.run(
        command(receiver, *words), env=receiver.environ, capture_output=True, check=False, timeout=60
    )
    printed = (completed.stdout + completed.stderr).decode()
    assert printed.strip() and "Traceback" not in printed
    assert printable(printed) == printed
    assert [char for char in printed if unicodedata.category(char) in ACTED_ON and char not in "\n\t"] == []
    if "--json" in words:
        json.loads(completed.stdout)


@pytest.mark.parametrize("words", [("adapter", "unmapped"), ("adapter", "read", "--source", "segment", "BODY")])
def test_on_a_terminal_there_are_our_own_colours_and_nothing_else(receiver: Receiver, words: tuple[str, ...]) -> None:
    printed = on_terminal(receiver, *words).decode().replace("\r\n", "\n")
    assert "\x1b[1m" in printed or "\x1b[2m" in printed or "\x1b[3" in printed
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[33m"):
        printed = printed.replace(code, "")
    assert printable(printed) == printed
    assert ESCAPE_MARK[:1] not in printed


def test_a_raw_element_is_shown_escaped_on_a_terminal_and_byte_for_byte_in_a_pipe(receiver: Receiver) -> None:
    listed = subprocess.run(
        command(receiver, "adapter", "quarantine", "list"), env=receiver.environ, capture_output=True, check=True
    )
    entry = listed.stdout.split()[0].decode()
    words = ("adapter", "quarantine", "show", entry)
    assert b"\x1b" not in on_terminal(receiver, *words)
    piped = subprocess.run(command(receiver, *words), env=receiver.environ, capture_output=True, check=True)
    assert "\u202e".encode() in piped.stdout


def on_terminal(receiver: Receiver, *words: str) -> bytes:
    """What a command prints on a terminal of its own."""
    environ = {name: value for name, value in receiver.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    terminal, end = pty.openpty()
    with subprocess.Popen(command(receiver, *words), env=environ, stdin=end, stdout=end, stderr=end) as process:
        os.close(end)
        printed = b""
        # Linux ends the reading of a terminal that nobody has open with an error.
        with suppress(OSError):
            while piece := os.read(terminal, 65536):
                printed += piece
        process.wait(60)
    os.close(terminal)
    return printed


def test_text_that_is_escaped_stays_readable() -> None:
    assert printable("Zoë 🛒 \t\n") == "Zoë 🛒 \t\n"
    assert printable("\x1b[31m") == "\\u001b[31m"


def test_the_mark_of_our_own_codes_cannot_be_guessed_from_outside(tmp_path: Path) -> None:
    script = "from freshgate.printable import ESCAPE_MARK; print(ascii(ESCAPE_MARK))"
    run = [sys.executable, "-c", script]
    assert subprocess.check_output(run) != subprocess.check_output(run)
    with (tmp_path / "out").open("w+") as file:
        EscapingStream(file).write(f"{ESCAPE_MARK}[1mbold \x1b[1m")
        file.seek(0)
        assert file.read() == "\x1b[1mbold \\u001b[1m"
