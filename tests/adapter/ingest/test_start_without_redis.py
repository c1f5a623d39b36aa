"""A receiver that starts while Redis is away."""

from __future__ import annotations

import tempfile
from pathlib import Path

from adapter.local import embedded
from freshgate.settings import Settings, SourceSettings
from freshgate.state import keys, store
from tests.harness.receiver import serving

ORDER = {"type": "track", "event": "Order Completed", "userId": "ada", "properties": {"order_id": "1"}}


def test_the_first_event_that_redis_takes_tells_that_none_were_taken_before() -> None:
    # Not pytest's folder, whose path may be too long for a Unix socket.
    with tempfile.TemporaryDirectory(prefix="freshgate-test-") as folder:
        server = embedded.prepare(Path(folder) / "redis", log=Path(folder) / "redis.log")
        redis = store.connect(server.url)
        settings = Settings(pii_key="for tests", sources={"shop": SourceSettings(kind="segment", tokens=("t",))})
        with serving(redis) as serve:
            client = serve(settings)
            headers = {"X-Freshgate-Token": "t"}
            process = embedded.start(server)
            try:
                assert client.post("/webhooks/shop", json=ORDER, headers=headers).get_json()["accepted"] == 1
                assert redis.exists(f"{keys.shop('main')}gap")
            finally:
                redis.close()
                embedded.stop(server, process)
