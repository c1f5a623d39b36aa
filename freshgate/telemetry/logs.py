"""Structured logs, set up once a process: JSON lines on stderr, or a readable form on a terminal.

The composition roots call `configure`; everyone else asks for a logger with `get(name)`.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = {"authorization", "secret", "secrets", "token", "tokens", "email", "body", "to", "api_key", "pii_key"}
# Talkative at "info": one prints request bodies, the other a line for each job.
QUIET = ("python_http_client", "rq.worker")


def configure(level: str, *, json: bool) -> None:
    """Routes structlog and the standard library's loggers (gunicorn, rq, werkzeug) through the same processors."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        redact,
    ]
    last: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
        if json
        else [structlog.dev.ConsoleRenderer(timestamp_key="ts", colors=sys.stderr.isatty())]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blanks what no log may hold, at any depth of the values that were given by name."""
    for name, value in event.items():
        event[name] = "[redacted]" if name.lower() in REDACTED else _inner(value)
    return event


def _inner(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: "[redacted]" if str(k).lower() in REDACTED else _inner(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_inner(item) for item in value]
    return value


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger: `get(__name__).warning("redis does not answer", source="shop")`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
