"""Structured logs: JSON lines on stderr, or a readable form on a terminal.

The composition roots call `configure` once; everyone else gets a logger with `get(__name__)`.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from contextlib import suppress
from functools import partial
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from freshgate.printable import printable

# Names of log fields whose values are never written.
REDACTED = {
    "authorization",
    "secret",
    "secrets",
    "token",
    "tokens",
    "email",
    "body",
    "to",
    "api_key",
    "signing_secret",
    "password",
    "pii_key",
}
# At "info", the first prints request bodies, the second a line for each job.
NOISY_LOGGERS = ("python_http_client", "rq.worker")

# Values that may hold further names.
CONTAINERS = (dict, list, tuple)

# Of an exception: those that led to it, and the innermost places of each.
MAX_CAUSES, MAX_FRAMES = 4, 12
# Between two lines about the same thing, where anybody can bring them about: strangers must not write the log.
STRANGER_INTERVAL_S = 10.0


def configure(level: str, *, json: bool) -> None:
    """Gives our loggers and the standard library's (gunicorn, rq, werkzeug) the same form.

    Our own lines are written directly: by way of the standard library's loggers a line costs twice as much.

    level  "debug", "info", "warning" or "error"
    json   JSON lines; False is the readable form
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        redact,
        describe_exception,
    ]
    last: list[Processor] = (
        [structlog.processors.JSONRenderer(default=str)]
        if json
        else [escape, structlog.dev.ConsoleRenderer(timestamp_key="ts", colors=sys.stderr.isatty())]
    )
    # Not the stream of commands, which would escape the renderer's own colours.
    stream = getattr(sys.stderr, "terminal", sys.stderr)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*shared, *last],
        logger_factory=partial(NamedLogger, stream),
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        cache_logger_on_first_use=True,
    )


class NamedLogger(structlog.WriteLogger):
    """Writes and flushes whole lines; `add_logger_name` reads its name."""

    def __init__(self, stream: TextIO, name: str) -> None:
        super().__init__(stream)
        self.name = name

    def msg(self, message: str) -> None:
        # A full disk or a closed pipe costs the line, as in the standard library, and never what was logged about.
        with suppress(OSError, ValueError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


class RareLines:
    """Says which lines may be logged again: a flood of requests must not become a flood of lines.

    Thread-safe, but for a line too many. It remembers the text of each line, so there must be few different ones.
    """

    def __init__(self) -> None:
        self._due: dict[str, float] = {}

    def is_due(self, line: str, interval_s: float = STRANGER_INTERVAL_S) -> bool:
        """Whether the line may be logged now; then it may not for that long."""
        now = time.monotonic()
        is_due = now >= self._due.get(line, 0.0)
        if is_due:
            self._due[line] = now + interval_s
        return is_due


def escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A processor that leaves no character in a text on which a terminal would act; JSON escapes them itself."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}


def describe_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A processor that writes where an exception was raised, and of which class, without its own text.

    The text may quote what was being read: bytes of a body, an address, a URL with a key in it.
    """
    info = event.pop("exc_info", None)
    if not info:
        return event
    error = info if isinstance(info, BaseException) else (info if isinstance(info, tuple) else sys.exc_info())[1]
    if error is not None:
        causes: list[str] = []
        while error is not None and len(causes) < MAX_CAUSES:
            frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
            places = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
            causes.append(f"{type(error).__module__}.{type(error).__qualname__} at " + " < ".join(reversed(places)))
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        event["exception"] = "; from ".join(causes)
    return event


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A processor that blanks the values of REDACTED names, at any depth."""
    for name, value in event.items():
        if name.lower() in REDACTED:
            event[name] = "[redacted]"
        elif isinstance(value, CONTAINERS):
            event[name] = _redact_value(value)
    return event


def _redact_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: "[redacted]" if str(k).lower() in REDACTED else _redact_value(v) for k, v in value.items()}
    if isinstance(value, CONTAINERS):
        return [_redact_value(item) for item in value]
    return value


def get(name: str) -> FilteringBoundLogger:
    """A logger for one module: `get(__name__).warning("redis does not answer", source="shop")`."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger
