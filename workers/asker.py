"""Asks sources of truth over HTTP, many at once: each request costs its own send at most its timeout, and no other.

`asks.py` has the requests; `decider.py` sets a send aside until its answers are in, `lanes.py` takes it up once more.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Literal, Protocol, cast

import msgspec
import redis
from redis.exceptions import RedisError

from freshgate.asks import Ask
from freshgate.errors import EspError, SettingsError
from freshgate.outbound import ForbiddenAddress, UrlError
from freshgate.settings import AskSettings
from freshgate.settings_parsing import setting_name
from freshgate.state import keys
from freshgate.telemetry import logs, metrics
from workers.asks import AskAnswer, AskRequest, AskResult, convert_answer, pick_answer
from workers.esp.connection import MAX_RESPONSE_BYTES, Connection
from workers.esp.watchdog import WATCHDOG

log = logs.get(__name__)

# asking: `done` is called later; busy: the source has no room, and nothing was asked; answered: all is known by now.
Asking = Literal["asking", "busy", "answered"]
# So many failures in a row open a host's breaker; its wait doubles with each failed probe, up to so many times.
MAX_FAILURES = 5
MAX_WAIT_FACTOR = 12
# How long it is known that there is no answer (ms): until the sends that waited for it are decided on.
NO_ANSWER_MS = 10_000
MAX_ANSWERS = 10_000
MAX_WAITING = 10_000
TOO_MANY_REQUESTS, SERVER_ERROR, OK = 429, 500, 200
_encode = msgspec.json.Encoder().encode


class Oracle(Protocol):
    """Whoever answers requests. Thread-safe."""

    def answer_of(self, request: AskRequest, now: int) -> AskAnswer | None:
        """What is known of it at `now` (ms); None where it must be asked."""

    def ask(self, shop: str, requests: Sequence[AskRequest], now: int, done: Callable[[], object]) -> Asking:
        """Begins to ask; calls `done` once all are answered, or are known to have no answer."""


class Nobody:
    """Where no trigger asks."""

    def answer_of(self, request: AskRequest, now: int) -> AskAnswer | None:
        return AskAnswer("unreachable", now)

    def ask(self, shop: str, requests: Sequence[AskRequest], now: int, done: Callable[[], object]) -> Asking:
        return "answered"


class Breaker:
    """Whether a host is asked. Thread-safe. `wait_s` is how long it is left alone after MAX_FAILURES in a row."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = self._next_wait_s = wait_s
        self._failures = 0
        self._probe_at = 0.0
        self._lock = threading.Lock()

    def admits(self) -> bool:
        """Whether to ask now. While it is open, one request a wait tries."""
        with self._lock:
            if self._failures < MAX_FAILURES:
                return True
            if time.monotonic() < self._probe_at:
                return False
            self._next_wait_s = min(self._next_wait_s * 2, self._wait_s * MAX_WAIT_FACTOR)
            self._probe_at = time.monotonic() + self._next_wait_s
            return True

    def report(self, *, failed: bool) -> bool:
        """What became of a request. True if that opened it."""
        with self._lock:
            if not failed:
                self._failures, self._next_wait_s = 0, self._wait_s
                return False
            self._failures += 1
            if self._failures == MAX_FAILURES:
                self._probe_at = time.monotonic() + self._next_wait_s
            return self._failures == MAX_FAILURES


class Ticket:
    """A request under way, and whoever waits for it. `waiting` and `is_over` are the asker's, under its lock."""

    def __init__(self, shop: str, request: AskRequest, at: int) -> None:
        self.shop, self.request, self.at = shop, request, at
        self.started = time.monotonic()
        self.deadline = self.started + request.ask.timeout / 1000
        self.waiting: list[Callable[[], object]] = []
        self.is_over = False


