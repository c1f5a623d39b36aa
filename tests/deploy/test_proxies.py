"""The recipes of deploy/proxy/ in the real Caddy and the real nginx: honest orders pass whatever others send."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from adapter.sources.segment.signature import sign
from tests.harness.certificates import certificate
from tests.harness.ports import free_ports
from tests.harness.receiver_process import HEAD, ROOT, SECRET, TOKEN, Receiver, order_body, read_all

pytestmark = pytest.mark.tools
RECIPES = ROOT / "deploy" / "proxy"
NGINX = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/log warn;
events {{ worker_connections 2048; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/freshgate.conf;
}}
"""


class Proxy:
    """A proxy's process, and connections to it."""

    def __init__(self, port: int, tls: ssl.SSLContext | None) -> None:
        self.port, self._tls = port, tls

    def connect(self, first: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_hostname="127.0.0.1")
        connection.sendall(first)
        return connection

    def raw(self, sent: bytes) -> bytes:
        with self.connect(sent) as connection:
            return read_all(connection)

    def post(self, body: bytes, signed: bytes | None = None, **headers: str) -> tuple[int, float]:
        """Status, and seconds; status 0 is no answer."""
        started = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with suppress(OSError, http.client.HTTPException):
            connection.sock = self.connect()
            proof = {"X-Signature": sign(SECRET, body if signed is None else signed), "X-Freshgate-Token": TOKEN}
            connection.request("POST", "/webhooks/segment", body, {**proof, **headers})
            response = connection.getresponse()
            response.read()
            return response.status, time.monotonic() - started
        return 0, time.monotonic() - started


@pytest.fixture(scope="module")
def receiver(redis_server: str) -> Iterator[Receiver]:
    with Receiver(redis_server) as receiver:
        yield receiver


def nginx() -> str:
    """The path of nginx, from Debian's package. Without it the test is skipped; in CI it fails."""
    if not shutil.which("nginx"):
        try:
            command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "nginx-light"]
            subprocess.run(command, check=True, capture_output=True, timeout=100)
        except (OSError, subprocess.SubprocessError) as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"nginx cannot be installed: {error}")
    return str(shutil.which("nginx"))


def caddy() -> str:
    """The path of Caddy, which requirements-tools.txt installs."""
    beside = Path(sys.executable).with_name("caddy")
    return str(beside) if beside.exists() else shutil.which("caddy") or pytest.skip("Caddy is not installed")


