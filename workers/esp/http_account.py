"""What all kinds with an HTTP API share: one kept connection, one body a mail, and what each status means.

A kind's own file subclasses `HttpAccount` and holds only what differs; `connection.py` carries the request.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from http.client import HTTPMessage
from typing import Any, ClassVar
from urllib.parse import urlsplit

from freshgate.errors import EspError, SettingsError
from freshgate.settings import EspSettings
from freshgate.settings_parsing import setting_name
from workers.esp.base import Message, SendResult
from workers.esp.base_url import checked_base_url
from workers.esp.capabilities import Capabilities
from workers.esp.connection import Connection, HttpResponse

# HTTP status → how EspError classes it. A kind whose API says otherwise overrides `HttpAccount.error`.
BLOCKED = {401, 403}
RETRYABLE = {408, 429, 500, 502, 503, 504}
MAX_RETRY_AFTER_S = 86_400.0
ADDRESS = re.compile(r"[^\s@<>\"'(),;:]+@[^\s@<>\"'(),;:]+")
UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
MAX_REASON_LENGTH = 200
# The sandbox accepts any key but wants one, as the real APIs do.
SANDBOX_KEY = "sandbox"


class HttpAccount:
    """One account at an ESP with an HTTP API. Not thread-safe. Raises SettingsError.

    url      where mails are posted to
    headers  of every call
    secrets  never stand in the text of an error
    """

    capabilities: ClassVar[Capabilities]
    # The path of the call, behind the path of `url`; "" where that is the whole of it.
    path: str = ""

    def __init__(
        self,
        name: str,
        settings: EspSettings,
        *,
        url: str,
        headers: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.settings = settings
        self.now_s = now_s
        self._secrets = [secret for secret in secrets if secret]
        self._connection = Connection(name, url, settings.allow_networks)
        parts = urlsplit(url)
        self._path = parts.path
        self._query = f"?{parts.query}" if parts.query else ""
        self._headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "freshgate",
            **(headers or {}),
        }

    def body(self, message: Message) -> Any:
        """The JSON body of a mail, without empty fields."""
        raise NotImplementedError

    def headers(self, message: Message, body: bytes) -> Mapping[str, str]:
        """Headers of this call alone."""
        return {}

    def provider_id(self, response: HttpResponse) -> str:
        """The ESP's id of a mail that it has accepted; "" where it cannot be read."""
        return ""

    def reason(self, document: Any) -> str:
        """The ESP's own words in the JSON body of a refusal. What it raises for an odd one counts as no words."""
        return ""

    def prepare(self) -> None:
        """Opens the connection unless it stands. Raises EspError, which is retryable."""
        self._connection.prepare(self.settings.timeout_s)

    def send(self, message: Message) -> SendResult:
        """Hands one mail over, in `timeout_s` at most. Raises EspError only, which says whether a retry may help."""
        body = self.encode(lambda: self.body(message))
        response = self.post(self.path, body, self.headers(message, body))
        return SendResult(self.provider_id(response), response.status)

    def close(self) -> None:
        self._connection.close()

    def encode(self, build: Callable[[], Any]) -> bytes:
        """The document as JSON. Raises EspError, permanent, if it cannot be: nothing was sent."""
        try:
            return json.dumps(build(), allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            text = f"{self.name}: the body cannot be written as JSON: {type(error).__name__}"
            raise EspError(text, permanent=True) from None

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> HttpResponse:
        """The response to a POST that was accepted. Raises EspError for every other."""
        response = self.call("POST", path, body, headers)
        if not 200 <= response.status < 300:
            raise self.error(response)
        return response

    def call(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> HttpResponse:
        """One request and its response, whatever the status. Raises EspError where no whole response came."""
        target = (self._path + path or "/") + self._query
        timeout_s = self.settings.timeout_s if timeout_s is None else timeout_s
        return self._connection.exchange(method, target, {**self._headers, **(headers or {})}, body, timeout_s)

    def error(self, response: HttpResponse) -> EspError:
        """What a response that is not 2xx means: blocked, to be retried, permanent, or ambiguous."""
        status, text = response.status, self.text_of(response)
        if status in BLOCKED:
            return EspError(text, blocked=True, status=status)
        if status in RETRYABLE:
            return self.retry(response)
        if 400 <= status < 500:
            return EspError(text, permanent=True, status=status)
        # A redirect or an unheard-of status: some server took the request, and may have acted on it.
        return EspError(text, ambiguous=True, status=status)

    def retry(self, response: HttpResponse) -> EspError:
        """To be tried again, not before the ESP said so."""
        wait_s = retry_after_s(response.headers, self.now_s())
        return EspError(self.text_of(response), retry_after_s=wait_s, status=response.status)

    def text_of(self, response: HttpResponse) -> str:
        """The account, the status and the ESP's own words, without addresses and secrets."""
        try:
            reason = self.reason(json.loads(response.body))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            reason = ""
        return f"{self.name}: {response.status} {self.scrub(reason)}".rstrip()

    def scrub(self, text: str) -> str:
        """A text of the ESP, shortened, without addresses and secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "<key>")
        return UNPRINTABLE.sub(" ", ADDRESS.sub("<address>", text))[:MAX_REASON_LENGTH]


def checked_key(name: str, settings: EspSettings, vendor: str, field: str = "api_key") -> str:
    """The account's key, or the sandbox's. Raises SettingsError for a live account without one."""
    key: str = getattr(settings, field)
    setting = setting_name("esps", name, field)
    if settings.live and not key:
        raise SettingsError(f"{setting}: write the key that {vendor} gave you")
    if not re.fullmatch(r"[\x21-\x7e]*", key):
        raise SettingsError(f"{setting}: a key has no spaces; write it as {vendor} gave it")
    return key or SANDBOX_KEY


def checked_api_url(name: str, settings: EspSettings, capabilities: Capabilities) -> str:
    """`base_url` of a kind with one API for all its customers. Raises SettingsError."""
    return checked_base_url(name, settings.base_url, live=settings.live, example=capabilities.live_url)


def sender(settings: EspSettings) -> str:
    """The sender as a header writes it: `"The Shop" <shop@example.com>`."""
    if not settings.from_name:
        return settings.from_email
    name = UNPRINTABLE.sub(" ", settings.from_name) if "\n" in settings.from_name else settings.from_name
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{settings.from_email}>'


def retry_after_s(headers: HTTPMessage, now_s: float) -> float | None:
    """Seconds to wait, from 1 to a day.

    `Retry-After` is seconds or a date; `RateLimit-Reset` is seconds (draft-ietf-httpapi-ratelimit-headers-06);
    `X-RateLimit-Reset` is epoch seconds, as SendGrid has it.
    """
    wait_s = _number(headers.get("Retry-After"))
    if wait_s is None and headers.get("Retry-After"):
        try:
            wait_s = parsedate_to_datetime(headers["Retry-After"]).timestamp() - now_s
        except (ValueError, TypeError, OverflowError):
            wait_s = None
    if wait_s is None:
        wait_s = _number(headers.get("RateLimit-Reset"))
    reset_s = _number(headers.get("X-RateLimit-Reset"))
    if wait_s is None and reset_s is not None:
        wait_s = reset_s - now_s
    return None if wait_s is None else min(max(wait_s, 1.0), MAX_RETRY_AFTER_S)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
