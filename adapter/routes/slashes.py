"""Paths with slashes too many: `//v1/batch`, where the host that an SDK was given ends in one.

`app.py` puts it before Flask, whose own remedy is a redirect that SDKs do not follow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

SLASHES = re.compile("/{2,}")


class SingleSlashes:
    """WSGI middleware: of several slashes in a row it leaves one."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Calls the app with the path as it was meant."""
        path = environ.get("PATH_INFO", "")
        if "//" in path:
            environ["PATH_INFO"] = SLASHES.sub("/", path)
        return self._app(environ, start_response)
