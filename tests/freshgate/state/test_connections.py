"""Connections that are used again, and pipelines of one write: a reply always answers its own command."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from freshgate.state import store
from freshgate.state.connections import FailoverPool


@pytest.fixture
def client(redis_server: str, redis: Redis) -> Iterator[Any]:
    """A client of an empty server, as the product makes it."""
    client: Any = store.connect(redis_server, timeout_s=0.2)
    yield client
    client.close()


def trip(client: Any, *commands: tuple[str, ...]) -> Any:
    pipe = client.pipeline(transaction=False)
    for command in commands:
        pipe.execute_command(*command)
    return pipe.execute()


def connection_ids(client: Any) -> set[int]:
    return {trip(client, ("CLIENT", "ID"))[0] for _ in range(5)}


def test_one_connection_carries_one_trip_after_the_other(client: Any) -> None:
    assert len(connection_ids(client)) == 1


def test_replies_come_in_the_order_of_the_commands_and_as_redis_py_converts_them(client: Any) -> None:
    assert trip(client, ("SET", "a", "1"), ("INCR", "a"), ("GET", "a"), ("HGETALL", "b")) == [True, 2, b"2", {}]
    assert client.pipeline(transaction=False).execute() == []


def test_an_error_keeps_its_place_and_the_commands_behind_it_are_carried_out(client: Any) -> None:
    pipe = client.pipeline(transaction=False)
    pipe.set("a", "text").incr("a").set("b", "1")
    first, error, last = pipe.execute(raise_on_error=False)
    assert (first, last) == (True, True) and isinstance(error, ResponseError)
    pipe.set("a", "text").incr("a").set("b", "2")
    with pytest.raises(ResponseError, match="not an integer"):
        pipe.execute()
    assert client.get("b") == b"2" and len(pipe) == 0


def test_a_large_trip_is_sent_however_slowly_the_server_takes_it() -> None:
    """As one does that carries out what has arrived: the timeout is that of a step, not of the whole."""
    size = 8_000_000
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # A large batch is not to disappear in the system's buffers.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)

        def serve() -> None:
            server, _ = listener.accept()
            with server:
                received = 0
                while piece := server.recv(64 * 1024):
                    if len(piece) < 1000 and received == 0:
                        # The client's greeting.
                        server.sendall(b"+OK\r\n" * piece.count(b"SETINFO"))
                        continue
                    received += len(piece)
                    if received < size // 2:
                        time.sleep(0.02)
                    if received >= size:
                        server.sendall(b"+OK\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        client: Any = store.connect(f"redis://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.5)
        assert trip(client, ("SET", "a", "x" * size)) == [True]
        client.close()
        thread.join()


def test_an_error_does_not_quote_what_was_sent(client: Any) -> None:
    client.set("a", "text")
    with pytest.raises(ResponseError) as raised:
        trip(client, ("HSET", "a", "email", "ada@example.com"))
    assert "ada" not in str(raised.value)


def test_a_reply_that_came_too_late_is_not_taken_for_that_of_the_next_command(client: Any) -> None:
    client.set("a", "mine")
    for _ in range(3):
        with pytest.raises(RedisTimeoutError):
            trip(client, ("BLPOP", "late", "1"))
        client.rpush("late", "another's")
        assert trip(client, ("GET", "a")) == [b"mine"]
        client.delete("late")


def test_replies_that_were_left_unread_are_not_those_of_the_next_command(client: Any) -> None:
    def fail(reply: bytes, **_: Any) -> bytes:
        raise ValueError(reply)

    client.set("a", "mine")
    client.set_response_callback("ECHO", fail)
    with pytest.raises(ValueError, match="first"):
        trip(client, ("ECHO", "first"), ("ECHO", "second"))
    assert trip(client, ("GET", "a")) == [b"mine"]


def test_a_connection_that_the_server_closed_while_it_was_idle_costs_no_trip(client: Any, redis: Redis) -> None:
    trip(client, ("SET", "a", "1"))
    redis.client_kill_filter(_type="normal", skipme=True)
    idle(client)
    assert trip(client, ("GET", "a")) == [b"1"]


def test_after_one_that_was_closed_in_between_the_next_trip_works(client: Any, redis: Redis) -> None:
    trip(client, ("SET", "a", "1"))
    # As if it had been used just now.
    client.connection_pool._recent[-1].used_at += 60
    redis.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(RedisConnectionError):
        trip(client, ("GET", "a"))
    assert trip(client, ("GET", "a")) == [b"1"]


def test_threads_never_share_a_connection(client: Any) -> None:
    wrong = []

    def work(name: str) -> None:
        for number in range(200):
            if trip(client, ("ECHO", f"{name} {number}"), ("ECHO", name)) != [
                f"{name} {number}".encode(),
                name.encode(),
            ]:
                wrong.append((name, number))

    threads = [threading.Thread(target=work, args=(f"thread {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_forked_process_makes_its_own_connections(client: Any) -> None:
    (own,) = connection_ids(client)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            (forked,) = connection_ids(client)
            os.write(write, str(forked).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(read, 20)) != own
    assert connection_ids(client) == {own}


def test_transactions_are_those_of_redis_py(client: Any) -> None:
    pipe = client.pipeline(transaction=True)
    assert pipe.set("a", "1").incr("a").execute() == [True, 2]
    with client.pipeline(transaction=False) as pipe:
        pipe.watch("a")
        pipe.multi()
        pipe.incr("a")
        assert pipe.execute() == [3]


def test_more_connections_than_the_pool_may_have_are_an_error(redis_server: str, redis: Redis) -> None:
    client: Any = store.connect(redis_server, pool=2)
    taken = [client.connection_pool.get_connection() for _ in range(2)]
    with pytest.raises(RedisConnectionError):
        trip(client, ("PING",))
    for connection in taken:
        client.connection_pool.release(connection)
    assert len(connection_ids(client)) == 1
    client.close()


def test_a_connection_that_is_given_back_twice_is_taken_once(client: Any) -> None:
    pool = client.connection_pool
    connection = pool.get_connection()
    pool.release(connection)
    pool.release(connection)
    assert pool.get_connection() is not pool.get_connection()


def test_closing_the_client_closes_the_connections_that_are_kept(client: Any, redis: Redis) -> None:
    own = connection_ids(client)
    client.close()
    assert own.isdisjoint(int(other["id"]) for other in redis.client_list())


def idle(client: Any) -> None:
    """As if nothing had been sent for a while."""
    for connection in client.connection_pool._recent:
        connection.used_at -= 2 * FailoverPool.recent_s


@pytest.fixture
def silence(redis: Redis) -> Iterator[Callable[[], None]]:
    """A function that stops the server; whoever connects is let in and gets no answer. It goes on after the test, or
    when it is called once more."""
    pid = int(redis.info("server")["process_id"])
    is_stopped = False

    def turn() -> None:
        nonlocal is_stopped
        is_stopped = not is_stopped
        os.kill(pid, signal.SIGSTOP if is_stopped else signal.SIGCONT)

    yield turn
    os.kill(pid, signal.SIGCONT)


def until_answered(client: Any, command: tuple[str, ...]) -> Any:
    """The reply to the first trip that is let through."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return trip(client, command)
        except RedisTimeoutError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_while_a_server_is_silent_one_trip_at_a_time_waits_for_it(
    redis_server: str, silence: Callable[[], None]
) -> None:
    client: Any = store.connect(redis_server, timeout_s=1.0, fails_fast=True)
    trip(client, ("SET", "a", "1"))
    silence()
    with pytest.raises(RedisTimeoutError, match="reading"):
        trip(client, ("GET", "a"))
    errors: list[str] = []

    def ask() -> None:
        try:
            trip(client, ("GET", "a"))
        except RedisTimeoutError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 20
    assert sum("a moment ago" in error for error in errors) >= 15
    silence()
    assert until_answered(client, ("GET", "a")) == [b"1"]
    assert all(trip(client, ("GET", "a")) == [b"1"] for _ in range(5))
    client.close()


def test_after_a_server_was_silent_all_trips_go_at_once(redis_server: str, silence: Callable[[], None]) -> None:
    client: Any = store.connect(redis_server, timeout_s=0.2, fails_fast=True)
    silence()
    for _ in range(3):
        with pytest.raises(RedisTimeoutError):
            client.get("a")
    silence()
    until_answered(client, ("SET", "a", "1"))
    taken = [client.connection_pool.get_connection() for _ in range(5)]
    for connection in taken:
        client.connection_pool.release(connection)
    client.close()
