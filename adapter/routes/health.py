"""`/healthz` says that the process is alive, `/readyz` whether Redis can take events, and if not, why."""

from __future__ import annotations

import redis
from flask import Flask, Response

from adapter.routes.answers import reply
from freshgate.state import store


def add_health(app: Flask, client: redis.Redis) -> None:
    """The routes of both; they ask for no secret, and tell a state only."""

    @app.get("/healthz")
    def healthz() -> Response:
        return reply(200, {"status": "ok"})

    @app.get("/readyz")
    def readyz() -> Response:
        problems, notes = store.check(client)
        status = "not ready" if problems else "ready"
        return reply(503 if problems else 200, {"status": status, "problems": problems, "notes": notes})
