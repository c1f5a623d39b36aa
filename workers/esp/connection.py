"""One kept HTTP connection to one host, with one hard deadline for each request and its response together.

`transport.py` sends through it; `watchdog.py` ends a call whose server dribbles.
"""

from __future__ import annotations

import http.client
import io
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from freshgate import outbound
from freshgate.errors import EspError
from workers.esp.base_url import allowed_networks
from workers.esp.watchdog import WATCHDOG

MAX_RESPONSE_BYTES = 64 * 1024
# Load balancers drop idle connections after 60 s or more; this one is replaced well before.
MAX_IDLE_S = 20.0


class HttpResponse:
    """One HTTP response, in the shape that python_http_client.client.Response reads."""

    def __init__(self, status: int, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def getcode(self) -> int:
        return self.status

    def read(self) -> bytes:
        return self.body

    def info(self) -> http.client.HTTPMessage:
        return self.headers


class Connection:
    """Opened when first needed, kept while the server keeps it. Not thread-safe: each worker process has its own.

    `name` is the ESP account's, for the texts of errors. `networks` are those that the host's name may lead to beside
    the public internet, as texts such as "10.0.0.0/8". Raises outbound.UrlError.
    """

    def __init__(self, name: str, base_url: str, networks: Sequence[str] = ()) -> None:
        self.name = name
        self.target = outbound.parse_url(base_url)
        self.allowed = allowed_networks(self.target, networks)
        self.tls = ssl.create_default_context() if self.target.scheme == "https" else None
        self._socket: socket.socket | None = None
        self._used_at = 0.0
        self._pid = 0

    def exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> HttpResponse:
        """One request, one response, `timeout_s` seconds for both together.

        Raises EspError: retryable if the request was not sent as a whole, `ambiguous` if it was.
        """
        request = self._request(method, path, headers, body)
        deadline = time.monotonic() + timeout_s
        sock = self._connect_and_send(request, deadline)
        try:
            with WATCHDOG.guard(deadline) as guard:
                guard.watch(sock)
                response, is_whole, reusable = _read_response(sock, method)
            # A process that stood still finds a whole answer after the deadline: it counts, since it ends the doubt.
            if guard.expired and not is_whole:
                raise TimeoutError
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.close()
            text = f"{self.name}: sent, but no whole answer: {self._cause(error, deadline)}"
            raise EspError(text, ambiguous=True) from None
        self._used_at = time.monotonic()
        if not reusable or guard.expired:
            self.close()
        return response

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def prepare(self, timeout_s: float) -> None:
        """Opens a connection unless it stands; the next exchange begins at once. Raises EspError, retryable."""
        self._connect_and_send(b"", time.monotonic() + timeout_s)

    def _connect_and_send(self, request: bytes, deadline: float) -> socket.socket:
        try:
            with WATCHDOG.guard(deadline) as guard:
                sock = self._connected(deadline, guard.watch)
                sock.sendall(request)
        except (OSError, ValueError) as error:
            self.close()
            raise EspError(f"{self.name}: not sent: {self._cause(error, deadline)}") from None
        return sock

    def close(self) -> None:
        """Closes the socket, if one is open. The next exchange opens a new one."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
        self._socket = None

    def _request(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.target.authority}", "Accept-Encoding: identity"]
        lines += [f"{key}: {value}" for key, value in headers.items()]
        lines.append(f"Content-Length: {len(body)}\r\n\r\n")
        return "\r\n".join(lines).encode("latin-1") + body

    def _connected(self, deadline: float, watch: Callable[[socket.socket], None]) -> socket.socket:
        """The kept socket if it is still usable, else a new one. The watchdog ends either at the deadline."""
        sock = self._socket
        if sock is not None and self._pid == os.getpid() and not self._is_stale(sock):
            watch(sock)
        else:
            self.close()
            sock = self._open(deadline, watch)
        sock.settimeout(_remaining_s(deadline))
        return sock

    def _is_stale(self, sock: socket.socket) -> bool:
        """Idle for too long, or readable before any request: the server has closed it, or sent something unasked."""
        if time.monotonic() - self._used_at > MAX_IDLE_S:
            return True
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))

    def _open(self, deadline: float, watch: Callable[[socket.socket], None]) -> socket.socket:
        sock = self._socket = outbound.connect(self.target, _remaining_s(deadline), allowed=self.allowed)
        self._pid = os.getpid()
        self._used_at = time.monotonic()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        watch(sock)
        if self.tls is not None:
            secured = self.tls.wrap_socket(sock, server_hostname=self.target.host, do_handshake_on_connect=False)
            sock = self._socket = secured
            watch(secured)
            secured.settimeout(_remaining_s(deadline))
            secured.do_handshake()
        return sock

    def _cause(self, error: Exception, deadline: float) -> str:
        if time.monotonic() >= deadline or isinstance(error, TimeoutError):
            return "out of time"
        # The class only: texts of these exceptions may quote what was read.
        return type(error).__name__


def _remaining_s(deadline: float) -> float:
    remaining_s = deadline - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError
    return remaining_s


def _read_response(sock: socket.socket, method: str) -> tuple[HttpResponse, bool, bool]:
    """The response, whether its last byte was read, and whether the connection can be used again. Reads
    MAX_RESPONSE_BYTES of the body at most."""
    response = http.client.HTTPResponse(_ReadableSocket(sock), method=method)  # type: ignore[arg-type]
    response.begin()
    body = response.read(MAX_RESPONSE_BYTES)
    if response.length and len(body) < MAX_RESPONSE_BYTES:
        raise http.client.IncompleteRead(b"", response.length)
    # Without a length, the last byte is known only by reading past it.
    is_whole = response.length == 0 or (response.chunked and not response.read(1))
    reusable = is_whole and not response.will_close and response.status >= 200
    return HttpResponse(response.status, response.headers, body), is_whole, reusable


class _ReadableSocket:
    """The one method of a socket that http.client.HTTPResponse calls."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, mode: str) -> io.BufferedReader:
        return _WholeLines(socket.SocketIO(self._sock, "r"))


class _WholeLines(io.BufferedReader):
    """Raises where the stream ends within a line: http.client would take that for the end of the headers."""

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(-1 if size is None else size)
        if not line.endswith(b"\n") and (size is None or size < 0 or len(line) < size):
            raise http.client.RemoteDisconnected("the connection ended within the head")
        return line
