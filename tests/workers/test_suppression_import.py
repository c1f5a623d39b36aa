"""`python -m workers suppressions import`: all lines or none, each fault by its line, a second run changes nothing."""

from __future__ import annotations

import argparse
import getpass
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from freshgate.errors import SettingsError
from freshgate.settings import Settings
from freshgate.state import keys, store
from freshgate.state.suppressions import in_force
from tests.engine.world import HOUR, PII_KEY, World, product
from workers import suppression_import, suppressions

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"
Import = Callable[..., tuple[int, str]]


@pytest.fixture
def load(redis_server: str, redis: Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Import:
    """Imports a text; returns the exit code and what was printed, with `FILE` for the file."""
    store.load(redis)
    store.add_shops(redis, ["main"])

    def call(text: str | bytes, *words: str) -> tuple[int, str]:
        file = tmp_path / "list.csv"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        parser = argparse.ArgumentParser()
        suppressions.add_command(parser.add_subparsers(dest="command"))
        settings = Settings(redis_url=redis_server, pii_key=PII_KEY.decode())
        capsys.readouterr()
        code = suppressions.run(settings, parser.parse_args(["suppressions", "import", str(file), *words]))
        return code, capsys.readouterr().out.replace(str(file), "FILE")

    return call


def held(redis: Redis, address: str) -> dict[str, Any]:
    raw: Any = redis.hgetall(keys.address("main", keys.address_id(PII_KEY, address)))
    return in_force(raw)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def test_a_list_of_addresses_is_all_that_it_needs(load: Import, redis: Redis) -> None:
    code, text = load(f"address\n{ADA}\n{BOB}\n")
    assert (code, text) == (0, "imported 2; 0 were known already\n")
    for address in (ADA, BOB):
        assert list(held(redis, address)) == ["unsubscribed"]
        assert "imported by operator" in held(redis, address)["unsubscribed"].value


def test_each_line_may_say_kind_reason_and_time(load: Import, redis: Redis) -> None:
    text = (
        "Email;Kind;At;Reason;ignored\n"
        f"{ADA};bounced;2026-03-01T12:00:00Z;mailbox is gone;x\n"
        f"{BOB};topic_cart_reminders;2026-03-01;;\n"
        f'"{EVE}";;;"says; enough"\n'
        "\n"
    )
    assert load(text, "--reason", "the old shop")[0] == 0
    assert held(redis, ADA)["bounced"].at == ms("2026-03-01T12:00:00")
    assert held(redis, ADA)["bounced"].value.endswith(": mailbox is gone")
    assert held(redis, BOB)["topic_cart_reminders"].at == ms("2026-03-01T00:00:00")
    assert held(redis, BOB)["topic_cart_reminders"].value.endswith(": the old shop")
    assert held(redis, EVE)["unsubscribed"].value.endswith(": says; enough")


def test_a_dry_run_counts_and_writes_nothing(load: Import, redis: Redis) -> None:
    code, text = load(f"address,kind\n{ADA},\n{BOB},spam\n", "--dry-run")
    assert (code, text) == (0, "would import 1 spam, 1 unsubscribed; nothing was written\n")
    assert list(redis.scan_iter("fg:{main}:a:*")) == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("nobody", "this is not one email address"),
        ("ada@example.com;bob@example.com", "this is not one email address"),
        (",spam", "no email address"),
        (f"{ADA},unsubscribe", "kind 'unsubscribe' is not known; write one of unsubscribed, bounced, spam, topic_"),
        (f"{ADA},topic_nothing", "kind 'topic_nothing' is not known"),
        (f"{ADA},,yesterday", "at 'yesterday' is not a time; write it like 2026-03-01T12:00:00Z"),
        (f"{ADA},,2026-03-01T12:00:00", "at '2026-03-01T12:00:00' is not a time"),
        (f"{ADA},,2999-01-01", "at '2999-01-01' lies in the future"),
        (f"{ADA},,,{'x' * 201}", "the reason must be printable"),
        (f"{ADA},,,a\x1b[2J", "the reason must be printable"),
    ],
)
def test_one_line_that_cannot_be_used_is_named_and_nothing_is_imported(
    load: Import, redis: Redis, line: str, fault: str
) -> None:
    code, text = load(f"address,kind,at,reason\n{BOB}\n{line}\n{EVE}\n")
    assert code == 1
    assert text.startswith(f"FILE:3: {fault}")
    assert text.endswith("nothing imported: 1 lines cannot be used; 2 unsubscribed could be\n")
    assert ADA not in text and BOB not in text
    assert list(redis.scan_iter("fg:{main}:a:*")) == []


