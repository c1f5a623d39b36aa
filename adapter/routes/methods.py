"""Answers 405 to methods that HTTP does not have, before Flask and its metrics see them.

A caller's own words must not become a label: each new method would be a set of series, and fill the metrics' files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
# As Flask answers a method that a URL does not take: it is the caller's fault, and no alarm of ours.
BODY = b'{"error":"method not allowed"}'
HEADERS = [
    ("Content-Type", "application/json"),
    ("Content-Length", str(len(BODY))),
    ("Allow", ", ".join(sorted(METHODS))),
]


class KnownMethods:
    """A WSGI app around another."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in METHODS:
            return self._app(environ, start_response)
        start_response("405 Method Not Allowed", HEADERS)
        return [BODY]
