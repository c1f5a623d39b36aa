"""`python -m adapter replay`: posts recorded or fixture payloads at a running receiver, signed as their CDP does.

`proof.py` makes the headers. Waits where the receiver asks to, and says what became of everything.
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
from freshgate.telemetry.metrics import VERDICTS

HELP = "post recorded or fixture payloads, signed, at a running receiver"
EPILOG = """examples:
  python -m adapter replay tests/payloads/segment --to http://127.0.0.1:8080/webhooks/segment
  python -m adapter replay monday.jsonl --to http://127.0.0.1:8080/webhooks/shop --sign-as segment --rate 50
  python -m adapter replay monday.jsonl --to http://127.0.0.1:8080/webhooks/segment --again

A .json file is one body, posted byte for byte; a .jsonl or .ndjson file is one body a line; of a folder every .json
file is posted, in the order of names, without the *.expected.json. A 503 is waited for as its Retry-After says.

Events that were received before are duplicates, unless --again says that they are meant: they are then recorded once
more, which needs one of the source's tokens. Mails still leave through the gate only: what is too old or was sent
already sends nothing. The exit code is 1 unless every body was answered 200."""
TIMEOUT_S = 60.0
MAX_WAIT_S = 60.0
PATIENCE_S = 600.0
CONNECTS = 5


class Replay:
    """One receiver's URL, over one kept connection. `sleep` takes seconds."""

    def __init__(
        self, url: str, headers: Callable[[bytes], dict[str, str]], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"--to {url}: write a URL such as http://127.0.0.1:8080/webhooks/segment")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._where = f"{parts.hostname}:{self._connection.port}"
        self._headers = headers
        self._sleep = sleep
        self.statuses: Counter[int] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.waits = 0

    def post(self, body: bytes) -> int:
        """The status in the end, 503s waited for. Raises FreshgateError where nobody answers."""
        waited = 0.0
        while True:
            status, wait_s, answer = self._once(body)
            if status != 503 or waited >= PATIENCE_S:
                break
            self.waits += 1
            waited += wait_s
            self._sleep(wait_s)
        self.statuses[status] += 1
        if status == 200:
            self.verdicts.update({verdict: int(answer.get(verdict, 0)) for verdict in VERDICTS})
        return status

    def close(self) -> None:
        self._connection.close()

    def _once(self, body: bytes) -> tuple[int, float, dict[str, Any]]:
        headers = {"Content-Type": "application/json", **self._headers(body)}
        for attempt in range(CONNECTS):
            try:
                self._connection.request("POST", self._path, body, headers)
                response = self._connection.getresponse()
                text = response.read()
            except (OSError, http.client.HTTPException) as error:
                # Posting it twice is harmless: the second is a duplicate.
                self._connection.close()
                if attempt + 1 == CONNECTS:
                    raise FreshgateError(f"{self._where} does not answer: {type(error).__name__}") from None
                self._sleep(0.2 * 2**attempt)
                continue
            return response.status, _seconds(response.getheader("Retry-After")), _answer(text)
        raise AssertionError("unreachable")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "replay", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a .json or .jsonl file, or a folder of .json files")
    parser.add_argument("--to", required=True, metavar="URL", help="the receiver's, down to the source")
    parser.add_argument("--rate", type=float, metavar="N", help="at most so many bodies a second")
    parser.add_argument("--sign-as", metavar="NAME", help="whose secrets to use; the URL's last part if left out")
    parser.add_argument("--again", action="store_true", help="record what was received before once more")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.rate is not None and options.rate <= 0:
        raise SettingsError("--rate: write a number of bodies a second, more than 0")
    settings = load_local_settings()
    name = options.sign_as or urlsplit(options.to).path.rstrip("/").rpartition("/")[2]
    source = settings.sources.get(name)
    if source is None:
        known = ", ".join(settings.sources)
        raise SettingsError(f"no source {name!r} whose secrets could be used; name one with --sign-as: {known}")
    if options.again and not source.tokens:
        raise SettingsError(f"--again needs one of sources.{name}.tokens: without it the receiver takes no replay")
    more = {"X-Freshgate-Replay": "1"} if options.again else {}
    bodies = list(bodies_of(options.file))
    replay = Replay(options.to, lambda body: {**proof(name, source, body), **more})
    try:
        refused = _post_all(replay, bodies, options.rate)
    finally:
        replay.close()
    _report(replay, len(bodies))
    if refused:
        print(f"stopped at a 401: are the secrets of sources.{name} here those of the receiver?", file=sys.stderr)
    return int(replay.statuses != {200: len(bodies)})


def bodies_of(file: Path) -> Iterator[bytes]:
    """The bodies that a file or a folder holds, in order. Raises FreshgateError where there is none."""
    if file.is_dir():
        found = sorted(path for path in file.rglob("*.json") if not path.name.endswith(".expected.json"))
        bodies = [path.read_bytes() for path in found]
    elif file.suffix in (".jsonl", ".ndjson"):
        bodies = [line for line in file.read_bytes().splitlines() if line.strip()]
    else:
        bodies = [file.read_bytes()]
    if not bodies:
        raise FreshgateError(f"{file}: there is no payload in it")
    yield from bodies


def _post_all(replay: Replay, bodies: list[bytes], rate: float | None) -> bool:
    """Whether it was ended by a 401: the next body would not be believed either."""
    progress = Progress(len(bodies))
    begun = time.monotonic()
    status = 200
    for number, body in enumerate(bodies):
        if rate is not None:
            time.sleep(max(0.0, begun + number / rate - time.monotonic()))
        status = replay.post(body)
        if status == 401:
            break
        progress.show(number + 1, f"{replay.waits} waits" if replay.waits else "")
    progress.end()
    return status == 401


def _report(replay: Replay, total: int) -> None:
    told = ", ".join(f"{replay.verdicts[verdict]} {verdict}" for verdict in VERDICTS)
    print(f"{replay.statuses[200]} of {total} bodies answered 200: {told}")
    for status, count in sorted(replay.statuses.items()):
        if status != 200:
            print(f"{count} answered {status}")
    if replay.waits:
        print(f"waited {replay.waits} times after a 503")


def _seconds(retry_after: str | None) -> float:
    try:
        return min(max(float(retry_after or 5), 1.0), MAX_WAIT_S)
    except ValueError:
        return 5.0


def _answer(text: bytes) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
