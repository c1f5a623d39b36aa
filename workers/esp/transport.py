"""python-http-client made safe for mail: one kept connection, one hard deadline, no redirects, no proxies.

ESP files call through `SafeClient`; `watchdog.py` ends a call whose server dribbles.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import json
import logging
import os
import select
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request

from python_http_client import Client
from python_http_client.client import Response

from freshgate.errors import EspError, SettingsError
from freshgate.settings_parsing import setting_name
from workers.esp.watchdog import WATCHDOG

MAX_ANSWER_BYTES = 64 * 1024
# Load balancers drop idle connections after 60 s and more; well below that, ours is never the one they drop.
MAX_IDLE_S = 20.0
# The sandbox as docker-compose.yml calls it. One word is no host of the internet, so no real mail can get there.
SANDBOX = "sandbox"


class SafeClient(Client):  # type: ignore[misc]
    """A python_http_client.Client whose whole chain shares one `Connection`. Headers are fixed for its life.

    Raises EspError only: retryable when the request was not written as a whole, `ambiguous` when it was.
    A status is no error here, 3xx and 5xx included: `status_code` of the answer tells.
    """

    def __init__(
        self,
        host: str,
        request_headers: Mapping[str, str] | None = None,
        version: int | None = None,
        url_path: list[str] | None = None,
        append_slash: bool = False,
        timeout: float | None = None,
        *,
        connection: Connection,
    ) -> None:
        if not timeout or timeout <= 0:
            raise ValueError("a timeout in seconds is required")
        # At DEBUG these loggers print the API key and the whole payload.
        for name in ("python_http_client", "python_http_client.client"):
            logger = logging.getLogger(name)
            logger.setLevel(max(logger.level, logging.INFO))
        super().__init__(host, dict(request_headers or {}), version, url_path, append_slash, timeout)
        self.connection = connection

    def _build_client(self, name: str | None = None) -> SafeClient:
        # The parent names `Client` here, which would lose this class after the first segment of the path.
        return SafeClient(
            self.host,
            self.request_headers,
            self._version,
            [*self._url_path, name] if name else self._url_path,
            self.append_slash,
            self.timeout,
            connection=self.connection,
        )

    def _update_headers(self, request_headers: Mapping[str, str]) -> None:
        raise ValueError("headers of one call would stick to all later ones; give them to the constructor")

    def post(self, request_body: Any = None) -> Response:
        """The parent's, less the urllib opener that it builds for each call, which cost as much as the call."""
        path = urlsplit(self._build_url(None)).path
        body = json.dumps(request_body).encode()
        return Response(self.connection.exchange("POST", path, self.request_headers, body, self.timeout))

    def _make_request(self, opener: object, request: Request, timeout: float | None = None) -> HttpResponse:
        # The opener would follow redirects with the key attached, and obey proxies of the environment.
        body = request.data if isinstance(request.data, bytes) else b""
        return self.connection.exchange(
            request.get_method(), request.selector, self.request_headers, body, timeout or self.timeout
        )


