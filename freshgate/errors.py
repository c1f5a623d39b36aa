"""The errors of all processes. The class says whose fault it is, and whether trying again helps.

The receiver turns them into HTTP statuses (`adapter/routes/answers.py`), the worker into outcomes (`courier.py`).
"""

from __future__ import annotations


class FreshgateError(Exception):
    """The base of every error that Freshgate raises on purpose."""


class SettingsError(FreshgateError):
    """The operator's fault; the process does not start. The text names the setting and what to write there."""


class CatalogError(FreshgateError):
    """The catalog's fault; the process does not start. The text names the event type or trigger."""


class TemplateError(FreshgateError):
    """This mail cannot be rendered, whoever tries: its data lacks something, or the template's own code fails."""


class RequestError(FreshgateError):
    """The caller's fault; the whole request is refused, and a CDP will not send it again.

    reason  for the caller: little
    hint    for the log: which setting, and what to do
    status  the HTTP status of the reply
    """

    status = 400

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class NotAuthentic(RequestError):
    """The request is not provably from its source. The caller learns no more than that."""

    status = 401


class TooLarge(RequestError):
    """More bytes or more elements than the source's settings allow."""

    status = 413


class UnsupportedBody(RequestError):
    """The body has a content type or encoding that the source cannot verify."""

    status = 415


class RateLimited(RequestError):
    """More events in a time than the source's settings allow; the caller may try again.

    limit          the limit that was reached, one of metrics.LIMITS
    retry_after_s  seconds until it is over
    """

    status = 429

    def __init__(self, reason: str, *, limit: str, retry_after_s: int) -> None:
        super().__init__(reason)
        self.limit = limit
        self.retry_after_s = retry_after_s


class StoreUnavailable(FreshgateError):
    """Our fault: Redis did not record the request. The caller should try again (503 with Retry-After)."""

    status = 503


class EspError(FreshgateError):
    """The ESP did not accept the mail. Without any of the flags, the send is retried by timer.

    permanent      trying again cannot help (outcome `rejected`)
    ambiguous      the ESP may or may not have the mail (outcome `unknown`); never retried blindly
    blocked        the ESP refuses the whole account (401, 403): counted apart, retried by timer
    retry_after_s  seconds that the ESP asked us to wait; None where it did not
    status         the HTTP status of its reply; None without a reply
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
