"""`python -m adapter replay`: posts recorded or fixture payloads to a running receiver, signed as their CDP does.

`proof.py` makes the headers. Waits when the receiver asks to, and counts the verdicts.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from adapter.commands.post.proof import proof
from adapter.commands.terminal import Progress
from freshgate.errors import FreshgateError, SettingsError
from freshgate.local_settings import load_local_settings
from freshgate.settings_parsing import setting_name
from freshgate.telemetry.metrics import VERDICTS

HELP = "post recorded or fixture payloads to a running receiver, signed"
EPILOG = """examples:
  python -m adapter replay body.json --to http://127.0.0.1:8080/webhooks/segment
  python -m adapter replay monday.jsonl --to http://127.0.0.1:8080/webhooks/shop --sign-as segment --rate 50
  python -m adapter replay monday.jsonl --to http://127.0.0.1:8080/webhooks/segment --again
  python -m adapter replay batches.jsonl --to http://127.0.0.1:8080/v1/batch --sign-as backend  (kind tracking)

A .json file is one body, posted byte for byte. A .jsonl or .ndjson file has one body a line. In a folder, all .json
files but *.expected.json are posted, in the order of their names. After a 503, it waits as long as Retry-After says.

Events that were received before are duplicates. With --again they are recorded once more, which needs one of the
source's tokens. Mails still leave through the gate only: an event that is too old, or whose mail was sent already,
sends nothing. What bodies say of an address holds, too: a bounce in them stops all mail to it for good. The exit code
is 1 unless every body was answered with 200."""
TIMEOUT_S = 60.0
MAX_WAIT_S = 60.0
MAX_TOTAL_WAIT_S = 600.0
MAX_ATTEMPTS = 5
DEFAULT_RETRY_AFTER_S = 5.0


class Replay:
    """Posts bodies to one URL over one connection, and counts the replies. `sleep` takes seconds."""

    def __init__(
        self, url: str, headers: Callable[[bytes], dict[str, str]], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"--to {url}: write a URL such as http://127.0.0.1:8080/webhooks/segment")
        connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = connection(parts.hostname, parts.port, timeout=TIMEOUT_S)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._server = f"{parts.hostname}:{self._connection.port}"
        self._headers = headers
        self._sleep = sleep
        self.statuses: Counter[int] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.waits = 0

    def post(self, body: bytes) -> int:
        """The status of the last reply, after waiting for 503s. Raises FreshgateError if the server does not answer."""
        waited_s = 0.0
        while True:
            status, wait_s, reply = self._post_once(body)
            if status != 503 or waited_s >= MAX_TOTAL_WAIT_S:
                break
            self.waits += 1
            waited_s += wait_s
            self._sleep(wait_s)
        self.statuses[status] += 1
        # The tracking API answers as Segment's does, without verdicts.
        if status == 200 and VERDICTS[0] in reply:
            self.verdicts.update({verdict: int(reply.get(verdict, 0)) for verdict in VERDICTS})
        return status

    def close(self) -> None:
        self._connection.close()

    def _post_once(self, body: bytes) -> tuple[int, float, dict[str, Any]]:
        headers = {"Content-Type": "application/json", **self._headers(body)}
        for attempt in range(MAX_ATTEMPTS):
            try:
                self._connection.request("POST", self._path, body, headers)
                response = self._connection.getresponse()
                text = response.read()
            except (OSError, http.client.HTTPException) as error:
                # Posting a body twice is harmless: the second one is a duplicate.
                self._connection.close()
                if attempt + 1 == MAX_ATTEMPTS:
                    raise FreshgateError(f"{self._server} does not answer: {type(error).__name__}") from None
                self._sleep(0.2 * 2**attempt)
                continue
            return response.status, _parse_retry_after(response.getheader("Retry-After")), _parse_reply(text)
        raise AssertionError("unreachable")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "replay", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a .json or .jsonl file, or a folder of .json files")
    parser.add_argument("--to", required=True, metavar="URL", help="the URL of the source at the receiver")
    parser.add_argument("--rate", type=float, metavar="N", help="post at most N bodies a second")
    parser.add_argument("--sign-as", metavar="NAME", help="the source whose secrets sign (the last part of the URL)")
    parser.add_argument("--again", action="store_true", help="record events that were received before once more")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.rate is not None and options.rate <= 0:
        raise SettingsError("--rate: write a number of bodies a second, more than 0")
    settings = load_local_settings()
    name = options.sign_as or urlsplit(options.to).path.rstrip("/").rpartition("/")[2]
    source = settings.sources.get(name)
    if source is None:
        known = ", ".join(settings.sources)
        raise SettingsError(f"there is no source {name!r} whose secrets could sign; name one with --sign-as: {known}")
    if options.again and not source.tokens:
        key = setting_name("sources", name, "tokens")
        raise SettingsError(f"--again: {key} is not set; without a token the receiver refuses a replay")
    replay_header = {"X-Freshgate-Replay": "1"} if options.again else {}
    bodies = list(read_bodies(options.file))
    replay = Replay(options.to, lambda body: {**proof(name, source, body), **replay_header})
    try:
        is_unauthorized = _post_all(replay, bodies, options.rate)
    finally:
        replay.close()
    _print_report(replay, len(bodies))
    if is_unauthorized:
        key = setting_name("sources", name)
        print(f"stopped at a 401: compare the secrets of {key} with the receiver's", file=sys.stderr)
    return int(replay.statuses != {200: len(bodies)})


def read_bodies(file: Path) -> Iterator[bytes]:
    """The bodies of a file or folder, in order. Raises FreshgateError if there is none."""
    if file.is_dir():
        paths = sorted(path for path in file.rglob("*.json") if not path.name.endswith(".expected.json"))
        bodies = [path.read_bytes() for path in paths]
    elif file.suffix in (".jsonl", ".ndjson"):
        bodies = [line for line in file.read_bytes().splitlines() if line.strip()]
    else:
        bodies = [file.read_bytes()]
    if not bodies:
        raise FreshgateError(f"{file}: there is no payload in it")
    yield from bodies


def _post_all(replay: Replay, bodies: list[bytes], rate: float | None) -> bool:
    """Returns whether a 401 ended it, since all other bodies would be refused as well."""
    progress = Progress(len(bodies))
    started = time.monotonic()
    status = 200
    for number, body in enumerate(bodies):
        if rate is not None:
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
        status = replay.post(body)
        if status == 401:
            break
        progress.show(number + 1, f"{replay.waits} waits" if replay.waits else "")
    progress.end()
    return status == 401


def _print_report(replay: Replay, total: int) -> None:
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in replay.verdicts.items())
    print(f"{replay.statuses[200]} of {total} bodies answered 200" + (f": {verdicts}" if verdicts else ""))
    for status, count in sorted(replay.statuses.items()):
        if status != 200:
            print(f"{count} answered {status}")
    if replay.waits:
        print(f"waited {replay.waits} times after a 503")


def _parse_retry_after(header: str | None) -> float:
    try:
        return min(max(float(header or DEFAULT_RETRY_AFTER_S), 1.0), MAX_WAIT_S)
    except ValueError:
        return DEFAULT_RETRY_AFTER_S


def _parse_reply(text: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(text)
    except ValueError:
        return {}
    return reply if isinstance(reply, dict) else {}
