"""The pages of `/unsubscribe/<token>`: a question with buttons, and what became of it. They load nothing, run nothing.

`unsubscribe.py` serves them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from typing import Literal

from werkzeug.datastructures import LanguageAccept

Page = Literal["ask", "done", "done_topic", "expired", "unknown", "later"]
STYLE = (
    "body{margin:0;background:#f4f2ee;color:#1f2328;font:17px/1.5 system-ui,sans-serif}"
    "main{max-width:30rem;margin:12vh auto;padding:2rem;background:#fff;border-radius:12px}"
    "h1{margin:0 0 .6rem;font-size:1.4rem}p{margin:0 0 1.2rem}form{margin:0}"
    "button{display:block;width:100%;margin:.6rem 0 0;padding:.8rem;border:1px solid #1f2328;border-radius:8px;"
    "background:#fff;color:#1f2328;font:inherit;cursor:pointer}button.all{background:#1f2328;color:#fff}"
)
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    # The URL is whoever has it: it must not travel on, nor stay in a cache or an index.
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow",
    "X-Content-Type-Options": "nosniff",
}
# Language → page → (heading, text); and the buttons.
TEXTS: dict[str, dict[Page, tuple[str, str]]] = {
    "en": {
        "ask": ("Unsubscribe", "Which mails do you no longer want? Mails about your orders still come."),
        "done": ("Done", "You get no more marketing mails from us. Mails about your orders still come."),
        "done_topic": ("Done", "You get no more mails about “{topic}”."),
        "expired": ("This link has expired", "Please use the link in a newer mail, or reply to one."),
        "unknown": ("This link is not known", "It may have been cut off. Please open it from the mail once more."),
        "later": ("Please try again later", "Your wish could not be saved just now."),
    },
    "de": {
        "ask": (
            "Abmelden",
            "Welche Mails möchten Sie nicht mehr bekommen? Mails zu Ihren Bestellungen kommen weiterhin.",
        ),
        "done": (
            "Erledigt",
            "Sie bekommen keine Werbemails mehr von uns. Mails zu Ihren Bestellungen kommen weiterhin.",
        ),
        "done_topic": ("Erledigt", "Sie bekommen keine Mails mehr zu „{topic}“."),
        "expired": (
            "Dieser Link ist abgelaufen",
            "Bitte nehmen Sie den Link in einer neueren Mail, oder antworten Sie auf eine.",
        ),
        "unknown": (
            "Dieser Link ist nicht bekannt",
            "Vielleicht wurde er abgeschnitten. Bitte öffnen Sie ihn noch einmal aus der Mail.",
        ),
        "later": ("Bitte später noch einmal", "Ihr Wunsch konnte gerade nicht gespeichert werden."),
    },
}
BUTTONS = {
    "en": ("No marketing mails at all", "No mails about “{topic}”"),
    "de": ("Gar keine Werbemails mehr", "Keine Mails zu „{topic}“"),
}


def language_of(accepted: LanguageAccept) -> str:
    """The reader's language, as far as there are texts in it."""
    return accepted.best_match(list(TEXTS)) or "en"


def render(page: Page, language: str, topics: Sequence[str] = (), topic: str = "") -> str:
    """The page. `topics` get a button each, beside the one for all."""
    heading, text = (part.format(topic=_words(topic)) for part in TEXTS[language][page])
    form = _form(language, topics) if page == "ask" else ""
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{escape(heading)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head><body><main>'
        f"<h1>{escape(heading)}</h1><p>{escape(text)}</p>{form}</main></body></html>"
    )


def _form(language: str, topics: Sequence[str]) -> str:
    of_all, of_topic = BUTTONS[language]
    buttons = [
        f'<button name="leave" value="{escape(topic)}">{escape(of_topic.format(topic=_words(topic)))}</button>'
        for topic in topics
    ]
    buttons.append(f'<button class="all" name="leave" value="all">{escape(of_all)}</button>')
    return f'<form method="post">{"".join(buttons)}</form>'


def _words(topic: str) -> str:
    return topic.replace("_", " ")
