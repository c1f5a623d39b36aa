"""The jobs of a worker process, and the line in which their sends wait for a lane.

`rq_worker.py` makes the jobs; `lanes.py` takes sends out of the line.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from freshgate.queue import Item, Job
from freshgate.state import keys


class QueuedJob(msgspec.Struct, eq=False):
    """A job of RQ in this process, until all its sends have reached a state.

    id          RQ's id
    queue       name of its queue
    marketing   whether its sends wait while transactional ones leave
    expires_at  end of its budget (monotonic seconds)
    remaining   sends that have not reached a state
    """

    id: bytes
    queue: str
    marketing: bool
    job: Job
    expires_at: float
    remaining: int
    failed: bool = False


class Waiting(NamedTuple):
    """A send that no lane has taken yet."""

    item: Item
    queued: QueuedJob


class Line:
    """The sends that wait for a lane, by shop and trigger, which take turns. `count` is how many."""

    def __init__(self) -> None:
        self.count = 0
        self._sends: OrderedDict[tuple[str, str, int], deque[Waiting]] = OrderedDict()

    def __iter__(self) -> Iterator[Waiting]:
        return chain.from_iterable(self._sends.values())

    def add(self, queued: QueuedJob) -> None:
        for item in queued.job.sends:
            # A send that came back may have taken its worker down, and a traced one has a span: each by itself.
            apart = id(item) if item.returned else id(queued) if queued.job.trace else 0
            key = (queued.job.shop, keys.trigger_of(item.timer), apart)
            self._sends.setdefault(key, deque()).append(Waiting(item, queued))
        self.count += len(queued.job.sends)

    def add_back(self, waiting: Waiting) -> None:
        """Takes a send once more that had waited for a source of truth; that it came back was counted already."""
        item = replace(waiting.item, returned=0)
        apart = id(item) if waiting.item.returned else id(waiting.queued) if waiting.queued.job.trace else 0
        key = (waiting.queued.job.shop, keys.trigger_of(item.timer), apart)
        self._sends.setdefault(key, deque()).append(Waiting(item, waiting.queued))
        self.count += 1

    def take(self, limit: int) -> list[Waiting]:
        """At most so many, of one shop and trigger. There must be some."""
        key, sends = next(iter(self._sends.items()))
        taken = [sends.popleft() for _ in range(min(limit, len(sends)))]
        if sends:
            # The others' turn comes first.
            self._sends.move_to_end(key)
        else:
            del self._sends[key]
        self.count -= len(taken)
        return taken