class HttpResponse:
    """One HTTP answer, in the shape that python_http_client.client.Response reads."""

    def __init__(self, status: int, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def getcode(self) -> int:
        return self.status

    def read(self) -> bytes:
        return self.body

    def info(self) -> http.client.HTTPMessage:
        return self.headers


class Connection:
    """One kept-alive connection to one host, opened when first needed. Not thread-safe: one a worker."""

    def __init__(self, name: str, base_url: str) -> None:
        url = urlsplit(base_url)
        self.name = name
        self.host = url.hostname or ""
        self.port = url.port or (443 if url.scheme == "https" else 80)
        self.authority = url.netloc
        self.tls = ssl.create_default_context() if url.scheme == "https" else None
        self._socket: socket.socket | None = None
        self._used_at = 0.0
        self._pid = 0

    def exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> HttpResponse:
        """One request, one answer, `timeout_s` seconds for both together. Raises EspError."""
        request = self._written(method, path, headers, body)
        deadline = time.monotonic() + timeout_s
        try:
            with WATCHDOG.guard(deadline) as guard:
                guarded = self._ready(deadline, guard.watch)
                guarded.sendall(request)
        except (OSError, ValueError) as error:
            self.close()
            raise EspError(f"{self.name}: not sent: {self._cause(error, deadline)}") from None
        try:
            with WATCHDOG.guard(deadline) as guard:
                guard.watch(guarded)
                answer, keep = _read_response(guarded, method)
            if guard.expired:
                raise TimeoutError
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.close()
            text = f"{self.name}: sent, but no whole answer: {self._cause(error, deadline)}"
            raise EspError(text, ambiguous=True) from None
        self._used_at = time.monotonic()
        if not keep:
            self.close()
        return answer

    def close(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
        self._socket = None

    def _written(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.authority}", "Accept-Encoding: identity"]
        lines += [f"{key}: {value}" for key, value in headers.items()]
        lines.append(f"Content-Length: {len(body)}\r\n\r\n")
        return "\r\n".join(lines).encode("latin-1") + body

    def _ready(self, deadline: float, watch: Any) -> socket.socket:
        kept = self._socket
        if kept is not None and (self._pid != os.getpid() or self._is_stale(kept)):
            self.close()
            kept = None
        if kept is not None:
            watch(kept)
            kept.settimeout(_left(deadline))
            return kept
        opened = socket.create_connection((self.host, self.port), timeout=_left(deadline))
        self._socket = opened
        self._pid = os.getpid()
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        watch(opened)
        if self.tls is not None:
            opened = self.tls.wrap_socket(opened, server_hostname=self.host, do_handshake_on_connect=False)
            self._socket = opened
            watch(opened)
            opened.settimeout(_left(deadline))
            opened.do_handshake()
        opened.settimeout(_left(deadline))
        return opened

    def _is_stale(self, kept: socket.socket) -> bool:
        """Readable while nobody asked: the server has closed it, or said something that is no answer to us."""
        if time.monotonic() - self._used_at > MAX_IDLE_S:
            return True
        poll = select.poll()
        poll.register(kept, select.POLLIN)
        return bool(poll.poll(0))

    def _cause(self, error: Exception, deadline: float) -> str:
        if time.monotonic() >= deadline or isinstance(error, TimeoutError):
            return "out of time"
        # The class only: texts of these exceptions may quote what was read.
        return type(error).__name__


class _WholeLines(io.BufferedReader):
    """http.client takes the end of the stream for the end of the headers; a cut head is no answer."""

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(-1 if size is None else size)
        if not line.endswith(b"\n") and (size is None or size < 0 or len(line) < size):
            raise http.client.RemoteDisconnected("the connection ended within the head")
        return line


class _Readable:
    """What http.client.HTTPResponse wants of a socket: a file to read, and no more."""

    def __init__(self, connected: socket.socket) -> None:
        self.connected = connected

    def makefile(self, mode: str) -> io.BufferedReader:
        return _WholeLines(socket.SocketIO(self.connected, "r"))


def _read_response(connected: socket.socket, method: str) -> tuple[HttpResponse, bool]:
    """The answer, and whether the connection can be used again. At most MAX_ANSWER_BYTES of the body are read."""
    response = http.client.HTTPResponse(_Readable(connected), method=method)  # type: ignore[arg-type]
    response.begin()
    body = response.read(MAX_ANSWER_BYTES)
    if response.length and len(body) < MAX_ANSWER_BYTES:
        raise http.client.IncompleteRead(b"", response.length)
    # Without a length, the last byte is known only by reading past it.
    whole = response.length == 0 or (response.chunked and not response.read(1))
    keep = whole and not response.will_close and response.status >= 200
    return HttpResponse(response.status, response.headers, body), keep


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def is_loopback(host: str | None) -> bool:
    """Whether the name or address can only be this machine."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def checked_base_url(name: str, base_url: str, *, live: bool) -> str:
    """The base URL without a trailing slash. Raises SettingsError unless the key and the mails are safe there."""
    key = setting_name("esps", name, "base_url")
    try:
        url = urlsplit(base_url)
        host, _ = url.hostname, url.port
    except ValueError:
        raise SettingsError(f"{key}: this is no URL; write one such as https://api.sendgrid.com") from None
    plain = base_url.isascii() and base_url.isprintable() and " " not in base_url
    if url.scheme not in ("http", "https") or not host or not plain:
        raise SettingsError(f"{key}: this is no URL; write one such as https://api.sendgrid.com")
    if "@" in url.netloc:
        raise SettingsError(
            f"{key}: credentials do not belong here; write them to {setting_name('esps', name, 'api_key')}"
        )
    if url.query or url.fragment:
        raise SettingsError(f"{key}: write it without ? and #")
    ours = is_loopback(host) or (url.scheme == "http" and host == SANDBOX)
    if url.scheme == "http" and not ours:
        raise SettingsError(f"{key}: http would send the key in the clear; write https://{host}")
    if not live and not ours:
        wanted = setting_name("esps", name, "live")
        raise SettingsError(f"{wanted}: {host} sends real mail; write live = true to mean it, or a loopback base_url")
    return base_url.rstrip("/")
