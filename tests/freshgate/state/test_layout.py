"""A store that another layout wrote is recognized, and refused with one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from adapter import app
from freshgate.errors import StoreUnavailable
from freshgate.state import keys, store
from freshgate_cli.__main__ import main


def write_other_layout(redis: Redis) -> None:
    redis.set(keys.LAYOUT, "3")


def write_first_layout_with_a_person(redis: Redis) -> None:
    redis.hset("fg:{s07}:p:u0123456789abcdef", "t:email", "x")


def write_first_layout_with_a_timer(redis: Redis) -> None:
    redis.zadd("fg:{s63}:timers", {"welcome|p:u0123456789abcdef": 1})


LAYOUTS = [
    (write_other_layout, "3"),
    (write_first_layout_with_a_person, "1"),
    (write_first_layout_with_a_timer, "1"),
]


@pytest.fixture
def settings(redis_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRESHGATE_REDIS_URL", redis_server)
    monkeypatch.setenv("FRESHGATE_PII_KEY", "a key for tests")
    monkeypatch.setenv("FRESHGATE_ESPS__SENDGRID__API_KEY", "a key for tests")
    for source in ("SEGMENT__SECRETS", "TEALIUM__TOKENS", "MPARTICLE__TOKENS"):
        monkeypatch.setenv(f"FRESHGATE_SOURCES__{source}", "a secret for the tests")


@pytest.mark.parametrize(("write", "layout"), LAYOUTS)
def test_every_process_refuses_it_with_one_line(
    redis: Redis, write: Any, layout: str, settings: None, capsys: pytest.CaptureFixture[str]
) -> None:
    write(redis)
    before = redis.dbsize()
    for process in ("deliver", "timers"):
        assert main(["workers", process]) == 1
        line = capsys.readouterr().err
        assert f"data of layout {layout}" in line and "FRESHGATE_REDIS_URL" in line and line.count("\n") == 1
    with pytest.raises(StoreUnavailable, match=f"layout {layout}"):
        app.from_environment()
    assert "cannot_start" in capsys.readouterr().err
    assert redis.dbsize() == before


def test_an_empty_store_and_one_with_other_programs_keys_are_taken(redis: Redis) -> None:
    redis.set("fg:{sale}:x", "another program's")
    store.load(redis)
    assert redis.get(keys.LAYOUT) == store.LAYOUT_VERSION
    # A shop may have the name of a shard.
    redis.set("fg:{s07}:gap", "1 1")
    store.load(redis)
