"""The installer against a fake of DataDog's API: it creates missing documents and updates existing ones.

`test_datadog_live.py` checks the documents with DataDog's models.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qsl

import pytest

from dashboards.datadog import install
from tests.dashboards.test_datadog import documents


class Fake(BaseHTTPRequestHandler):
    """The part of DataDog's API that the installer uses."""

    def _take(self) -> None:
        server: Any = self.server
        length = int(self.headers.get("content-length", 0))
        document = json.loads(self.rfile.read(length) or b"{}")
        path, _, asked = self.path.removeprefix("/api/v1/").replace("logs/config/", "").partition("?")
        resource, _, number = path.partition("/")
        server.requests.append((self.command, resource))
        if self.headers["dd-api-key"] != "right":
            self._answer(403, {"errors": ["Forbidden"]})
        elif self.command == "GET":
            documents = [{**document, "id": number} for number, document in server.stored[resource].items()]
            if resource == "dashboard":
                # A hundred at most, also for those who do not ask for pages.
                page = {name: int(value) for name, value in parse_qsl(asked)}
                documents = documents[page.get("start", 0) :][: page.get("count", 100)]
            named = {"dashboard": {"dashboards": documents}, "slo": {"data": documents}}
            self._answer(200, named.get(resource, documents))
        else:
            number = number or str(1000 + len(server.stored[resource]))
            server.stored[resource][number] = document
            self._answer(200, {**document, "id": number})

    do_GET = do_POST = do_PUT = _take

    def _answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps requests off the tests' console."""


@pytest.fixture
def datadog(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), Fake)
    server.stored, server.requests = {"dashboard": {}, "monitor": {}, "pipelines": {}, "slo": {}}, []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    for name, value in {"SITE": f"http://127.0.0.1:{server.server_port}", "API_KEY": "right", "APP_KEY": "app"}.items():
        monkeypatch.setenv(f"DD_{name}", value)
    yield server
    server.shutdown()
    server.server_close()


def test_the_installer_puts_all_of_it_there_and_a_second_time_changes_nothing_else(datadog: Any) -> None:
    assert install.main([]) == 0
    boards, monitors = documents("boards"), documents("monitors").values()
    # Of the log lines: a board and the pipeline. And the two objectives.
    expected = [len(boards) + 1, sum(len(parts) for parts in monitors), 1, 2]
    assert [len(stored) for stored in datadog.stored.values()] == expected
    composites = {
        number: monitor for number, monitor in datadog.stored["monitor"].items() if monitor["type"] == "composite"
    }
    assert composites
    for monitor in composites.values():
        numbers = re.findall(r"\d+", monitor["query"])
        assert re.fullmatch(r"[!(]*\d+\)*( (&&|\|\|) [!(]*\d+\)*)+", monitor["query"])
        assert monitor["query"].count("(") == monitor["query"].count(")")
        assert {f"part_of:{monitor['tags'][2].removeprefix('alert:')}"} <= set(
            datadog.stored["monitor"][numbers[0]]["tags"]
        )
    assert [objective["type"] for objective in datadog.stored["slo"].values()] == ["metric"] * 2
    before = json.dumps(datadog.stored)
    datadog.requests.clear()
    assert install.main([]) == 0
    assert json.dumps(datadog.stored) == before
    assert not [method for method, _ in datadog.requests if method == "POST"]


def test_an_account_with_many_dashboards_gets_each_of_ours_once(datadog: Any) -> None:
    others = {str(number): {"title": f"Somebody's {number}"} for number in range(250)}
    datadog.stored["dashboard"].update(others)
    for _ in range(2):
        assert install.main(["--only", "boards"]) == 0
    titles = [board["title"] for board in datadog.stored["dashboard"].values()]
    assert len(titles) == len(set(titles)) == len(others) + len(documents("boards"))


def test_monitors_link_their_runbooks_where_these_are(
    datadog: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install.main(["--only", "monitors"]) == 0
    assert "RUNBOOKS_URL" in capsys.readouterr().err
    monkeypatch.setenv("RUNBOOKS_URL", "https://git.example/shop/runbooks/")
    assert install.main(["--only", "monitors"]) == 0
    assert capsys.readouterr().err == ""
    texts = [monitor["message"] for monitor in datadog.stored["monitor"].values() if monitor.get("priority")]
    assert all(re.search(r"What to do: https://git\.example/shop/runbooks/[A-Z]\w+\.md$", text) for text in texts)


def test_the_installer_says_what_is_wrong(
    datadog: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNBOOKS_URL", "https://git.example/runbooks")
    monkeypatch.setenv("DD_API_KEY", "wrong")
    assert install.main(["--only", "monitors"]) == 1
    assert (
        capsys.readouterr().err
        == 'datadog: GET monitor?monitor_tags=service:freshgate: 403 {"errors": ["Forbidden"]}\n'
    )
    monkeypatch.delenv("DD_APP_KEY")
    assert install.main([]) == 2
    assert "DD_APP_KEY" in capsys.readouterr().err
