"""`/unsubscribe/<token>`: the page of a mail's link, and the POST of its buttons and of mailboxes. RFC 8058

GET changes nothing, since mail scanners follow links. POST needs no cookie and no page before it.
"""

from __future__ import annotations

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from adapter.ingest.unsubscribe import Unsubscriber
from adapter.routes.answers import RETRY_AFTER_S
from adapter.routes.unsubscribe_page import HEADERS, Page, language_of, render
from freshgate.declare import ALL_TOPICS
from freshgate.errors import RateLimited, StoreUnavailable
from freshgate.links import PATH, LinkError
from freshgate.telemetry import logs

log = logs.get(__name__)
# A form of two short fields.
MAX_BODY_BYTES = 4096
MAX_FORM_PARTS = 8
MAILBOX_FORM = ("List-Unsubscribe", "One-Click")


def add_unsubscribe(app: Flask, unsubscriber: Unsubscriber) -> None:
    """The route of both methods."""

    @app.get(f"{PATH}<token>")
    def unsubscribe_page(token: str) -> Response:
        try:
            opened = unsubscriber.open(token)
        except LinkError as error:
            return _refusal(error)
        return _answer(200, "ask", unsubscriber.topics(opened))

    @app.post(f"{PATH}<token>")
    def unsubscribe(token: str) -> Response:
        try:
            opened = unsubscriber.open(token)
            choice = _choice()
            if choice is None:
                return _answer(400, "ask", unsubscriber.topics(opened))
            unsubscriber.leave(opened, choice)
        except LinkError as error:
            return _refusal(error)
        except RateLimited as error:
            return _answer(429, "later", retry_after_s=error.retry_after_s)
        except StoreUnavailable as error:
            log.error("store_unavailable", error=str(error))
            return _answer(503, "later", retry_after_s=RETRY_AFTER_S)
        return _answer(200, "done" if choice == ALL_TOPICS else "done_topic", topic=choice)


def _choice() -> str | None:
    """What the form asks for: ALL_TOPICS or a topic; None for a form that is not ours, such as of a scanner."""
    request.max_content_length = MAX_BODY_BYTES
    request.max_form_memory_size = MAX_BODY_BYTES
    request.max_form_parts = MAX_FORM_PARTS
    try:
        form = request.form
    except HTTPException:
        return None
    name, value = MAILBOX_FORM
    if form.get(name) == value:
        return ALL_TOPICS
    return form.get("leave") or None


def _refusal(error: LinkError) -> Response:
    return _answer(410, "expired") if error.expired else _answer(404, "unknown")


def _answer(
    status: int, page: Page, topics: list[str] | None = None, topic: str = "", retry_after_s: int | None = None
) -> Response:
    body = render(page, language_of(request.accept_languages), topics or [], topic)
    headers = HEADERS if retry_after_s is None else {**HEADERS, "Retry-After": str(retry_after_s)}
    return Response(body, status, headers, mimetype="text/html")
