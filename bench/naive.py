"""The references: Flask apps that do less than the receiver, and the obvious chain of Flask, RQ and a POST.

gunicorn serves the apps from its own threaded worker, with as many processes and threads as the receiver has;
`python -m bench.naive` is the chain's RQ worker.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Any

import redis
from flask import Flask, request
from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics
from python_http_client import Client
from rq import Queue, SimpleWorker

from bench.lab import SECRET

QUEUE = "naive"
ROUTE = "/webhooks/segment"


def constant() -> Flask:
    """One route that answers 200 and does nothing."""
    app = Flask("constant")

    @app.post(ROUTE)
    def webhook() -> str:
        return "{}"

    return app


def constant_with_metrics() -> Flask:
    """The same with the metrics exporter of the receiver."""
    return _with_metrics(constant())


def hmac_and_set() -> Flask:
    """The least that a receiver can do: checks the signature, and stores the body under its hash. With the exporter."""
    app = Flask("hmac_and_set")
    client = _redis()

    @app.post(ROUTE)
    def webhook() -> tuple[str, int]:
        body = request.get_data(cache=False)
        digest = hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest()
        if not hmac.compare_digest(digest, request.headers.get("X-Signature", "")):
            return "{}", 401
        client.set(digest, body)
        return "{}", 200

    return _with_metrics(app)


def chain() -> Flask:
    """The chain's receiver: enqueues a job for every event, and checks nothing."""
    app = Flask("chain")
    queue = Queue(QUEUE, connection=_redis())

    @app.post(ROUTE)
    def webhook() -> str:
        queue.enqueue(send, request.get_json()["properties"])
        return "{}"

    return app


_client: list[Any] = []


def send(properties: dict[str, Any]) -> None:
    """The chain's job: posts one mail as the SendGrid package does."""
    if not _client:
        headers = {"Authorization": "Bearer bench", "Accept": "application/json", "Content-Type": "application/json"}
        _client.append(Client(os.environ["FRESHGATE_ESPS__SENDGRID__BASE_URL"], headers, 3, timeout=10))
    _client[0].mail.send.post(request_body=mail(properties))


def mail(properties: dict[str, Any]) -> dict[str, Any]:
    """SendGrid's body of mail/send."""
    template_data = {key: properties[key] for key in ("order_id", "total", "currency", "products")}
    custom_args = {"freshgate_send": "0" * 24, "freshgate_trigger": "order_confirmation"}
    personalization = {
        "to": [{"email": "shopper@example.com"}],
        "custom_args": custom_args,
        "dynamic_template_data": template_data,
    }
    return {
        "from": {"email": "shop@example.com"},
        "personalizations": [personalization],
        "template_id": "d-order-confirmation",
    }


def work() -> None:
    """The chain's worker. It runs jobs in its own process, as Freshgate's does, since a fork costs more than a mail."""
    queue = Queue(QUEUE, connection=_redis())
    SimpleWorker([queue], connection=queue.connection).work(logging_level="WARNING")


def _with_metrics(app: Flask) -> Flask:
    GunicornPrometheusMetrics(app, path=None, group_by="url_rule", defaults_prefix="freshgate_receiver")
    return app


def _redis() -> redis.Redis:
    return redis.Redis.from_url(os.environ["FRESHGATE_REDIS_URL"])


if __name__ == "__main__":
    work()
