"""Every log line is one JSON object, whichever library wrote it, without anything that a log must not hold."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from freshgate.telemetry import logs


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the process wrote; the logging of the test run is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.NOISY_LOGGERS}
    text = io.StringIO()
    monkeypatch.setattr(sys, "stderr", text)
    logs.configure("info", json=True)
    yield text
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level
    for name, saved in levels.items():
        logging.getLogger(name).setLevel(saved)


def only_line(stderr: io.StringIO) -> dict[str, Any]:
    (line,) = stderr.getvalue().splitlines()
    fields: dict[str, Any] = json.loads(line)
    return fields


def test_a_line_has_its_time_level_event_and_logger(stderr: io.StringIO) -> None:
    logs.get("shop").info("recorded", count=2)
    fields = only_line(stderr)
    assert fields.pop("ts").endswith("Z")
    assert fields == {"level": "info", "event": "recorded", "logger": "shop", "count": 2}


def test_the_standard_librarys_loggers_take_the_same_form(stderr: io.StringIO) -> None:
    logging.getLogger("gunicorn.error").warning("worker %s is gone", 7)
    fields = only_line(stderr)
    assert (fields["event"], fields["logger"], fields["level"]) == ("worker 7 is gone", "gunicorn.error", "warning")


@pytest.mark.parametrize("name", ["authorization", "secrets", "token", "email", "body", "to", "api_key", "Email"])
def test_what_no_log_may_hold_is_blanked_at_any_depth(stderr: io.StringIO, name: str) -> None:
    logs.get("shop").info("sent", **{name: "hush"}, request={"inner": [{name: "hush"}]})
    fields = only_line(stderr)
    assert fields[name] == "[redacted]"
    assert fields["request"] == {"inner": [{name: "[redacted]"}]}


@pytest.mark.parametrize("name", logs.NOISY_LOGGERS)
def test_noisy_libraries_are_logged_from_warning_on(stderr: io.StringIO, name: str) -> None:
    logging.getLogger(name).info("POST with a body")
    assert stderr.getvalue() == ""


def test_a_line_is_printable_ascii_that_a_search_for_its_event_finds(stderr: io.StringIO) -> None:
    logs.get("shop").info("recorded", name="Zoë\u202e\x9b\ud800")
    line = stderr.getvalue().removesuffix("\n")
    assert line.isascii() and line.isprintable()
    assert '"event": "recorded"' in line


def test_what_is_below_the_level_is_not_written(stderr: io.StringIO) -> None:
    logs.get("shop").debug("looked")
    logging.getLogger("gunicorn.error").debug("looked")
    assert stderr.getvalue() == ""


def test_a_full_disk_costs_the_line_and_nothing_else(stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    full = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115  # closing it fails, as a full disk does
    monkeypatch.setattr(sys, "stderr", full)
    logs.configure("info", json=True)
    log = logs.get("shop")
    try:
        raise RuntimeError
    except RuntimeError:
        log.exception("failed")
    log.info("sent")
    log.warning("refused")
    with pytest.raises(OSError, match="No space"):
        full.close()
