"""The error tree: whose fault it was, and whether trying again helps.

Below everything: the receiver turns these into HTTP statuses, the worker into outcomes.
"""

from __future__ import annotations


class FreshgateError(Exception):
    """Everything that Freshgate raises on purpose."""


class SettingsError(FreshgateError):
    """The operator's fault: the process does not start. The text names the key and what to write there."""


class CatalogError(FreshgateError):
    """The catalog contradicts itself: the process does not start. The text names the entry."""


class RequestError(FreshgateError):
    """The caller's fault, for the request as a whole. `reason` goes to the caller, `hint` to the log."""

    status = 400

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class NotAuthentic(RequestError):
    """The request is not provably from that source. The caller learns no more than that."""

    status = 401


class TooLarge(RequestError):
    """More bytes or more elements than the source's settings allow."""

    status = 413


class UnsupportedBody(RequestError):
    """A content type or encoding that this source cannot verify."""

    status = 415


class RateLimited(RequestError):
    """More in a time than the source's settings allow: it may come again after `retry_after_s` seconds."""

    status = 429

    def __init__(self, reason: str, *, limit: str, retry_after_s: int) -> None:
        super().__init__(reason)
        self.limit = limit
        self.retry_after_s = retry_after_s


class StoreUnavailable(FreshgateError):
    """Our fault: Redis did not take it. The caller should try again (503 with Retry-After)."""

    status = 503


class EspError(FreshgateError):
    """The ESP did not take the mail.

    permanent      trying again cannot help (outcome `rejected`)
    ambiguous      the ESP may or may not have it (outcome `unknown`); never retried blindly
    blocked        the whole account is refused (401, 403): counted apart, retried by timer
    retry_after_s  seconds the ESP asked us to wait, when it said so
    """

    def __init__(
        self,
        text: str,
        *,
        permanent: bool = False,
        ambiguous: bool = False,
        blocked: bool = False,
        retry_after_s: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(text)
        self.permanent = permanent
        self.ambiguous = ambiguous
        self.blocked = blocked
        self.retry_after_s = retry_after_s
        self.status = status
