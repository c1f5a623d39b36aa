"""A pager for the demo: shows what Alertmanager would wake somebody for, and serves the runbooks. Needs Python only.

    python deploy/pager.py [--host 127.0.0.1] [--port 8026] [--runbooks dashboards/runbooks]

It wakes nobody. In production, Alertmanager's configuration names receivers of your own.
"""

import argparse
import html
import json
import re
import signal
import sys
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MAX_BODY_BYTES = 1_000_000
MAX_NOTIFICATIONS = 200
RUNBOOKS = Path(__file__).resolve().parents[1] / "dashboards" / "runbooks"
STYLE = "body{font:15px sans-serif;margin:2em}td,th{padding:.3em 1em;text-align:left}.page{color:#c4162a}"
EMPTY = "<p>Nothing yet: this page shows what would wake somebody (<b>page</b>) or wait for the morning (ticket).</p>"


class Notification:
    """One alert as Alertmanager sent it. Only texts are read, and links that begin with http."""

    def __init__(self, receiver: object, alert: dict[str, Any]) -> None:
        labels, annotations = alert.get("labels", {}), alert.get("annotations", {})
        self.receiver = str(receiver)
        self.status = str(alert.get("status", ""))
        self.starts_at = str(alert.get("startsAt", ""))[:19]
        self.alert = str(labels.get("alertname", ""))
        self.severity = str(labels.get("severity", ""))
        self.summary = str(annotations.get("summary", ""))
        self.runbook = str(annotations.get("runbook_url", ""))
        self.dashboard = str(annotations.get("dashboard_url", ""))

    def row(self) -> str:
        links = [
            f'<a href="{html.escape(url)}">{name}</a>'
            for name, url in (("runbook", self.runbook), ("board", self.dashboard))
            if re.match("https?://", url)
        ]
        texts = (self.starts_at, self.status, self.severity, self.alert, self.summary)
        cells = "".join(f"<td>{html.escape(text)}</td>" for text in texts)
        return f'<tr class="{html.escape(self.severity)}">{cells}<td>{" ".join(links)}</td></tr>'


class Pager(ThreadingHTTPServer):
    """Remembers the newest notifications."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], runbooks: Path) -> None:
        self.runbooks = runbooks
        self.notifications: deque[Notification] = deque(maxlen=MAX_NOTIFICATIONS)
        super().__init__(address, Handler)

    def take(self, body: bytes) -> None:
        """Stores Alertmanager's webhook of version 4. Raises ValueError."""
        message = json.loads(body)
        if not isinstance(message, dict) or not isinstance(message.get("alerts"), list):
            raise ValueError("not a notification")
        for alert in message["alerts"]:
            if isinstance(alert, dict):
                self.notifications.append(Notification(message.get("receiver", ""), alert))


class Handler(BaseHTTPRequestHandler):
    timeout = 10
    server: Pager

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self._reply(413, "too large\n")
            return
        try:
            self.server.take(self.rfile.read(int(length)))
        except ValueError:
            self._reply(400, "not a notification of Alertmanager\n")
            return
        self._reply(200, "ok\n")

    def do_GET(self) -> None:
        if self.path == "/":
            self._reply(200, self._page(), "text/html; charset=utf-8")
        elif self.path == "/notifications":
            self._reply(200, json.dumps([vars(at) for at in self.server.notifications]), "application/json")
        elif match := re.fullmatch(r"/runbooks/([A-Za-z]+)\.md", self.path):
            file = self.server.runbooks / f"{match[1]}.md"
            known = file.is_file()
            self._reply(200 if known else 404, file.read_text(encoding="utf-8") if known else "no such runbook\n")
        else:
            self._reply(404, "not here\n")

    def _page(self) -> str:
        rows = "".join(at.row() for at in reversed(self.server.notifications) if at.alert != "Watchdog")
        head = "<tr><th>since (UTC)</th><th>status</th><th>severity</th><th>alert</th><th>summary</th><th></th></tr>"
        table = f"<table>{head}{rows}</table>" if rows else EMPTY
        title = "What would page"
        refresh = '<meta http-equiv="refresh" content="10">'
        return f"<!doctype html><title>{title}</title>{refresh}<style>{STYLE}</style><h1>{title}</h1>{table}"

    def _reply(self, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-content-type-options", "nosniff")
        self.send_header("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *_: object) -> None:
        """Says nothing: the page shows it."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="show what Alertmanager would wake somebody for")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8026)
    parser.add_argument("--runbooks", type=Path, default=RUNBOOKS)
    options = parser.parse_args(arguments)
    server = Pager((options.host, options.port), options.runbooks)
    for number in (signal.SIGINT, signal.SIGTERM):
        # From another thread: shutdown waits for the loop that this signal interrupts.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
