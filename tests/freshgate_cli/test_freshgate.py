"""`freshgate` as its user calls it: the script that the Makefile writes, in a folder that is not the checkout.

What each command does is tested beside the adapter and the workers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from adapter import __main__ as adapter
from freshgate.version import VERSION
from freshgate_cli.__main__ import help_text, main
from tests.engine.world import PII_KEY, World
from workers import __main__ as workers

ROOT = Path(__file__).parents[2]
ROOMS = ("freshgate", "adapter", "workers", "catalog", "freshgate_cli")
PROCESSES = [f"workers {name}" for name in workers.PROCESSES]
COMMANDS = [
    *adapter.COMMANDS,
    *workers.OPERATOR_COMMANDS,
    *PROCESSES,
    *(f"workers {name}" for name in workers.OPERATOR_COMMANDS),
]
# Each command as it reads from Redis, or writes to it.
WITH_REDIS = (
    "why ada", "unmapped", "unmapped --forget", "preview abandoned_cart --person ada",
    "quarantine list", "quarantine show x", "quarantine replay", "quarantine drop --all",
    "unknown", "unknown list", "unknown show", "unknown resend", "unknown close",
    "dead", "dead list", "dead show", "dead replay", "dead replay --max-age 3d", "dead close",
    "rejected list", "rejected show", "rejected replay", "rejected close",
    "hold", "hold --list", "hold abandoned_cart", "release", "release abandoned_cart",
    "suppressions list", "suppressions show a@example.com", "suppressions add a@example.com --reason asked",
    "suppressions lift a@example.com --reason asked", "accounts", "accounts close sendgrid", "accounts open sendgrid",
    "backup copies",
)  # fmt: skip
WITHOUT_REDIS = {
    "run", "people", "read", "check", "events", "new", "replay", "sign", "traffic", "settings", "restore", "esps",
}  # fmt: skip
LOADED = "import sys; from freshgate_cli.__main__ import main; main({words}); print(*sys.modules)"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command adds its folder to the path, for as long as the test lasts."""
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def environ() -> dict[str, str]:
    """Without anybody's settings, and without a path to the checkout."""
    names = [name for name in os.environ if not name.startswith("FRESHGATE_") and name != "PYTHONPATH"]
    return {name: os.environ[name] for name in names}


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`.venv/bin/freshgate` of a checkout whose path has a space in it."""
    checkout = tmp_path_factory.mktemp("check out")
    binaries = checkout / ".venv" / "bin"
    binaries.mkdir(parents=True)
    python = binaries / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    for name in (*ROOMS, "Makefile"):
        (checkout / name).symlink_to(ROOT / name)
    subprocess.run(["make", "--silent", ".venv/bin/freshgate"], cwd=checkout, check=True, timeout=60)
    return binaries / "freshgate"


@pytest.fixture
def freshgate(script: Path, environ: dict[str, str], tmp_path: Path) -> Run:
    def call(*words: str, cwd: Path = tmp_path, **settings: str) -> subprocess.CompletedProcess[str]:
        variables = environ | {f"FRESHGATE_{name}": value for name, value in settings.items()}
        return subprocess.run(
            [script, *words], cwd=cwd, env=variables, capture_output=True, text=True, check=False, timeout=60
        )

    return call


def test_help_lists_every_command_with_a_line(freshgate: Run) -> None:
    done = freshgate("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: freshgate COMMAND")
    listed = [line[2:19].strip() for line in done.stdout.partition("examples:")[0].splitlines() if line[:2] == "  "]
    assert [name for name in listed if name] == [
        *("run", "people", "read", "check", "events", "new", "preview", "replay", "sign", "traffic"),
        *(
            "why",
            "unmapped",
            "quarantine",
            "settings",
            "unknown",
            "dead",
            "rejected",
            "hold",
            "release",
            "suppressions",
            "accounts",
            "backup",
            "restore",
            "esps",
        ),
        *PROCESSES,
    ]


def test_help_is_as_wide_as_the_terminal() -> None:
    assert max(len(line) for line in help_text(100).splitlines()) <= 100
    assert len(help_text(60).splitlines()) > len(help_text(140).splitlines())


@pytest.mark.parametrize("words", COMMANDS)
def test_the_help_of_a_command_names_it_as_it_was_called(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: freshgate {words} ")
    assert "freshgate" in text.partition("\nexample")[2]
    assert "python -m" not in text


@pytest.mark.parametrize("words", COMMANDS)
def test_each_example_of_a_help_is_a_command_that_exists(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*words.split(), "--help"])
    text = capsys.readouterr().out
    examples = re.findall(r"^(?:example:)? +(?:\w+=\S+ )*(?:.* \| )?freshgate (workers \w+|\w+)", text, re.MULTILINE)
    assert examples
    assert set(examples) <= set(COMMANDS)


def test_the_help_of_python_m_workers_itself_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        workers.run(["--help"])
    examples = capsys.readouterr().out.partition("\nexamples:\n")[2]
    assert {f"python -m workers {name}" in examples for name in ("deliver", "unknown", "dead", "hold")} == {True}


@pytest.mark.parametrize("words", [*workers.OPERATOR_COMMANDS, *workers.PROCESSES])
def test_the_help_of_python_m_workers_has_an_example(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        workers.run([words, "--help"])
    assert f"python -m workers {words}" in capsys.readouterr().out.partition("\nexample")[2]


@pytest.mark.parametrize(
    ("word", "meant"), [("whi", "freshgate why"), ("deed", "freshgate dead"), ("delivr", "freshgate workers deliver")]
)
def test_an_unknown_command_is_a_question_back(word: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    assert f"freshgate: no command '{word}'. Did you mean `{meant}`?" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["xyzzy"]])
def test_a_word_like_no_command_and_no_word_at_all_point_to_the_help(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "`freshgate --help` lists the commands" in printed.err and "mean" not in printed.err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"freshgate {VERSION}\n"


def test_commands_of_both_processes_answer_under_one_name(freshgate: Run, redis: Redis, redis_server: str) -> None:
    world = World(redis)
    world.record(world.event("Order Completed", user="ada", email="ada@example.com", order_id="1"))
    world.run()
    settings = {"REDIS_URL": redis_server, "PII_KEY": PII_KEY.decode()}
    why = freshgate("why", "ada", **settings)
    assert why.returncode == 0 and "order_confirmation: sent" in why.stdout
    for words in (("dead",), ("workers", "dead", "list")):
        dead = freshgate(*words, **settings)
        assert (dead.returncode, dead.stdout, dead.stderr) == (0, "0 dead\n", "")
    assert freshgate("hold", "welcome", **settings).returncode == 0
    assert "(freshgate release)" in freshgate("why", "ada", **settings).stdout


def test_every_command_is_tried_without_redis_or_needs_none() -> None:
    tried = {words.split()[0] for words in WITH_REDIS}
    assert tried | WITHOUT_REDIS >= {*adapter.COMMANDS, *workers.OPERATOR_COMMANDS}
    assert not tried & WITHOUT_REDIS


@pytest.mark.parametrize("command", [*WITH_REDIS, "workers dead", "workers hold"])
def test_a_setting_to_correct_is_2_and_any_other_fault_1_each_in_one_line(
    command: str,
    free_port: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in os.environ if name.startswith("FRESHGATE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    words = command.split()
    assert main(words) == 2
    line = capsys.readouterr().err
    assert line.startswith("freshgate: redis_url is empty") and line.count("\n") == 1
    assert "'var'" in line and "FRESHGATE_VAR" in line
    monkeypatch.setenv("FRESHGATE_REDIS_URL", "127.0.0.1:6379")
    assert main(words) == 2
    line = capsys.readouterr().err
    assert (
        line.startswith("freshgate: redis_url (FRESHGATE_REDIS_URL): not the URL of a Redis") and line.count("\n") == 1
    )
    monkeypatch.setenv("FRESHGATE_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    assert main(words) == 1
    line = capsys.readouterr().err
    assert re.match("freshgate: (redis|backup): ConnectionError", line) and line.count("\n") == 1


@pytest.mark.parametrize("process", ["deliver", "timers"])
def test_a_process_without_its_redis_ends_with_one_line(
    process: str, free_port: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("FRESHGATE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRESHGATE_PII_KEY", "a key for tests")
    monkeypatch.setenv("FRESHGATE_ESPS__SENDGRID__API_KEY", "a key for tests")
    assert main(["workers", process]) == 2
    line = capsys.readouterr().err
    assert line.startswith("freshgate: redis_url (FRESHGATE_REDIS_URL): missing") and line.count("\n") == 1
    monkeypatch.setenv("FRESHGATE_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    assert main(["workers", process]) == 1
    line = capsys.readouterr().err
    assert line.startswith("freshgate: redis: ConnectionError") and line.count("\n") == 1


def test_a_catalog_in_the_folder_of_the_caller_is_found(freshgate: Run) -> None:
    done = freshgate("check", cwd=ROOT / "docs" / "example")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("catalog myshop.catalog: ")


@pytest.mark.parametrize("words", [("events",), ("--help",)])
def test_a_reader_that_goes_away_ends_it_quietly(
    words: tuple[str, ...], script: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    """`freshgate events | head -1`, where head is done at once."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as closed:
        done = subprocess.run(
            [script, *words], cwd=tmp_path, env=environ, stdout=closed, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("words", "packages"), [(["dead"], ("flask", "rq")), (["why", "ada"], ("flask", "rq")), (["run"], ("rq",))]
)
def test_only_what_a_command_needs_is_imported(
    words: list[str], packages: tuple[str, ...], environ: dict[str, str], tmp_path: Path
) -> None:
    # Each ends at a setting, after its imports.
    environ |= {"PYTHONPATH": str(ROOT), "FRESHGATE_ORDER_GRACE": "soon"}
    command = [sys.executable, "-c", LOADED.format(words=words)]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True, timeout=60)
    assert "ORDER_GRACE" in done.stderr
    loaded = set(done.stdout.split())
    assert {"freshgate.settings", "redis"} <= loaded
    assert loaded.isdisjoint(packages)
