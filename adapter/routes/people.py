"""The People API: `GET /api/people/<id>` and `/recent`, for whoever has one of `api_tokens`.

`adapter/people/` does the work. Replies hold what is known of a person, so nothing on the way may keep them.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, request

from adapter.people.document import Document, Field
from adapter.people.lookup import People
from adapter.routes.answers import reply
from freshgate.durations import parse_duration
from freshgate.errors import NotAuthentic, RequestError
from freshgate.telemetry import logs

log = logs.get(__name__)

NO_STORE = {"Cache-Control": "no-store"}
MAX_ID_LENGTH = 512
MAX_FRESH_FOR = 50
# In `fresh_for`: every field that is not named.
OTHERS = ""


def add_people(app: Flask, people: People, tokens: Sequence[str]) -> None:
    """The routes of both. `tokens` are all valid at once."""
    digests = [hashlib.sha256(token.encode()).digest() for token in tokens]
    refusals = logs.RareLines()

    @app.get("/api/people/<path:searched_id>")
    def person(searched_id: str) -> Response:
        token_id = authenticate(digests, refusals)
        fresh_for = parse_fresh_for(request.args.get("fresh_for", ""))
        answer = people.read(check_id(searched_id), token_id, shop_of(people))
        if answer is None:
            return reply(404, {"error": "nobody is known by this id"}, NO_STORE)
        return reply(200, render(answer.document, answer.now, fresh_for), NO_STORE)

    @app.get("/api/people/<path:searched_id>/recent")
    def recent(searched_id: str) -> Response:
        token_id = authenticate(digests, refusals)
        answer = people.recent(check_id(searched_id), token_id, shop_of(people))
        if answer is None:
            return reply(404, {"error": "nobody is known by this id"}, NO_STORE)
        now, entries = answer
        actions = [
            {**entry, "at": to_iso(entry["at"]), "age_s": age_s(now, entry["at"])}
            | {"received_at": to_iso(entry["received_at"])}
            for entry in entries
        ]
        return reply(200, {"recent": actions}, NO_STORE)


def authenticate(digests: Sequence[bytes], refusals: logs.RareLines) -> str:
    """A short id of the token that was sent. Raises NotAuthentic; takes the same time wherever tokens differ."""
    scheme, _, token = (request.headers.get("Authorization") or "").partition(" ")
    sent = hashlib.sha256(token.strip().encode("utf-8", "surrogatepass")).digest()
    matches = False
    for digest in digests:
        matches |= hmac.compare_digest(digest, sent)
    if scheme.lower() != "bearer" or not matches:
        if refusals.is_due("token"):
            log.warning("people_refused", hint="the bearer token is not one of FRESHGATE_API_TOKENS")
        raise NotAuthentic("signature rejected", "people: the bearer token is not one of api_tokens")
    return sent.hex()[:16]


def check_id(searched_id: str) -> str:
    if len(searched_id) > MAX_ID_LENGTH:
        raise RequestError("this id is too long")
    return searched_id


def shop_of(people: People) -> str | None:
    """The shop that `?shop=` names; None asks all. Raises RequestError for one that does not exist."""
    shop = request.args.get("shop")
    if shop is not None and shop not in people.shops:
        raise RequestError("no such shop: write an id_space of the sources")
    return shop


def parse_fresh_for(text: str) -> dict[str, int]:
    """`"24h"` for every field, `"email:365d,cart:1h"` for single ones; in ms. Raises RequestError."""
    limits: dict[str, int] = {}
    parts = [part for part in text.split(",") if part.strip()]
    if len(parts) > MAX_FRESH_FOR:
        raise RequestError(f"fresh_for names more than {MAX_FRESH_FOR} fields")
    for part in parts:
        name, _, duration = part.rpartition(":")
        limit = parse_duration(duration.strip())
        if limit is None:
            raise RequestError('fresh_for cannot be read: write it like "24h" or "email:365d,cart:1h"')
        limits[name.strip().removeprefix("profile.")] = limit
    return limits


def render(document: Document, now: int, fresh_for: Mapping[str, int]) -> dict[str, Any]:
    """The reply at that time (ms). With `fresh_for`, each field that it concerns says whether it is fresh."""

    def show(name: str, field: Field) -> dict[str, Any]:
        limit = fresh_for.get(name, fresh_for.get(OTHERS))
        shown = {"value": field.value, **_age(now, field.at, field.source), "trust": field.trust}
        return shown if limit is None else shown | {"fresh": now - field.at <= limit}

    limit = fresh_for.get("cart", fresh_for.get(OTHERS))
    cart = []
    for line in document.cart:
        shown = {**line, **_age(now, line["at"], line["source"])}
        cart.append(shown if limit is None else shown | {"fresh": now - line["at"] <= limit})
    consent = {
        name: value if isinstance(value, bool) or value is None else to_iso(value)
        for name, value in document.consent.items()
    }
    fields = {name: show(name, field) for name, field in document.fields.items()}
    return {"person": document.person, "fields": fields, "cart": cart, "consent": consent}


def _age(now: int, at: int, source: str | None) -> dict[str, Any]:
    return {"at": to_iso(at), "age_s": age_s(now, at), "source": source}


def age_s(now: int, at: int) -> float:
    return max(0, now - at) / 1000


def to_iso(ms: int) -> str:
    """ISO 8601 in UTC, with milliseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
