"""What every source kind offers: verify the raw bytes, then read them into canonical events.

`SOURCES` in `__init__` lists the kinds; a source is a kind configured with one table of the settings.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from freshgate.declare import EventType
from freshgate.events import Refused, Verdict
from freshgate.settings import SourceSettings


class Headers(Protocol):
    """Header fields by name, whatever their case: werkzeug's, or any mapping in tests."""

    def get(self, key: str, /) -> str | None: ...


class RequestContext(msgspec.Struct, frozen=True):
    """What a request says beside its body: of a form its content type, of an audience's URL the name and the turn,
    of a URL of the tracking API the call."""

    content_type: str = ""
    audience: str = ""
    turn: Literal["", "joined", "left"] = ""
    call: str = ""


NO_CONTEXT = RequestContext()


class Source(Protocol):
    """One configured webhook endpoint."""

    name: str
    settings: SourceSettings

    def verify(self, body: bytes, headers: Headers) -> None:
        """Raise NotAuthentic (or UnsupportedBody) unless the bytes are provably from this source."""

    def read(self, body: bytes, received_at: int, context: RequestContext = NO_CONTEXT) -> Sequence[Verdict]:
        """One verdict an element, in order. Raises RequestError for the body as a whole only."""


def failed(error: Exception, raw: bytes) -> Refused:
    """The verdict on an element whose reading failed as nobody foresaw: it must not cost its neighbours."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    # The error's own text may quote the element.
    return Refused("internal", raw, f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}")


class SourceKind(Protocol):
    """A CDP's dialect, before it is configured."""

    name: str

    def configure(self, name: str, settings: SourceSettings, catalog: Sequence[EventType]) -> Source: ...
