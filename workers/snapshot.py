"""All data of a running Redis or Valkey, of one moment, as its own file format: asked for as a replica asks.

`backup.py` writes it into a file. It needs no access to the server's files, and no rewrite comes between.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis
from redis.exceptions import RedisError

CHUNK_BYTES = 1 << 20
# The server forks and writes before the first byte comes.
REPLY_TIMEOUT_S = 600.0
MARK_LENGTH = 40


def read_snapshot(client: redis.Redis) -> Iterator[bytes]:
    """The bytes of the server's file of all data, of one moment. Raises RedisError, OSError.

    As a replica asks for them (valkey.io/topics/replication, `SYNC`): `$<length>`, or `$EOF:<mark>` and the mark once
    more behind the last byte.
    """
    pool: Any = client.connection_pool
    connection = pool.make_connection()
    connection.socket_timeout = REPLY_TIMEOUT_S
    connection.connect()
    try:
        connection.send_command("REPLCONF", "rdb-only", "1")
        connection.read_response()
        connection.send_command("SYNC")
        stream = connection._sock.makefile("rb")  # no other way to a reply that redis-py does not know
        head = b"\n"
        while head == b"\n":
            # The server says that it is still there.
            head = stream.readline()
        if not head.startswith(b"$"):
            raise RedisError(head.decode(errors="replace").strip() or "the server closed the connection")
        yield from _until_mark(stream, head[5:].strip()) if head.startswith(b"$EOF:") else _sized(stream, int(head[1:]))
    finally:
        connection.disconnect()


def _sized(stream: Any, size: int) -> Iterator[bytes]:
    while size:
        chunk = stream.read(min(size, CHUNK_BYTES))
        if not chunk:
            raise RedisError("the copy is cut off")
        size -= len(chunk)
        yield chunk


def _until_mark(stream: Any, mark: bytes) -> Iterator[bytes]:
    """The last MARK_LENGTH bytes are held back, for they may be the mark."""
    tail = b""
    while chunk := stream.read1(CHUNK_BYTES):
        tail += chunk
        if tail.endswith(mark):
            yield tail[:-MARK_LENGTH]
            return
        yield tail[:-MARK_LENGTH]
        tail = tail[-MARK_LENGTH:]
    raise RedisError("the copy is cut off")
