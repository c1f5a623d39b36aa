"""A source of truth of the tests' own: HTTP on 127.0.0.1 that answers as the test says, and remembers what was asked.

`tests/engine/test_asks.py` asks it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """What a request is answered. `body` is JSON, or bytes as they are. `hangs` never answers."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = {}
    hangs: bool = False


class TruthServer:
    """A context manager: `with TruthServer() as truth: truth.reply = Reply({"level": 3})`.

    reply    what each request is answered: a Reply, or a function of its path that returns one; it may block
    paths    path and query of each request, oldest first
    headers  of the newest request
    """

    def __init__(self) -> None:
        self.reply: Reply | Callable[[str], Reply] = Reply({})
        self.paths: list[str] = []
        self.headers: Mapping[str, str] = {}
        self.in_flight = self.max_in_flight = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> TruthServer:
        truth = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                truth._take(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: object, client_address: object) -> None:
                """Callers that gave up are expected."""

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.paths.append(handler.path)
            self.headers = dict(handler.headers)
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            reply = self.reply if isinstance(self.reply, Reply) else self.reply(handler.path)
            if reply.hangs:
                self._closed.wait(30)
                return
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            handler.send_response(reply.status)
            for name, value in {"Content-Length": str(len(body)), **reply.headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body)
        finally:
            with self._lock:
                self.in_flight -= 1
