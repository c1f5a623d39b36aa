"""Requests that wait without a thread: the tasks by themselves in a loop, and events before a Redis that hangs."""

from __future__ import annotations

import http.client
import json
import os
import select
import selectors
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from adapter.server.limits import FEEDBACK, TRACKING, WEBHOOKS, can_have_tasks
from adapter.server.tasks import MAX_AT_WORK, ServerTasks
from adapter.server.worker import EVENTS
from adapter.sources.segment.signature import sign
from freshgate import sockets
from freshgate.sockets import TaskSocket
from tests.harness.certificates import certificate
from tests.harness.held_redis import HeldRedis
from tests.harness.receiver_process import HEAD, SECRET, TOKEN, Receiver, order_body, read_all

SINGLE_WORKER = {"GUNICORN_CMD_ARGS": "--workers 1", "FRESHGATE_RECEIVER_THREADS": "2"}


def server_context(folder: Path) -> ssl.SSLContext:
    """TLS of a server at 127.0.0.1; its certificate is `cert.pem` in the folder."""
    certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


class Loop:
    """A loop as the worker's: it calls what is registered, and what is deferred."""

    def __init__(self) -> None:
        self.poller = selectors.DefaultSelector()
        self._deferred: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self.tasks = ServerTasks()
        self.tasks.attach(self.poller, lambda call, *arguments: self._deferred.put(lambda: call(*arguments)))
        self.ended: list[Any] = []

    def start(self, *works: Callable[[], Any]) -> None:
        for work in works:
            self.tasks.start(work, self.ended.append)
        self.tasks.run()

    def run_until_ended(self, count: int) -> list[Any]:
        for _ in range(20_000):
            if len(self.ended) >= count:
                break
            for key, _ in self.poller.select(min(0.005, self.tasks.remaining_s())):
                key.data(key.fileobj)
            self.tasks.expire()
            self.tasks.run()
            while not self._deferred.empty():
                self._deferred.get()()
        assert len(self.ended) == count
        return self.ended


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    loop = Loop()
    monkeypatch.setattr(sockets, "tasks", loop.tasks)
    yield loop
    loop.tasks.close()
    loop.poller.close()


@pytest.fixture
def pair() -> Iterator[tuple[TaskSocket, socket.socket]]:
    """A task's socket, and its other side."""
    own, other = socket.socketpair()
    with own, other:
        own.settimeout(30)
        yield TaskSocket(own), other


def test_while_one_task_waits_others_begin_and_end(loop: Loop, pair: tuple[TaskSocket, socket.socket]) -> None:
    own, other = pair
    loop.start(lambda: own.recv(10), lambda: "second", lambda: "third")
    assert loop.run_until_ended(2) == ["second", "third"]
    other.sendall(b"first")
    assert loop.run_until_ended(3)[-1] == b"first"


def test_a_wait_ends_with_its_time_and_the_socket_can_be_used_again(
    loop: Loop, pair: tuple[TaskSocket, socket.socket]
) -> None:
    own, other = pair

    def work() -> Any:
        own.settimeout(0.01)
        buffer = bytearray(4)
        with pytest.raises(TimeoutError):
            own.recv_into(buffer)
        other.sendall(b"late")
        own.recv_into(buffer)
        return bytes(buffer)

    loop.start(work)
    assert loop.run_until_ended(1) == [b"late"]


def test_a_reply_that_arrived_while_other_tasks_kept_the_loop_is_in_time(
    loop: Loop, pair: tuple[TaskSocket, socket.socket]
) -> None:
    own, other = pair
    own.settimeout(0.001)
    loop.start(lambda: own.recv(10))
    other.sendall(b"reply")
    # The loop was busy until now: the wait is over before it has looked at the socket.
    while loop.tasks.remaining_s() > 0:
        pass
    loop.tasks.expire()
    assert loop.ended == [b"reply"]


def test_more_than_a_socket_takes_is_written_while_others_go_on(
    loop: Loop, pair: tuple[TaskSocket, socket.socket]
) -> None:
    own, other = pair
    data = bytes(range(256)) * 8192
    received = bytearray()

    def write() -> str:
        own.sendall(data)
        return "written"

    loop.start(write, lambda: "another")
    assert loop.run_until_ended(1) == ["another"]

    def read() -> None:
        while len(received) < len(data):
            received.extend(other.recv(65536))

    reader = threading.Thread(target=read)
    reader.start()
    assert loop.run_until_ended(2)[-1] == "written"
    reader.join()
    assert received == data


def test_whoever_does_not_read_is_given_up_in_time(loop: Loop, pair: tuple[TaskSocket, socket.socket]) -> None:
    own, _ = pair
    own.settimeout(0.01)

    def write() -> str:
        with pytest.raises(TimeoutError):
            own.sendall(bytes(16_000_000))
        return "given up"

    loop.start(write)
    assert loop.run_until_ended(1) == ["given up"]


