"""The routes `/feedback/<account>`, to which ESPs post what became of the mails.

`ingest/feedback.py` does the work.
"""

from __future__ import annotations

import time
from collections.abc import Collection

from flask import Flask, Response, request

from adapter.feedback.base import FeedbackRequest
from adapter.ingest.feedback import FeedbackReceiver
from adapter.routes.answers import reply
from adapter.routes.bodies import read_body

# SendGrid's batches are under 1 MB.
MAX_BYTES = 4 * 1024 * 1024


def add_feedback(app: Flask, receiver: FeedbackReceiver, accounts: Collection[str]) -> None:
    """The routes of every account that is set up for feedback."""

    @app.post("/feedback/<account>")
    def feedback(account: str) -> Response:
        if account not in accounts:
            return reply(404, {"error": "no such account, or no feedback is set up for it"})
        return reply(
            200,
            receiver.receive(
                account, FeedbackRequest(read_body(MAX_BYTES), request.headers, request.args, time.time())
            ),
        )

    @app.get("/feedback/<account>")
    def exists(account: str) -> Response:
        # Mailchimp asks before it saves a webhook, by HEAD or GET.
        if account not in accounts:
            return reply(404, {"error": "no such account, or no feedback is set up for it"})
        return reply(200, {"status": "ok"})
