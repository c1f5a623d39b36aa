"""A request's header fields, looked up in what WSGI has: a source asks for eight, each two microseconds by werkzeug."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any


class RequestHeaders:
    """Header fields by name, whatever its case: what `sources/base.py` needs. The names are ours, never a caller's."""

    __slots__ = ("_environ",)

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._environ = environ

    def get(self, name: str, /) -> str | None:
        """The field's text, None where it was not sent."""
        value: str | None = self._environ.get(_variable(name))
        return value


@cache
def _variable(name: str) -> str:
    """The name in WSGI (PEP 3333): as in CGI."""
    variable = name.upper().replace("-", "_")
    return variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{variable}"