def test_a_socket_that_may_not_wait_does_not_inside_a_task_and_outside(
    loop: Loop, pair: tuple[TaskSocket, socket.socket]
) -> None:
    own, _ = pair
    own.setblocking(False)

    def work() -> str:
        for call in (lambda: own.recv(1), lambda: own.recv_into(bytearray(1)), lambda: own.sendall(bytes(16_000_000))):
            with pytest.raises(BlockingIOError):
                call()
        return "never waited"

    loop.start(work)
    assert loop.run_until_ended(1) == ["never waited"] == [work()]


def test_outside_of_tasks_such_a_socket_waits_like_any_other(
    loop: Loop, pair: tuple[TaskSocket, socket.socket]
) -> None:
    own, other = pair
    own.settimeout(0.01)
    assert own.gettimeout() == 0.01
    with pytest.raises(TimeoutError):
        own.recv(1)
    own.settimeout(30)
    timer = threading.Timer(0.02, other.sendall, (b"x",))
    timer.start()
    assert own.recv(1) == b"x"
    timer.join()


def test_no_more_than_so_many_are_at_work_and_the_others_follow_in_turn(loop: Loop) -> None:
    socket_pairs = [socket.socketpair() for _ in range(MAX_AT_WORK + 5)]
    started: list[int] = []

    def wait(number: int) -> int:
        started.append(number)
        pairs[number][0].recv(1)
        return number

    pairs = [(TaskSocket(own), other) for own, other in socket_pairs]
    for number in range(len(pairs)):
        loop.start(partial(wait, number))
    assert started == list(range(MAX_AT_WORK))
    for _, other in pairs:
        other.sendall(b"x")
    assert sorted(loop.run_until_ended(len(pairs))) == list(range(MAX_AT_WORK + 5)) == started
    for own, other in pairs:
        own.close()
        other.close()


def test_the_loop_sees_a_ready_socket_between_two_of_thousands_that_start_each_other(
    loop: Loop, pair: tuple[TaskSocket, socket.socket]
) -> None:
    own, other = pair
    count = 3000

    def start_next(number: int) -> None:
        loop.ended.append(number)
        if number < count:
            loop.tasks.start(partial(work, number + 1), start_next)

    def work(number: int) -> int:
        time.sleep(0.00001)
        return number

    loop.start(partial(own.recv, 1))
    loop.tasks.start(partial(work, 1), start_next)
    other.sendall(b"x")
    ended = loop.run_until_ended(count + 1)
    assert ended.index(b"x") < count / 2
    ended.remove(b"x")
    assert ended == list(range(1, count + 1))


def test_a_thread_makes_a_call_while_others_go_on(loop: Loop) -> None:
    go_on, threads = threading.Event(), []

    def call() -> str:
        threads.append(threading.get_ident())
        assert go_on.wait(30)
        return "called"

    def fail() -> None:
        raise ConnectionError("nobody there")

    def failing() -> str:
        with pytest.raises(ConnectionError, match="nobody there"):
            loop.tasks.in_thread(fail)
        return "failed"

    loop.start(lambda: loop.tasks.in_thread(call), lambda: "meanwhile", failing)
    assert set(loop.run_until_ended(2)) == {"meanwhile", "failed"}
    go_on.set()
    assert set(loop.run_until_ended(3)) == {"meanwhile", "called", "failed"}
    assert threads != [threading.get_ident()]


def test_what_is_no_exception_ends_the_loop(loop: Loop) -> None:
    def stop() -> None:
        raise SystemExit(0)

    with pytest.raises(SystemExit):
        loop.start(stop)


def test_a_task_that_is_ready_and_too_late_in_one_round_goes_on_once(
    loop: Loop, pair: tuple[TaskSocket, socket.socket]
) -> None:
    own, other = pair
    own.settimeout(0)

    def work() -> list[bool]:
        return [loop.tasks.wait(own, writable=False, timeout_s=0), loop.tasks.wait(own, writable=False, timeout_s=30)]

    loop.start(work)
    other.sendall(b"x")
    ((key, _),) = loop.poller.select(30)
    loop.tasks.expire()
    # The loop still has the event of a wait that is over.
    key.data(key.fileobj)
    assert loop.run_until_ended(1) == [[False, True]]


@pytest.mark.parametrize(
    ("url", "has_tasks"),
    [
        ("redis://r:6379", True),
        ("unix:///run/r.sock?db=0", True),
        ("rediss://r:6379", True),
        ("redis+cluster://a:1,b:2", False),
    ],
)
def test_events_wait_in_threads_for_a_cluster_alone(url: str, has_tasks: bool) -> None:
    environ = {"FRESHGATE_REDIS_URL": url, "FRESHGATE_QUEUE_REDIS_URL": "", "FRESHGATE_CONFIG": "/dev/null"}
    if "cluster" in url:
        environ["FRESHGATE_QUEUE_REDIS_URL"] = "redis://queues:6379"
    assert can_have_tasks(environ) is has_tasks


