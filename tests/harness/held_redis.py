"""A proxy in front of a Redis that holds replies back, and counts who waits for one."""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
from typing import Any

from tests.harness.ports import free_ports


class HeldRedis:
    """A context manager: `with HeldRedis(redis_url) as proxy: proxy.hold(); …; proxy.release()`.

    tls          the proxy's context, if it speaks TLS
    url          of the proxy
    max_waiting  how many connections waited for a reply at once while replies were held, at most
    """

    def __init__(self, redis_url: str, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._path = redis_url.removeprefix("unix://").partition("?")[0]
        (port,) = free_ports(1)
        self.url = f"{'rediss' if tls else 'redis'}://127.0.0.1:{port}"
        self.max_waiting = 0
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        # Each side's other one; of a client whether it has asked; and what is held back for it.
        self._others: dict[socket.socket, socket.socket] = {}
        self._waiting: set[socket.socket] = set()
        self._replies: dict[socket.socket, bytes] = {}
        self._is_held = self._is_refusing = self._is_over = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> HeldRedis:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()
        for sock in (self._listener, *self._others):
            sock.close()
        self._selector.close()

    def hold(self) -> None:
        """From now on replies are kept."""
        self._is_held = True

    def release(self) -> None:
        """Those that are kept go on, and later ones at once."""
        self._is_held = False

    def refuse(self) -> None:
        """From now on there is no Redis: connections end, and new ones do, too."""
        self._is_refusing = True

    def accept(self) -> None:
        """Redis is back."""
        self._is_refusing = False

    def _run(self) -> None:
        while not self._is_over:
            for key, _ in self._selector.select(0.02):
                sock: Any = key.fileobj
                if sock is self._listener:
                    self._accept()
                else:
                    self._pass_on(sock)
            if self._is_refusing:
                for sock in list(self._others):
                    self._end(sock)
            if not self._is_held:
                for client, reply in list(self._replies.items()):
                    del self._replies[client]
                    self._send(client, reply)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self._is_refusing:
            client.close()
            return
        if self._tls:
            try:
                client = self._tls.wrap_socket(client, server_side=True)
            except OSError:
                return
            client.setblocking(False)
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._path)
        for sock, other in ((client, server), (server, client)):
            self._others[sock] = other
            self._selector.register(sock, selectors.EVENT_READ)

    def _pass_on(self, sock: socket.socket) -> None:
        data = b""
        try:
            data = sock.recv(1 << 20)
            while isinstance(sock, ssl.SSLSocket) and sock.pending():
                data += sock.recv(1 << 20)
        except ssl.SSLWantReadError:
            return
        except OSError:
            pass
        other = self._others.get(sock)
        if not data or other is None:
            self._end(sock)
        elif sock.family == socket.AF_UNIX:
            self._waiting.discard(other)
            if self._is_held:
                self._replies[other] = self._replies.get(other, b"") + data
                self._waiting.add(other)
                self.max_waiting = max(self.max_waiting, len(self._waiting))
            else:
                self._send(other, data)
        else:
            self._send(other, data)

    def _send(self, sock: socket.socket, data: bytes) -> None:
        try:
            sock.setblocking(True)
            sock.sendall(data)
            sock.setblocking(not isinstance(sock, ssl.SSLSocket))
        except OSError:
            self._end(sock)

    def _end(self, sock: socket.socket) -> None:
        for side in (sock, self._others.pop(sock, None)):
            if side is not None and side.fileno() >= 0:
                self._others.pop(side, None)
                self._waiting.discard(side)
                self._replies.pop(side, None)
                self._selector.unregister(side)
                side.close()
