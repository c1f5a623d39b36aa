"""What an ESP's feedback is: one vocabulary of events, and what a kind of ESP declares to have its webhook read.

`FEEDBACK` in `__init__` lists the kinds; `ingest/feedback.py` records what they read.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, get_args

import msgspec

from adapter.sources.base import Headers
from freshgate.errors import NotAuthentic, SettingsError
from freshgate.settings import EspSettings
from freshgate.settings_parsing import setting_name

# accepted      the ESP has taken the mail over (it says so after its API did)
# delivered     the recipient's server has it
# deferred      that server asked to try later; the ESP goes on trying
# bounced       that server refused it for good; soft_bounced: for now, and the ESP gave up
# dropped       the ESP did not try, for a reason of its own
# complained    the recipient marked it as spam
# unsubscribed, resubscribed, opened, clicked    what the recipient did
FeedbackKind = Literal[
    "accepted",
    "delivered",
    "deferred",
    "bounced",
    "soft_bounced",
    "dropped",
    "complained",
    "unsubscribed",
    "resubscribed",
    "opened",
    "clicked",
]
KINDS: tuple[str, ...] = get_args(FeedbackKind)
# The names under which our mails carry the send's id to the ESP and back.
SEND_FIELD = "freshgate_send"
SEND_ID = re.compile(r"[0-9a-f]{24}")
# How far a signed timestamp may be off, in seconds: a captured request is good for nothing after that.
TOLERANCE_S = 300
MAX_REASON = 200
# SendGrid's batches are under 1 MB.
MAX_BYTES = 4 * 1024 * 1024


class FeedbackRequest(msgspec.Struct, frozen=True):
    """One request of an ESP, free of Flask.

    body         the bytes, as they were signed
    query        the URL's query
    now          seconds UTC
    """

    body: bytes
    headers: Headers
    query: Mapping[str, str]
    now: float


class FeedbackEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an ESP tells about one mail or one address.

    kind     of the vocabulary above
    at       when it happened, ms UTC; 0 where the ESP does not say
    email    the recipient; None where the ESP does not say
    send_id  our own id of the send; "" for a mail that we did not send, and where the ESP lost it
    reason   the ESP's own words, shortened
    """

    kind: FeedbackKind
    at: int
    email: str | None
    send_id: str = ""
    reason: str = ""


class FeedbackReader(Protocol):
    """The feedback of one configured account.

    max_bytes  the largest body that is read
    """

    max_bytes: int

    def verify(self, request: FeedbackRequest) -> None:
        """Raise NotAuthentic unless the request is provably from the ESP."""

    def read(self, request: FeedbackRequest) -> Sequence[FeedbackEvent]:
        """The events, in order; what says nothing about a mail is left out. Raises RequestError for a broken body."""


class FeedbackAccount:
    """What all kinds share: the account's name, and its secrets, of which each is valid."""

    max_bytes = MAX_BYTES

    def __init__(self, name: str, settings: EspSettings, advice: str) -> None:
        """`advice`: where the operator finds or sets the value at that ESP."""
        self.name = name
        self.key = setting_name("esps", name, "feedback_secrets")
        self.secrets = settings.feedback_secrets
        if not self.secrets:
            raise SettingsError(f"{self.key}: without a secret no feedback can be verified; {advice}")

    def not_authentic(self, what: str) -> NotAuthentic:
        return NotAuthentic("signature rejected", f"{self.name}: {what}, check {self.key}")

    def require_secret(self, value: str | None, what: str) -> None:
        """Raise NotAuthentic unless the value is one of the secrets; takes the same time wherever they differ."""
        sent = (value or "").encode("utf-8", "surrogatepass")
        matches = False
        for secret in self.secrets:
            matches |= hmac.compare_digest(secret.encode(), sent)
        if not matches:
            raise self.not_authentic(what)

    def require_fresh(self, timestamp: str | None, now: float) -> None:
        """Raise NotAuthentic unless the signed timestamp (Unix seconds) is of these minutes."""
        try:
            age_s = abs(now - int(timestamp or ""))
        except ValueError:
            raise self.not_authentic("the timestamp cannot be read") from None
        if age_s > TOLERANCE_S:
            raise NotAuthentic(
                "signature rejected", f"{self.name}: signed more than {TOLERANCE_S} s ago or ahead; check the clocks"
            )


def send_id_in(value: Any) -> str:
    """The value as a send's id, or "": what an ESP returns under our name need not be what we sent."""
    return value if isinstance(value, str) and SEND_ID.fullmatch(value) else ""


def short_reason(*parts: Any) -> str:
    """The ESP's own words, on one line. An address in them is left out: the trail holds none."""
    text = " ".join(str(part) for part in parts if part)
    words: Iterable[str] = ("<address>" if "@" in word else word for word in text.split())
    return " ".join(words)[:MAX_REASON]


def to_ms(value: Any) -> int:
    """Unix seconds as ms; 0 for what is none."""
    if isinstance(value, str) and value.isdecimal() and len(value) < len("99999999999"):
        value = int(value)
    return int(value * 1000) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 0


def as_map(value: Any) -> Mapping[str, Any]:
    """The value, or an empty map where it is none."""
    return value if isinstance(value, dict) else {}


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else ""
