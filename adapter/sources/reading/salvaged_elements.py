"""The elements of a body that the fast decoder refused, each decoded alone.

`salvage.py` finds where each begins and ends; Tealium's bodies and the events of mParticle's batches are read this way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adapter.sources.reading.salvage import MAX_DEPTH, decode_leniently, elements
from freshgate.events import Refused


def decode_each_element(body: bytes) -> Iterator[Any]:
    """Yield the elements of an array, or the one object; a Refused stands for each that cannot be decoded.

    Raises UnbalancedJson where the outer brackets do not close.
    """
    for span in elements(body):
        if span.depth > MAX_DEPTH:
            yield Refused("too_deep")
            continue
        try:
            yield decode_leniently(body[span.start : span.end])
        except ValueError:
            yield Refused("not_json")
