"""The routes `/feedback/<account>`, to which ESPs post what became of the mails.

`ingest/feedback.py` does the work.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from flask import Flask, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from adapter.feedback.base import FeedbackReader, FeedbackRequest
from adapter.ingest.feedback import FeedbackReceiver
from adapter.routes.answers import reply
from adapter.routes.bodies import read_body
from freshgate.errors import TooLarge


def add_feedback(app: Flask, receiver: FeedbackReceiver, readers: Mapping[str, FeedbackReader]) -> None:
    """The routes of every account that is set up for feedback."""

    @app.post("/feedback/<account>")
    def feedback(account: str) -> Response:
        if account not in readers:
            return reply(404, {"error": "no such account, or no feedback is set up for it"})
        max_bytes = readers[account].max_bytes
        try:
            body = read_body(max_bytes)
        except RequestEntityTooLarge:
            raise TooLarge(f"more than {max_bytes} bytes") from None
        return reply(200, receiver.receive(account, FeedbackRequest(body, request.headers, request.args, time.time())))

    @app.get("/feedback/<account>")
    def exists(account: str) -> Response:
        # Mailchimp asks before it saves a webhook, by HEAD or GET.
        if account not in readers:
            return reply(404, {"error": "no such account, or no feedback is set up for it"})
        return reply(200, {"status": "ok"})
