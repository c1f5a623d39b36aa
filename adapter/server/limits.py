"""How large a body each URL takes, so that a stranger's megabytes are not even read where no source takes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote_to_bytes

from gunicorn.util import split_request_uri

from adapter.feedback import configure_feedback
from adapter.sources import SOURCES, max_bytes
from adapter.sources.tracking import MAX_BYTES
from freshgate.settings_file import load
from freshgate.state.cluster import is_cluster

WEBHOOKS, FEEDBACK, TRACKING = b"/webhooks/", b"/feedback/", (b"/v1/", b"/beacon/v1/")
SLASHES = re.compile(b"/{2,}")
# Nothing else takes a body.
OTHER_BYTES = 64 * 1024


def can_have_tasks(environ: Mapping[str, str]) -> bool:
    """Whether tasks can wait for Redis. A Cluster's table of nodes is behind a lock: there requests wait in threads."""
    return not is_cluster(load(environ).redis_url)


def body_limits(environ: Mapping[str, str]) -> Callable[[bytes], int]:
    """A function of a request's first line, as it came: how many bytes its body may have."""
    settings = load(environ)
    sources = {
        name.encode(): max_bytes(name, source)
        for name, source in settings.sources.items()
        if SOURCES[source.kind].endpoint == "webhook"
    }
    accounts = {name.encode(): reader.max_bytes for name, reader in configure_feedback(settings).items()}

    def limit(line: bytes) -> int:
        target = line.split(b" ")[1] if line.count(b" ") == 2 else b""
        known = limit_of(target)
        # Few URLs are written in another way. What the app takes for a source's is taken for one here, or large bodies
        # would be cut.
        return known or limit_of(path_of(target)) or OTHER_BYTES

    def limit_of(target: bytes) -> int:
        """0 where nothing is known by that URL."""
        if target.startswith(WEBHOOKS):
            return sources.get(target[len(WEBHOOKS) :].partition(b"?")[0].partition(b"/")[0], 0)
        if target.startswith(FEEDBACK):
            return accounts.get(target[len(FEEDBACK) :].partition(b"?")[0].partition(b"/")[0], 0)
        return MAX_BYTES if target.startswith(TRACKING) else 0

    return limit


def path_of(target: bytes) -> bytes:
    """The path as the app reads it: without a host, with no slash too many, and nothing percent-encoded."""
    try:
        path = split_request_uri(target.decode("latin-1")).path or ""
    except ValueError:
        return b""
    # As `routes/slashes.py` has it.
    return SLASHES.sub(b"/", unquote_to_bytes(path))
