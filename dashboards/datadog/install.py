"""`python -m dashboards.datadog.install`: puts the dashboards and monitors into DataDog, or brings them up to date.

What is there already is known by its title or name, and changed; nothing is removed. It sends what is committed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
TIMEOUT_S = 30.0
EPILOG = """examples:
  DD_API_KEY=… DD_APP_KEY=… python -m dashboards.datadog.install
  DD_SITE=datadoghq.eu DD_API_KEY=… DD_APP_KEY=… python -m dashboards.datadog.install --only monitors

The application key needs the scopes dashboards_write, dashboards_read, monitors_write and monitors_read."""


class Refused(Exception):
    """DataDog did not take it; the text says what it said."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dashboards.datadog.install",
        description="put our dashboards and monitors into DataDog, or bring them up to date",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=("boards", "monitors"), default="", help="one of both")
    options = parser.parse_args(arguments)
    keys = {name: os.environ.get(name, "") for name in ("DD_API_KEY", "DD_APP_KEY")}
    if not all(keys.values()):
        print(f"set {' and '.join(name for name, key in keys.items() if not key)}", file=sys.stderr)
        return 2
    site = os.environ.get("DD_SITE", "datadoghq.com")
    account = Account(f"https://api.{site}" if "://" not in site else site, *keys.values())
    try:
        if options.only != "monitors":
            boards(account)
        if options.only != "boards":
            monitors(account)
    except (Refused, OSError, http.client.HTTPException) as error:
        print(f"datadog: {error}", file=sys.stderr)
        return 1
    return 0


class Account:
    """DataDog's API, version 1 (docs.datadoghq.com/api/latest)."""

    def __init__(self, url: str, api_key: str, app_key: str) -> None:
        self._url = urlsplit(url)
        self._headers = {"dd-api-key": api_key, "dd-application-key": app_key, "content-type": "application/json"}

    def ask(self, method: str, path: str, document: Any = None) -> Any:
        """The answer. Raises Refused, OSError."""
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._url.netloc, timeout=TIMEOUT_S)
        try:
            body = None if document is None else json.dumps(document).encode()
            connection.request(method, f"/api/v1/{path}", body, self._headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise Refused(f"{method} {path}: {answer.status} {text[:500].decode(errors='replace')}")
        return json.loads(text)


def boards(account: Account) -> None:
    known = {one["title"]: one["id"] for one in account.ask("GET", "dashboard")["dashboards"]}
    for _, board in _documents("boards"):
        there = known.get(board["title"])
        account.ask("PUT" if there else "POST", f"dashboard/{there}" if there else "dashboard", board)
        print(f"{'changed' if there else 'made'} dashboard {board['title']}")


def monitors(account: Account) -> None:
    """The parts of a composite come before it, so that their numbers are known."""
    found = account.ask("GET", "monitor?monitor_tags=service:freshgate")
    numbers = {one["name"]: int(one["id"]) for one in found}
    for name, made in _documents("monitors"):
        for monitor in made:
            query = numbered(monitor["query"], numbers)
            there = numbers.get(monitor["name"])
            where = f"monitor/{there}" if there else "monitor"
            answer = account.ask("PUT" if there else "POST", where, {**monitor, "query": query})
            numbers[monitor["name"]] = int(answer["id"])
        print(f"monitor {name}")


def numbered(query: str, numbers: dict[str, int]) -> str:
    """`{{id:MailsLate part 1}} && …` → `123 && …`."""
    return re.sub(r"\{\{id:([^}]*)\}\}", lambda match: str(numbers[f"Freshgate: {match[1]}"]), query)


def _documents(folder: str) -> Iterator[tuple[str, Any]]:
    for file in sorted((HERE / folder).glob("*.json")):
        yield file.stem, json.loads(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
