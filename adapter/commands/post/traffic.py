"""`python -m adapter traffic`: posts signed events of made-up shoppers to a running receiver, so that boards have data.

`shoppers.py` makes them up. For demos only: it signs with the source's own secret, and the mails go to example.com.
"""

from __future__ import annotations

import argparse
import base64
import heapq
import http.client
import itertools
import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any
from urllib.parse import urlsplit

from adapter.commands.post.shoppers import Step, make_story
from adapter.local.example import segment_source, url_of
from adapter.sources.segment.kinds import SEGMENT
from freshgate.errors import SettingsError
from freshgate.local_settings import load_local_settings
from freshgate.settings import Settings, SourceSettings
from freshgate.settings_parsing import setting_name

HELP = "post the events of made-up shoppers, so that the boards have data"
EPILOG = """examples:
  python -m adapter traffic                                (beside `make run`, in a second terminal)
  python -m adapter traffic --rate 20 --for 60
  python -m adapter traffic --sandbox http://127.0.0.1:8025   (the ESP fails now and then, too)

Some events come late, twice, or with a wrong signature, as real ones do. The only ESP that it can make fail is the
sandbox. It ends with Ctrl-C, or after --for seconds."""
TIMEOUT_S = 10.0
REPORT_INTERVAL_S = 10.0
FAULTS_INTERVAL_S = 45.0
# None of them loses a mail for good: the worker tries again a little later. None is a 429: of so few mails a second the
# worker would learn a limit below what the shoppers cause, and the boards would be red for minutes.
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "slow", "seconds": 1.5, "count": 4},
    {"kind": "status", "status": 503, "count": 2},
)
NAMES = ("ada", "bela", "chen", "dora", "emil", "fay", "gus", "hana")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "traffic", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", default="", metavar="URL", help="the receiver, if not the one of the settings")
    parser.add_argument("--rate", type=float, default=2.0, metavar="N", help="new shoppers a second, 3 events each (2)")
    parser.add_argument("--for", dest="seconds", type=float, default=0.0, metavar="S", help="end after S seconds")
    parser.add_argument("--sandbox", default="", metavar="URL", help="the sandbox, to make it fail now and then")
    parser.add_argument(
        "--seed",
        type=int,
        default=None,
        metavar="N",
        help="the same shoppers as last time; their events are duplicates",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = load_local_settings()
    refuse_live(settings)
    name, source = first_source(settings)
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: stopping.append(number))
    receiver = Client(options.to or url_of(settings))
    sandbox = Client(options.sandbox) if options.sandbox else None
    traffic = Traffic(receiver, f"/webhooks/{name}", source, Random(options.seed))
    print(f"traffic: {options.rate:g} shoppers a second to {receiver.origin}/webhooks/{name}", flush=True)
    started = time.monotonic()
    reported, failed = started, started
    while not stopping and not 0 < options.seconds <= time.monotonic() - started:
        now = time.monotonic()
        traffic.step(now - started, options.rate)
        if sandbox is not None and now - failed >= FAULTS_INTERVAL_S:
            failed = now
            post_fault(sandbox, settings.sandbox_password, traffic.random)
        if now - reported >= REPORT_INTERVAL_S:
            reported = now
            print(traffic.summary(), flush=True)
        time.sleep(0.02)
    print(traffic.summary(), flush=True)
    return 0 if traffic.statuses[200] else 1


def refuse_live(settings: Settings) -> None:
    """Raises SettingsError for a live ESP: mails to addresses that do not exist would harm the sender's reputation."""
    for name, esp in settings.esps.items():
        if esp.live:
            raise SettingsError(f"{setting_name('esps', name, 'live')}: made-up shoppers are for the sandbox only")


def first_source(settings: Settings) -> tuple[str, SourceSettings]:
    """The first source of kind segment that has secrets. Raises SettingsError if there is none."""
    name = segment_source(settings)
    if name is None:
        raise SettingsError("no source of kind segment has secrets: set FRESHGATE_SOURCES__SEGMENT__SECRETS")
    return name, settings.sources[name]


class Client:
    """A connection to one server. A network error is not raised, since the server may come back."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise SettingsError(f"{url}: write a URL such as http://127.0.0.1:8080")
        self.origin = f"http://{parts.netloc}"
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=TIMEOUT_S)

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """The status of the reply, or 0 without a reply."""
        try:
            self._connection.request("POST", path, body, {"content-type": "application/json", **headers})
            response = self._connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return 0
        return response.status


class Traffic:
    """The shoppers, and when each does the next thing. Times are seconds since the start."""

    def __init__(
        self, client: Client, path: str, source: SourceSettings, random: Random, clock: Callable[[], float] = time.time
    ) -> None:
        self.random = random
        self.statuses: Counter[int] = Counter()
        self.events = 0
        self.wrongly_signed = 0
        self._client, self._path, self._source, self._clock = client, path, source, clock
        # Names differ from run to run, since the same person and order twice would be a duplicate.
        self._run = f"{random.getrandbits(32):08x}"
        self._shoppers = 0
        # The number only keeps two steps of the same moment from being compared.
        self._due: list[tuple[float, int, Step]] = []
        self._number = itertools.count()

    def step(self, now_s: float, rate: float) -> None:
        """Adds the shoppers that are due by now, and posts their due events."""
        while self._shoppers < int(now_s * rate):
            self._shoppers += 1
            at = now_s
            for step in make_story(self.random, f"{self.random.choice(NAMES)}-{self._run}-{self._shoppers}"):
                at += step.pause_s
                heapq.heappush(self._due, (at + step.lag_s, next(self._number), step))
        while self._due and self._due[0][0] <= now_s:
            self._post(heapq.heappop(self._due)[2])

    def summary(self) -> str:
        statuses = ", ".join(f"{status or 'no answer'}: {count}" for status, count in sorted(self.statuses.items()))
        on_purpose = f" ({self.wrongly_signed} signed wrongly on purpose)" if self.wrongly_signed else ""
        return f"traffic: {self._shoppers} shoppers, {self.events} events; answers {statuses or '-'}{on_purpose}"

    def _post(self, step: Step) -> None:
        event = {**step.event, "messageId": f"traffic-{self.random.getrandbits(96):024x}"}
        occurred = datetime.fromtimestamp(self._clock() - step.lag_s, UTC)
        event["timestamp"] = occurred.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body = json.dumps(event, separators=(",", ":")).encode()
        chance = self.random.random()
        # A wrong secret stands for an attacker, or for a secret that was rotated on one side only.
        secret = f"{self.random.getrandbits(64):x}" if chance < 0.01 else self._source.secrets[0]
        self.wrongly_signed += chance < 0.01
        for _ in range(2 if chance > 0.98 else 1):
            self.statuses[self._client.post(self._path, body, SEGMENT.prove(secret, body))] += 1
        self.events += 1


def post_fault(sandbox: Client, password: str, random: Random) -> int:
    """Makes the next calls to the sandbox fail. Returns the status of its reply."""
    credentials = base64.b64encode(f"traffic:{password}".encode()).decode()
    headers = {"authorization": f"Basic {credentials}"} if password else {}
    return sandbox.post("/faults", json.dumps(random.choice(FAULTS)).encode(), headers)
