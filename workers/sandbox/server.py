"""The sandbox: a local stand-in for the ESPs that keeps the mails it accepts, and plays faults on request.

`handler.py` answers over HTTP, `smtp_server.py` plays SMTP, `outbox_page.py` draws.
"""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections import deque
from typing import Any

from freshgate.errors import SettingsError
from freshgate.outbound import is_loopback
from freshgate.settings_parsing import setting_name
from workers.sandbox.faults import Faults
from workers.sandbox.handler import Handler, SandboxServer
from workers.sandbox.reports import Reporter
from workers.sandbox.smtp_server import SmtpServer

SHUTDOWN_POLL_S = 0.02


class Sandbox:
    """The server and its outbox. As a context manager it serves in a thread; port 0 picks a free one.

    The outbox keeps the newest `keep` mails. Raises SettingsError for a host beyond loopback without a password.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        keep: int = 20000,
        password: str = "",
        smtp_port: int | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        if not is_loopback(host) and not password:
            raise SettingsError(
                f"the sandbox shows mails: on {host} it needs a password; set FRESHGATE_SANDBOX_PASSWORD"
            )
        self.host, self.password = host, password
        self.faults = Faults()
        self.reporter = reporter
        self.stopping = threading.Event()
        # What an API keeps between calls, such as idempotency keys.
        self.memory: dict[str, Any] = {}
        # Each mail as JSON, as `GET /messages` lists it.
        self.outbox: deque[bytes] = deque(maxlen=keep)
        self._server = _Server((host, port), self)
        self.port: int = self._server.server_address[1]
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        self.smtp: SmtpServer | None = None
        if smtp_port is not None:
            try:
                self.smtp = SmtpServer(host, smtp_port, self.outbox, self.faults, self.stopping, password)
            except OSError:
                self._server.server_close()
                raise
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(SHUTDOWN_POLL_S,), name="sandbox", daemon=True
        )

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The mails as `GET /messages` lists them, newest last."""
        return [json.loads(message) for message in list(self.outbox)]

    def __enter__(self) -> Sandbox:
        self._thread.start()
        if self.smtp:
            self.smtp.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        if self.smtp:
            self.smtp.stop()
        self._server.shutdown()
        self._server.server_close()
        self._server.end_connections()


def serve(
    host: str,
    port: int,
    password: str = "",
    *,
    keep: int = 20000,
    smtp_port: int = 0,
    reporter: Reporter | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then ends at once. Raises SettingsError if a port is taken.

    smtp_port  where it takes mails by SMTP, too; 0 for none
    reporter   reports of each mail what became of it; None reports nothing
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        sandbox = Sandbox(host, port, keep=keep, password=password, smtp_port=smtp_port or None, reporter=reporter)
    except OSError as error:
        key = (
            f"{setting_name('sandbox_port')}, {setting_name('sandbox_smtp_port')}"
            if smtp_port
            else setting_name("sandbox_port")
        )
        ports = f"{port} or {smtp_port}" if smtp_port else str(port)
        raise SettingsError(f"{key}: {host}:{ports} cannot be used: {error.strerror}; write another") from None
    with sandbox:
        stop.wait()


class _Server(SandboxServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], sandbox: Sandbox) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sandbox = sandbox
        self._open_requests: set[socket.socket] = set()
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        # The parent would also ask DNS for this machine's name, which may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open_requests.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open_requests.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        for request in list(self._open_requests):
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stays silent: clients go away, and the parent would print a traceback for each."""