def test_many_faults_are_counted_and_some_shown(load: Import) -> None:
    code, text = load("address\n" + "nobody\n" * 50)
    assert code == 1
    assert text.count("FILE:") == suppression_import.MAX_FAULTS_SHOWN
    assert "50 lines cannot be used (30 of them not shown); no line could be" in text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (f"{ADA}\n", "its first line must name the columns"),
        ("", "its first line must name the columns"),
        (b"address\n\xff\xfe\n", "not a CSV file in UTF-8"),
        (f'address\n"{ADA}\n', "not a CSV file in UTF-8"),
    ],
)
def test_a_file_that_is_not_such_a_list_is_refused(load: Import, text: str | bytes, fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        load(text)


def test_a_file_that_is_not_there_is_refused(load: Import) -> None:
    source = suppression_import.Source(Path("/nowhere.csv"), ["spam"], "spam", "", "me")
    with pytest.raises(SettingsError, match="No such file"):
        list(suppression_import.read(source, 0))


def test_what_a_spreadsheet_writes_is_read(load: Import, redis: Redis) -> None:
    assert load(f"\ufeffE-mail,Email Address\r\nx,{ADA.upper()} \r\n")[0] == 0
    assert list(held(redis, ADA)) == ["unsubscribed"]


def test_a_time_counts_where_the_file_names_one_though_the_address_is_suppressed_already(
    load: Import, redis: Redis
) -> None:
    load(f"address,at\n{ADA},2026-03-01T12:00:00+02:00\n")
    assert held(redis, ADA)["unsubscribed"].at == ms("2026-03-01T10:00:00")
    assert held(redis, ADA)["unsubscribed"].value.endswith(getpass.getuser()), "no reason was said"
    load(f"address,at\n{ADA},2026-05-01\n")
    assert held(redis, ADA)["unsubscribed"].at == ms("2026-05-01T00:00:00")


def test_a_day_begins_in_utc_wherever_the_command_runs(
    load: Import, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "America/New_York")
        time.tzset()
        load(f"address,at\n{ADA},2026-03-01\n")
    time.tzset()
    assert held(redis, ADA)["unsubscribed"].at == ms("2026-03-01T00:00:00")


def test_lines_at_their_bounds_are_imported(load: Import) -> None:
    assert load(f"address,reason\n{ADA},{'x' * 200}\n")[0] == 0
    row = {"address": ADA, "kind": "", "reason": "", "at": "2026-03-01"}
    source = suppression_import.Source(Path("list.csv"), ["spam"], "spam", "", "me")
    assert isinstance(suppression_import._row(2, row, source, ms("2026-03-01")), suppression_import.Row)


def test_as_many_faults_as_are_shown_are_all_shown(load: Import) -> None:
    _, text = load("address\n" + "nobody\n" * suppression_import.MAX_FAULTS_SHOWN)
    assert "lines cannot be used; no line could be" in text


def test_a_second_run_changes_nothing_and_adds_nothing_to_the_trail(load: Import, redis: Redis) -> None:
    world = World(redis)
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("tea")))
    text = f"address,at\n{ADA},2026-03-01\n{BOB},\n"
    assert load(text)[1] == "imported 2; 0 were known already\n"
    before = {address: held(redis, address) for address in (ADA, BOB)}, len(world.decisions("ada"))
    assert load(text)[1] == "imported 0; 2 were known already\n"
    assert ({address: held(redis, address) for address in (ADA, BOB)}, len(world.decisions("ada"))) == before
    assert world.decisions("ada")[-1]["state"] == "suppressed by import"


def test_an_opt_in_after_the_time_of_the_line_outweighs_it(load: Import, redis: Redis) -> None:
    world = World(redis)
    world.record(world.event("Subscribed", user="ada", email=ADA))
    load(f"address,at\n{ADA},2020-01-01\n")
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("tea")))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_more_lines_than_a_trip_takes_are_imported(load: Import, redis: Redis) -> None:
    count = suppression_import.BATCH * 2 + 7
    assert load("address\n" + "".join(f"a{number}@example.com\n" for number in range(count)))[1].startswith(
        f"imported {count};"
    )
    assert len(list(redis.scan_iter("fg:{main}:a:*"))) == count


def test_a_failing_redis_says_how_far_it_came(load: Import, redis: Redis, redis_server: str) -> None:
    redis.config_set("maxmemory", 1)
    try:
        code, text = load(f"address\n{ADA}\n")
    finally:
        redis.config_set("maxmemory", 0)
    assert code == 1
    assert text.startswith("stopped behind line 0: ")
    assert "run it again" in text
