"""An ESP of the tests' own that speaks SendGrid's mail/send over real HTTP, and answers as the test says.

It remembers each mail that it took, with the time of its arrival. `bench/stub.py` is the bench's, and faster.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple


class Mail(NamedTuple):
    """A mail that was taken: by its trigger and send id, to an address, at a time (monotonic seconds)."""

    trigger: str
    send: str
    to: str
    at: float


class Answer(NamedTuple):
    """What a call is answered, after `delay_s`. `hangs` takes the mail and does not answer, until the server closes."""

    status: int = 202
    headers: Mapping[str, str] = {}
    hangs: bool = False
    delay_s: float = 0.0


ACCEPTED = Answer()
HANGS = Answer(hangs=True)
QUEUE_SIZE = 256
PROC_TCP = Path("/proc/net/tcp")
# The state of a connection in PROC_TCP whose first packet is not answered.
SYN_SENT = "02"


class EspServer:
    """A context manager: `with EspServer() as esp: esp.answer = Answer(401)`.

    answer  what each call is answered: an Answer, or a function of the mail that returns one
            may block, so that the call is held
    mails   the mails that were accepted, or taken by a call that hangs, oldest first
    calls   how many calls came
    """

    def __init__(self) -> None:
        self.answer: Answer | Callable[[Mail], Answer] = ACCEPTED
        self.mails: list[Mail] = []
        self.calls = 0
        self.in_flight = self.max_in_flight = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._accepting = threading.Lock()
        self._open: set[socket.socket] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._take(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = QUEUE_SIZE

            def get_request(self) -> Any:
                with outer._accepting:
                    request, address = super().get_request()
                    outer._open.add(request)
                    return request, address

            def shutdown_request(self, request: Any) -> None:
                outer._open.discard(request)
                super().shutdown_request(request)

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> EspServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def connecting_held(self) -> Iterator[None]:
        """Ends all connections, and no new one comes about within: whoever opens one waits, and gets it about a second
        after the end."""
        listener = self._server.socket
        with self._accepting:
            listener.listen(0)
            for connection in list(self._open):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            # It takes the only place of the queue.
            with socket.create_connection(listener.getsockname(), timeout=10):
                try:
                    yield
                finally:
                    listener.listen(QUEUE_SIZE)

    def is_awaited(self) -> bool:
        """Whether somebody waits for a connection, under `connecting_held`."""
        port = f":{self._server.server_address[1]:04X}"
        rows = [line.split() for line in PROC_TCP.read_text(encoding="ascii").splitlines()[1:]]
        return any(row[2].endswith(port) and row[3] == SYN_SENT for row in rows)

    def sends(self, trigger: str = "") -> list[str]:
        """The send ids of the mails that were taken, of one trigger if it is named."""
        with self._lock:
            return [mail.send for mail in self.mails if trigger in ("", mail.trigger)]

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        body: Any = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        personalizations = body["personalizations"]
        mails = [
            Mail(
                part["custom_args"]["freshgate_trigger"],
                part["custom_args"]["freshgate_send"],
                part["to"][0]["email"],
                time.monotonic(),
            )
            for part in personalizations
        ]
        answer = self.answer(mails[0]) if callable(self.answer) else self.answer
        with self._lock:
            self.calls += 1
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
            if answer.hangs or 200 <= answer.status < 300:
                self.mails += mails
        try:
            if answer.hangs:
                self._closed.wait()
                return
            self._closed.wait(answer.delay_s)
            # Before the answer: whoever has it may call again at once.
            self._end()
            handler.send_response(answer.status)
            for name, value in answer.headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        except OSError:
            # The caller gave up.
            pass

    def _end(self) -> None:
        with self._lock:
            self.in_flight -= 1
