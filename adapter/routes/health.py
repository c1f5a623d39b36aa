"""`/healthz`: the process lives. `/readyz`: Redis is fit to take events, or what it lacks."""

from __future__ import annotations

import redis
from flask import Flask, Response

from adapter.routes.answers import reply
from freshgate.state import store


def add_health(app: Flask, client: redis.Redis) -> None:
    """Both pages; neither asks for a secret, and neither says more than a state."""

    @app.get("/healthz")
    def healthz() -> Response:
        return reply(200, {"status": "ok"})

    @app.get("/readyz")
    def readyz() -> Response:
        problems = store.check(client)
        return reply(503 if problems else 200, {"status": "not ready" if problems else "ready", "problems": problems})
