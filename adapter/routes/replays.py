"""Whether a request asks to record events once more that were recorded before: for both families of URLs.

`ingest/receive.py` verifies the token before anything is recorded.
"""

from __future__ import annotations

from adapter.sources.base import Headers
from freshgate.settings import SourceSettings


def asks_for_replay(headers: Headers, settings: SourceSettings) -> bool:
    """Only a request that a token proves may be a replay; without one the header is ignored."""
    return (
        headers.get("X-Freshgate-Replay") == "1"
        and headers.get("X-Freshgate-Token") is not None
        and bool(settings.tokens)
    )
