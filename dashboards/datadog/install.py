"""`python -m dashboards.datadog.install`: creates or updates our dashboards, monitors, objectives and log pipeline.

It recognises existing ones by their title or name, and removes nothing.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FOLDER = Path(__file__).resolve().parent
TIMEOUT_S = 30.0
PAGE_SIZE = 100
EPILOG = """examples:
  DD_API_KEY=… DD_APP_KEY=… python -m dashboards.datadog.install
  DD_SITE=datadoghq.eu DD_API_KEY=… DD_APP_KEY=… python -m dashboards.datadog.install --only monitors

The application key needs the scopes dashboards_write, dashboards_read, monitors_write, monitors_read, slos_write,
slos_read, logs_read_config and logs_write_pipelines. RUNBOOKS_URL, where a browser finds the runbooks, makes their
names in the monitors links."""
# How the committed monitors name a runbook.
RUNBOOKS = "dashboards/runbooks/"


class RequestRefused(Exception):
    """DataDog refused a request; the text has its status and reply."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dashboards.datadog.install",
        description="create or update our dashboards, monitors, objectives and log pipeline in DataDog",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=tuple(PARTS), help="install only these (default: all)")
    options = parser.parse_args(arguments)
    keys = {name: os.environ.get(name, "") for name in ("DD_API_KEY", "DD_APP_KEY")}
    if not all(keys.values()):
        print(f"set {' and '.join(name for name, key in keys.items() if not key)}", file=sys.stderr)
        return 2
    site = os.environ.get("DD_SITE", "datadoghq.com")
    account = Account(f"https://api.{site}" if "://" not in site else site, *keys.values())
    try:
        for part, install in PARTS.items():
            if options.only in (None, part):
                install(account)
    except (RequestRefused, OSError, http.client.HTTPException) as error:
        print(f"datadog: {error}", file=sys.stderr)
        return 1
    return 0


class Account:
    """DataDog's API, version 1 (docs.datadoghq.com/api/latest)."""

    def __init__(self, url: str, api_key: str, app_key: str) -> None:
        self._url = urlsplit(url)
        self._headers = {"dd-api-key": api_key, "dd-application-key": app_key, "content-type": "application/json"}

    def request(self, method: str, path: str, document: Any = None) -> Any:
        """The reply's JSON. Raises RequestRefused, OSError."""
        is_tls = self._url.scheme == "https"
        connection_type = http.client.HTTPSConnection if is_tls else http.client.HTTPConnection
        connection = connection_type(self._url.netloc, timeout=TIMEOUT_S)
        try:
            body = None if document is None else json.dumps(document).encode()
            connection.request(method, f"/api/v1/{path}", body, self._headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise RequestRefused(f"{method} {path}: {response.status} {text[:500].decode(errors='replace')}")
        return json.loads(text)


def install_boards(account: Account) -> None:
    _install_boards(account, [board for _, board in _read_documents("boards")])


def install_logs(account: Account) -> None:
    """The pipeline that reads our lines, and the board that shows them."""
    documents = dict(_read_documents("logs"))
    _install_boards(account, [documents["board"]])
    pipeline = documents["pipeline"]
    ids = {installed["name"]: installed["id"] for installed in account.request("GET", "logs/config/pipelines")}
    pipeline_id = ids.get(pipeline["name"])
    path = f"logs/config/pipelines/{pipeline_id}" if pipeline_id else "logs/config/pipelines"
    account.request("PUT" if pipeline_id else "POST", path, pipeline)
    print(f"{'updated' if pipeline_id else 'created'} log pipeline {pipeline['name']}")


def _install_boards(account: Account, boards: Iterable[Any]) -> None:
    ids = {board["title"]: board["id"] for board in _list_boards(account)}
    for board in boards:
        board_id = ids.get(board["title"])
        account.request("PUT" if board_id else "POST", f"dashboard/{board_id}" if board_id else "dashboard", board)
        print(f"{'updated' if board_id else 'created'} dashboard {board['title']}")


def _list_boards(account: Account) -> Iterable[Any]:
    """All dashboards of the account; one reply has a hundred."""
    boards: dict[str, Any] = {}
    while True:
        page = account.request("GET", f"dashboard?start={len(boards)}&count={PAGE_SIZE}")["dashboards"]
        new = {board["id"]: board for board in page if board["id"] not in boards}
        if not new:
            return boards.values()
        boards |= new


def install_monitors(account: Account) -> None:
    """The parts of a composite come before it, so that their ids are known."""
    runbooks = os.environ.get("RUNBOOKS_URL", "").rstrip("/")
    if not runbooks:
        print("monitors name their runbooks; set RUNBOOKS_URL for links to them", file=sys.stderr)
    installed = account.request("GET", "monitor?monitor_tags=service:freshgate")
    ids = {monitor["name"]: int(monitor["id"]) for monitor in installed}
    for name, monitors in _read_documents("monitors"):
        for monitor in monitors:
            query = with_ids(monitor["query"], ids)
            monitor_id = ids.get(monitor["name"])
            path = f"monitor/{monitor_id}" if monitor_id else "monitor"
            message = monitor["message"].replace(RUNBOOKS, f"{runbooks}/") if runbooks else monitor["message"]
            changed = {**monitor, "query": query, "message": message}
            reply = account.request("PUT" if monitor_id else "POST", path, changed)
            ids[monitor["name"]] = int(reply["id"])
        print(f"monitor {name}")


def install_objectives(account: Account) -> None:
    installed = account.request("GET", "slo?tags_query=service:freshgate")["data"]
    ids = {objective["name"]: objective["id"] for objective in installed}
    for objective in json.loads((FOLDER / "objectives.json").read_text(encoding="utf-8")):
        objective_id = ids.get(objective["name"])
        account.request("PUT" if objective_id else "POST", f"slo/{objective_id}" if objective_id else "slo", objective)
        print(f"{'updated' if objective_id else 'created'} objective {objective['name']}")


def with_ids(query: str, ids: dict[str, int]) -> str:
    """`{{id:MailsLate part 1}} && …` → `123 && …`."""
    return re.sub(r"\{\{id:([^}]*)\}\}", lambda match: str(ids[f"Freshgate: {match[1]}"]), query)


def _read_documents(folder: str) -> Iterator[tuple[str, Any]]:
    for file in sorted((FOLDER / folder).glob("*.json")):
        yield file.stem, json.loads(file.read_text(encoding="utf-8"))


PARTS = {
    "boards": install_boards,
    "monitors": install_monitors,
    "objectives": install_objectives,
    "logs": install_logs,
}

if __name__ == "__main__":
    sys.exit(main())
