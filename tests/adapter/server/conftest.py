from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.receiver_process import Receiver


@pytest.fixture(scope="module")
def receiver(redis_server: str) -> Iterator[Receiver]:
    with Receiver(redis_server) as receiver:
        yield receiver