@pytest.fixture(scope="module", params=["caddy", "nginx"])
def proxy(request: pytest.FixtureRequest, receiver: Receiver) -> Iterator[Proxy]:
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="freshgate-proxy-") as name, ExitStack() as held:
        folder = Path(name)
        environ = {"PATH": os.environ["PATH"], "HOME": name, "XDG_DATA_HOME": name, "XDG_CONFIG_HOME": name}
        tls = None
        if request.param == "caddy":
            # Over plain HTTP: for 127.0.0.1 no authority would sign. The global options are kept, and a few added.
            recipe = (RECIPES / "Caddyfile").read_text(encoding="utf-8")
            (folder / "Caddyfile").write_text(recipe.replace("\tservers {", "\tadmin off\n\tservers {", 1))
            environ |= {"FRESHGATE_SITE": f"http://:{port}"}
            environ |= {"FRESHGATE_UPSTREAM": f"127.0.0.1:{receiver.port}"}
            command = [caddy(), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
        else:
            tls = certificate(folder)
            recipe = (RECIPES / "nginx.conf").read_text(encoding="utf-8")
            for written, actual in (
                ("server 127.0.0.1:8080;", f"server 127.0.0.1:{receiver.port};"),
                ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
                ("/etc/ssl/hooks.your-shop.example.pem", f"{folder}/cert.pem"),
                ("/etc/ssl/hooks.your-shop.example.key", f"{folder}/key.pem"),
            ):
                assert written in recipe
                recipe = recipe.replace(written, actual)
            (folder / "freshgate.conf").write_text(recipe, encoding="utf-8")
            (folder / "nginx.conf").write_text(NGINX.format(folder=folder), encoding="utf-8")
            command = [nginx(), "-p", name, "-e", f"{name}/log", "-c", f"{name}/nginx.conf"]
        log = held.enter_context((folder / "output").open("wb"))
        process = subprocess.Popen(command, env=environ, cwd=folder, stdout=log, stderr=log)
        proxy = Proxy(port, tls)
        try:
            receiver.wait_for(lambda: process.poll() is not None or proxy.post(order_body("first"))[0] == 200)
            assert process.poll() is None, (folder / "output").read_text(encoding="utf-8")
            yield proxy
        finally:
            process.terminate()
            process.wait(20)


def orders(proxy: Proxy, count: int) -> list[int]:
    """The status of each of so many orders. One that is answered 503 is sent again, as a CDP does: on a machine that is
    busy with other things Redis may take longer than a request waits for it."""
    statuses = []
    for _ in range(count):
        body = order_body(f"proxied-{time.monotonic_ns()}")
        status = proxy.post(body)[0]
        statuses.append(proxy.post(body)[0] if status == 503 else status)
    return statuses


SLOW = {
    "nothing": b"",
    "headers": HEAD + b"X-A: ",
    "bodies": HEAD + b"Content-Length: 100000\r\n\r\n{",
    "large bodies": HEAD + b"Content-Length: 8000000\r\n\r\n" + b" " * 200_000,
    "chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n10000\r\n{",
}


@pytest.mark.parametrize("slow", SLOW)
def test_orders_pass_while_two_hundred_slow_callers_hold_connections(proxy: Proxy, slow: str) -> None:
    stop = threading.Event()
    with ExitStack() as held:
        connections = [held.enter_context(proxy.connect(SLOW[slow])) for _ in range(200)]

        def drip() -> None:
            while not stop.wait(2):
                for connection in connections:
                    with suppress(OSError):
                        connection.sendall(b"a" if slow != "nothing" else b"")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            deadline = time.monotonic() + 12
            while time.monotonic() < deadline:
                assert orders(proxy, 3) == [200] * 3
        finally:
            stop.set()
            thread.join()


def test_a_body_is_passed_on_byte_for_byte(proxy: Proxy) -> None:
    body = order_body("bytes").replace(b'"total":1', '"total" : 1.0,"n":"é🛒\\u00e9\\r\\n\t"'.encode())
    assert proxy.post(body.replace(b"\t", b"  "))[0] == 200
    event = json.loads(order_body("many"))
    elements = [
        json.dumps({**event, "messageId": f"p-{time.monotonic_ns()}-{number}", "note": "x" * 3000}).encode()
        for number in range(2000)
    ]
    assert proxy.post(b"[" + b",".join(elements) + b"]", elements[0])[0] == 200


def test_a_body_in_chunks_is_taken(proxy: Proxy) -> None:
    body = order_body(f"chunks-{time.monotonic_ns()}")
    head = HEAD + b"X-Signature: %b\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    answer = proxy.raw(head % sign(SECRET, body).encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_too_large_a_body_is_413(proxy: Proxy) -> None:
    with proxy.connect(HEAD + b"Content-Length: %d\r\n\r\n" % (1 << 30)) as connection:
        # Caddy answers once it has read some of it. Whoever goes on sending then is reset, and may miss the answer.
        with suppress(OSError):
            for _ in range(320):
                if select.select([connection], [], [], 0.001)[0]:
                    break
                connection.sendall(bytes(64 << 10))
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_link_to_unsubscribe_passes(proxy: Proxy) -> None:
    request = f"GET /unsubscribe/token HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\nConnection: close\r\n\r\n"
    assert b"This link is not known" in proxy.raw(request.encode())


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/readyz", "/healthz", "/openapi.json", "/metrics", "//readyz", "/webhooks", "/webhooks/"),
        *("/webhooks/../readyz", "/webhooks/%2e%2e/readyz", "/webhooks/..%2freadyz", "/webhooks/x/../../readyz"),
        *("/webhooks//../../readyz", "/v1/..;/readyz", "/freshgate.js/../readyz", "/WEBHOOKS/../readyz"),
    ],
)
@pytest.mark.parametrize(
    "header", ["X-A: b", "SCRIPT_NAME: /webhooks", "PATH_INFO: /readyz", "X-Original-URL: /readyz"]
)
def test_nothing_else_is_reached_from_outside(proxy: Proxy, path: str, header: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\n{header}\r\nConnection: close\r\n\r\n"
    answer = proxy.raw(request.encode())
    assert re.match(rb"HTTP/1\.[01] (30[178]|400|404|405) ", answer), answer[:200]
    assert b"problems" not in answer and b'"ok"' not in answer and b"openapi" not in answer


def test_the_snippet_is_served(proxy: Proxy) -> None:
    request = f"GET /freshgate.js HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\nConnection: close\r\n\r\n"
    assert proxy.raw(request.encode()).startswith(b"HTTP/1.1 200 ")


SMUGGLED = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
SMUGGLING = {
    "length and chunks": HEAD + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}" + SMUGGLED,
    "chunked with a tab": HEAD + b"Transfer-Encoding:\tchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "another coding": HEAD + b"Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a space before the colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "an extension with a line feed": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0;\n\r\n\r\n" + SMUGGLED,
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_no_request_is_smuggled_past_the_path_filter(proxy: Proxy, name: str) -> None:
    with proxy.connect(SMUGGLING[name]) as connection:
        connection.settimeout(3)
        answer = b""
        with suppress(OSError):
            answer = read_all(connection)
    assert b"problems" not in answer and b'"ready"' not in answer
