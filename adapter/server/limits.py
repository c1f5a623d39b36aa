"""How large a body each URL takes, so that a stranger's megabytes are not even read where no source takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from adapter.sources import SOURCES, max_bytes
from adapter.sources.tracking import MAX_BYTES
from freshgate.settings import load

WEBHOOKS, TRACKING = b"/webhooks/", b"/v1/"
# Nothing else takes a body.
OTHER_BYTES = 64 * 1024


def body_limits(environ: Mapping[str, str]) -> Callable[[bytes], int]:
    """A function of a request's first line, as it came: how many bytes its body may have."""
    sources = {
        name.encode(): max_bytes(name, source)
        for name, source in load(environ).sources.items()
        if SOURCES[source.kind].endpoint == "webhook"
    }

    def limit(line: bytes) -> int:
        target = line.split(b" ")[1] if line.count(b" ") == 2 else b""
        if target.startswith(WEBHOOKS):
            return sources.get(target[len(WEBHOOKS) :].partition(b"?")[0].partition(b"/")[0], OTHER_BYTES)
        return MAX_BYTES if target.startswith(TRACKING) else OTHER_BYTES

    return limit
