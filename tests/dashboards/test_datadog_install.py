"""The installer against a stand-in of DataDog's API: it makes what is missing, and changes what is there.

What it sends is held against DataDog's models in `test_datadog_live.py`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from dashboards.datadog import install
from tests.dashboards.test_datadog import documents


class Fake(BaseHTTPRequestHandler):
    """DataDog's API as far as the installer uses it."""

    def _take(self) -> None:
        server: Any = self.server
        length = int(self.headers.get("content-length", 0))
        document = json.loads(self.rfile.read(length) or b"{}")
        kind, _, number = self.path.removeprefix("/api/v1/").partition("?")[0].partition("/")
        server.asked.append((self.command, kind))
        if self.headers["dd-api-key"] != "right":
            self._answer(403, {"errors": ["Forbidden"]})
        elif self.command == "GET":
            kept = [{**one, "id": at} for at, one in server.kept[kind].items()]
            self._answer(200, {"dashboards": kept} if kind == "dashboard" else kept)
        else:
            at = number or str(1000 + len(server.kept[kind]))
            server.kept[kind][at] = document
            self._answer(200, {**document, "id": at})

    do_GET = do_POST = do_PUT = _take

    def _answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Not on the tests' console."""


@pytest.fixture
def datadog(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), Fake)
    server.kept, server.asked = {"dashboard": {}, "monitor": {}}, []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    for name, value in {"SITE": f"http://127.0.0.1:{server.server_port}", "API_KEY": "right", "APP_KEY": "app"}.items():
        monkeypatch.setenv(f"DD_{name}", value)
    yield server
    server.shutdown()
    server.server_close()


def test_the_installer_puts_all_of_it_there_and_a_second_time_changes_nothing_else(datadog: Any) -> None:
    assert install.main([]) == 0
    made = [len(documents("boards")), sum(len(one) for one in documents("monitors").values())]
    assert [len(datadog.kept[kind]) for kind in ("dashboard", "monitor")] == made
    composites = {at: one for at, one in datadog.kept["monitor"].items() if one["type"] == "composite"}
    assert composites
    for one in composites.values():
        numbers = re.findall(r"\d+", one["query"])
        assert re.fullmatch(r"!?\d+( (&&|\|\|) !?\d+)+", one["query"])
        assert {f"part_of:{one['tags'][2].removeprefix('alert:')}"} <= set(datadog.kept["monitor"][numbers[0]]["tags"])
    before = json.dumps(datadog.kept)
    datadog.asked.clear()
    assert install.main([]) == 0
    assert json.dumps(datadog.kept) == before
    assert not [method for method, _ in datadog.asked if method == "POST"]


def test_the_installer_says_what_is_wrong(
    datadog: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DD_API_KEY", "wrong")
    assert install.main(["--only", "monitors"]) == 1
    assert (
        capsys.readouterr().err
        == 'datadog: GET monitor?monitor_tags=service:freshgate: 403 {"errors": ["Forbidden"]}\n'
    )
    monkeypatch.delenv("DD_APP_KEY")
    assert install.main([]) == 2
    assert "DD_APP_KEY" in capsys.readouterr().err