def test_webhooks_and_calls_of_sdks_are_events() -> None:
    assert all(EVENTS.match(b"POST " + prefix + b"x HTTP/1.1") for prefix in (WEBHOOKS, *TRACKING))
    assert not EVENTS.match(b"POST " + FEEDBACK + b"x HTTP/1.1")


@pytest.mark.parametrize("has_tls", [False, True])
def test_more_events_wait_for_a_redis_that_hangs_than_there_are_threads(
    redis_server: str, tmp_path: Path, has_tls: bool
) -> None:
    tls = server_context(tmp_path) if has_tls else None
    trust = f"?ssl_ca_certs={tmp_path}/cert.pem" if has_tls else ""
    with HeldRedis(redis_server, tls) as proxy, Receiver(proxy.url + trust, SINGLE_WORKER) as receiver:
        assert receiver.order()[0] == 200
        proxy.hold()
        statuses: list[int] = []
        threads = [threading.Thread(target=lambda: statuses.append(receiver.order(timeout_s=60)[0])) for _ in range(16)]
        for thread in threads:
            thread.start()
        receiver.wait_for(lambda: proxy.max_waiting > 2)
        # No thread is held up.
        assert receiver.get("/healthz")[0] == 200
        for thread in threads:
            thread.join()
        assert statuses == [503] * 16
        proxy.release()
        # Replies that came too late are nobody's.
        assert [receiver.order()[0] for _ in range(5)] == [200] * 5


def test_a_large_batch_goes_to_redis_over_tls_and_is_counted_whole(redis_server: str, tmp_path: Path) -> None:
    tls = server_context(tmp_path)
    url = f"{{}}?ssl_ca_certs={tmp_path}/cert.pem"
    with HeldRedis(redis_server, tls) as proxy, Receiver(url.format(proxy.url), SINGLE_WORKER) as receiver:
        orders = [json.loads(order_body(f"tls-{number}")) for number in range(400)]
        body = json.dumps({"batch": orders}, separators=(",", ":")).encode()
        head = f"Content-Length: {len(body)}\r\nX-Signature: {sign(SECRET, body)}\r\nX-Freshgate-Token: {TOKEN}\r\n"
        answer = receiver.raw(HEAD + head.encode() + b"Connection: close\r\n\r\n" + body)
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["accepted"] == 400


def test_healthz_is_answered_before_events_that_came_first(redis_server: str) -> None:
    depth, count = 20_000, 24
    # It takes the loop tens of milliseconds to refuse it, and no trip to Redis.
    body = b'{"type":"track","properties":' + b'{"a":' * depth + b"1" + b"}" * (depth + 1)
    with Receiver(redis_server, SINGLE_WORKER) as receiver:
        head = f"X-Signature: {sign(SECRET, body)}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        # The worker is stopped until all of them wait to be accepted.
        (worker,) = receiver.workers()
        os.kill(worker, signal.SIGSTOP)
        connections = [receiver.connect(HEAD + head.encode() + body) for _ in range(count)]
        health = receiver.connect(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        os.kill(worker, signal.SIGCONT)
        assert read_all(health).startswith(b"HTTP/1.1 200 ")
        answered, _, _ = select.select(connections, [], [], 0)
        assert len(answered) < count / 2
        assert all(read_all(connection).startswith(b"HTTP/1.1 200 ") for connection in connections)
        for connection in (*connections, health):
            connection.close()


def test_a_redis_that_is_gone_and_comes_back_costs_503_and_no_thread(redis_server: str) -> None:
    with HeldRedis(redis_server) as proxy, Receiver(proxy.url, SINGLE_WORKER) as receiver:
        assert receiver.order()[0] == 200
        proxy.refuse()
        receiver.wait_for(lambda: receiver.order()[0] == 503)
        assert [receiver.order()[0] for _ in range(5)] == [503] * 5
        proxy.accept()
        receiver.wait_for(lambda: receiver.order()[0] == 200)


def test_an_event_that_waits_is_answered_before_the_receiver_stops(redis_server: str) -> None:
    with HeldRedis(redis_server) as proxy, Receiver(proxy.url, SINGLE_WORKER) as receiver:
        assert receiver.order()[0] == 200
        proxy.hold()
        statuses: list[int] = []
        thread = threading.Thread(target=lambda: statuses.append(receiver.order(timeout_s=60)[0]))
        thread.start()
        receiver.wait_for(lambda: proxy.max_waiting)
        receiver.process.send_signal(signal.SIGTERM)
        proxy.release()
        thread.join()
        # It is late for Redis' own limit where the machine is slow; answered it is in any case.
        assert statuses[0] in (http.client.OK, http.client.SERVICE_UNAVAILABLE)
        receiver.wait_for(lambda: receiver.process.poll() is not None)
        assert receiver.process.returncode == 0