class Source:
    """One source of truth: threads that each have a connection of their own, started when they are needed.

    Raises SettingsError for a URL that cannot be connected to.
    """

    def __init__(self, ask: Ask, settings: AskSettings, breaker: Breaker) -> None:
        self.breaker = breaker
        self._base_url = settings.base_url or ask.origin
        self._name, self._networks = ask.name, settings.allow_networks
        # What is wrong with the URL stops the start.
        self._prefix = self._connection().target.path.rstrip("/")
        self._headers = {"Accept": "application/json", "User-Agent": "Freshgate"}
        if settings.secret:
            self._headers[settings.header] = settings.secret
        self._concurrency = settings.concurrency
        self._tickets: SimpleQueue[Ticket] = SimpleQueue()
        self._lock = threading.Lock()
        self._busy = self._threads = 0

    def _connection(self) -> Connection:
        try:
            return Connection(self._name, self._base_url, self._networks)
        except UrlError as error:
            raise SettingsError(f"{setting_name('asks', self._name, 'base_url')}: {error}") from None

    def submit(self, ticket: Ticket, carry_out: Callable[[Ticket, Connection], object]) -> bool:
        """Has a thread carry it out at once; False where all are busy."""
        with self._lock:
            if self._busy >= self._concurrency:
                return False
            self._busy += 1
            if self._busy > self._threads:
                name = f"ask-{self._name}-{self._threads}"
                thread = threading.Thread(target=self._run, args=(carry_out,), name=name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    # The machine has no room for one more.
                    self._busy -= 1
                    return False
                self._threads += 1
        self._tickets.put(ticket)
        return True

    def _run(self, carry_out: Callable[[Ticket, Connection], object]) -> None:
        connection = self._connection()
        while True:
            ticket = self._tickets.get()
            try:
                carry_out(ticket, connection)
            finally:
                with self._lock:
                    self._busy -= 1

    def fetch(self, ticket: Ticket, connection: Connection) -> tuple[int, bytes] | AskResult:
        """Status and body; or why there is neither. A connection that had stood may have been closed on the way: then
        once more on a new one, since asking changes nothing."""
        for is_repeated in (False, True):
            had_stood = connection.is_open
            try:
                response = connection.exchange(
                    "GET",
                    self._prefix + ticket.request.path,
                    self._headers,
                    b"",
                    max(0.001, ticket.deadline - time.monotonic()),
                )
            except EspError as error:
                if time.monotonic() >= ticket.deadline or isinstance(error.__context__, TimeoutError):
                    return "timeout"
                if isinstance(error.__context__, ForbiddenAddress):
                    return "forbidden"
                if is_repeated or not had_stood:
                    return "unreachable"
            else:
                if len(response.body) >= MAX_RESPONSE_BYTES:
                    connection.close()
                    return "too_large"
                return response.status, response.body
        return "unreachable"


class Asker:
    """All sources of truth of one worker process. Thread-safe.

    client  Redis, where answers are kept for all processes
    asks    of the catalog
    """

    def __init__(self, client: redis.Redis, asks: Iterable[Ask], settings: Mapping[str, AskSettings]) -> None:
        self._client = client
        self._sources: dict[str, Source] = {}
        breakers: dict[str, Breaker] = {}
        for ask in asks:
            own = settings.get(ask.name, AskSettings())
            breaker = breakers.setdefault(own.base_url or ask.origin, Breaker(own.breaker_wait / 1000))
            self._sources[ask.name] = Source(ask, own, breaker)
        self._answers: OrderedDict[str, AskAnswer] = OrderedDict()
        self._open: dict[str, Ticket] = {}
        self._lock = threading.Lock()

    def answer_of(self, request: AskRequest, now: int) -> AskAnswer | None:
        with self._lock:
            answer = self._answers.get(request.key)
        if answer is None:
            return None
        counts = answer.at >= request.since if answer.is_answered else now - answer.at <= NO_ANSWER_MS
        return answer if counts else None

    def ask(self, shop: str, requests: Sequence[AskRequest], now: int, done: Callable[[], object]) -> Asking:
        remaining = Countdown(done)
        is_asking = False
        for request in requests:
            if self.answer_of(request, now) is not None:
                continue
            if not self._sources[request.ask.name].breaker.admits():
                self._note(request, AskAnswer("breaker_open", now))
                continue
            if not self._join_or_submit(shop, request, now, remaining):
                remaining.cancel()
                return "busy"
            is_asking = True
        return "asking" if remaining.start() and is_asking else "answered"

    def _join_or_submit(self, shop: str, request: AskRequest, now: int, remaining: Countdown) -> bool:
        with self._lock:
            ticket = self._open.get(request.key)
            if ticket is not None and len(ticket.waiting) >= MAX_WAITING:
                return False
            is_new = ticket is None
            if ticket is None:
                ticket = self._open[request.key] = Ticket(shop, request, now)
            remaining.count += 1
            ticket.waiting.append(remaining.end)
        if is_new and not self._sources[request.ask.name].submit(ticket, self._carry_out):
            # Whoever joined meanwhile finds no answer, and asks once more.
            self._end(ticket, None)
            return False
        return True

    def _carry_out(self, ticket: Ticket, connection: Connection) -> None:
        def expire() -> None:
            self._finish(ticket, "timeout")

        with WATCHDOG.guard(ticket.deadline, expire):
            try:
                if not self._take_from_redis(ticket):
                    self._ask_source(ticket, connection)
            except Exception as error:  # The catalog's function, or our own code: the send must not wait for ever.
                # The error's text may quote the answer.
                log.error("ask_failed", ask=ticket.request.ask.name, error=type(error).__name__)
                self._finish(ticket, "unreadable")

    def _take_from_redis(self, ticket: Ticket) -> bool:
        """Another process may have asked."""
        with suppress(RedisError, msgspec.DecodeError, TypeError, ValueError, KeyError):
            raw = cast("bytes | None", self._client.get(keys.answer(ticket.shop, ticket.request.key)))
            if raw:
                entry = msgspec.json.decode(raw)
                value = convert_answer(entry["value"], ticket.request.type)
                if value is not None and ticket.request.since <= entry["at"] <= ticket.at:
                    self._end(ticket, AskAnswer("cached", entry["at"], value))
                    metrics.ASKS.labels(ticket.request.ask.name, "cached").inc()
                    return True
        return False

    def _ask_source(self, ticket: Ticket, connection: Connection) -> None:
        request = ticket.request
        fetched = self._sources[request.ask.name].fetch(ticket, connection)
        if isinstance(fetched, str):
            self._finish(ticket, fetched)
            return
        status, body = fetched
        if status != OK:
            self._finish(ticket, "refused", status=status)
            return
        try:
            document = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._finish(ticket, "unreadable", status=status)
            return
        picked = pick_answer(request.ask, document)
        value = None if picked is None else convert_answer(picked, request.type)
        if value is None:
            self._finish(ticket, "unreadable" if picked is None else "wrong_type", status=status)
        elif self._finish(ticket, "answered", value, status):
            with suppress(RedisError):
                entry = _encode({"at": ticket.at, "value": value})
                self._client.set(keys.answer(ticket.shop, request.key), entry, px=max(1, request.ttl))

    def _finish(self, ticket: Ticket, result: AskResult, value: Any = None, status: int | None = None) -> bool:
        """The request's end, by whoever comes first: its thread, or its deadline. False for the second one."""
        elapsed_s = time.monotonic() - ticket.started
        at = ticket.at if result == "answered" else ticket.at + int(elapsed_s * 1000)
        if not self._end(ticket, AskAnswer(result, at, value, status)):
            return False
        name = ticket.request.ask.name
        metrics.ASKS.labels(name, result).inc()
        metrics.ASK_SECONDS.labels(name).observe(elapsed_s)
        is_down = status is not None and (status >= SERVER_ERROR or status == TOO_MANY_REQUESTS)
        failed = is_down or result in ("timeout", "unreachable", "forbidden")
        if self._sources[name].breaker.report(failed=failed):
            log.warning("source_of_truth_silent", ask=name, result=result, status=status)
        return True

    def _note(self, request: AskRequest, answer: AskAnswer) -> None:
        """An answer that nobody was asked for."""
        metrics.ASKS.labels(request.ask.name, answer.result).inc()
        with self._lock:
            self._keep(request.key, answer)

    def _end(self, ticket: Ticket, answer: AskAnswer | None) -> bool:
        with self._lock:
            if ticket.is_over:
                return False
            ticket.is_over = True
            self._open.pop(ticket.request.key, None)
            if answer:
                self._keep(ticket.request.key, answer)
            waiting = ticket.waiting
        for end in waiting:
            end()
        return True

    def _keep(self, key: str, answer: AskAnswer) -> None:
        self._answers[key] = answer
        self._answers.move_to_end(key)
        if len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)


class Countdown:
    """Calls `done` once, when as many have ended as were counted, and not before `start`."""

    def __init__(self, done: Callable[[], object]) -> None:
        self.count = 0
        self._done = done
        self._ended = 0
        self._is_started = self._is_over = False
        self._lock = threading.Lock()

    def start(self) -> bool:
        """From now on `done` may be called. False if all have ended already: then it is not called."""
        with self._lock:
            self._is_started = True
            self._is_over = self._is_over or self._ended >= self.count
            return not self._is_over

    def cancel(self) -> None:
        self._is_over = True

    def end(self) -> None:
        with self._lock:
            self._ended += 1
            if not self._is_started or self._is_over or self._ended < self.count:
                return
            self._is_over = True
        self._done()
