"""docs/example, a catalog outside of Freshgate that extends ours, is found and served; a copy of ours stands alone.

Each command runs in a process of its own, in a folder that is not the repository.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from tests.adapter.commands.conftest import ROOT

EXAMPLE = ROOT / "docs" / "example"
Run = Callable[..., subprocess.CompletedProcess[str]]
COUNT_EVENTS = (
    "import {0} as c, sys; print(len(c.EVENTS), sorted(m for m in sys.modules if m.split('.')[0] == 'catalog'))"
)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FRESHGATE_")}
    return {**inherited, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def run(environ: dict[str, str]) -> Run:
    def call(*words: str, cwd: Path = EXAMPLE) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words]
        return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=60)

    return call


def test_the_example_is_found_from_its_own_folder_and_has_no_fault(run: Run) -> None:
    done = run("-m", "adapter", "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("catalog myshop.catalog: ")


def test_its_triggers_tests_pass_from_its_own_folder(run: Run) -> None:
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "myshop/tests")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


PAIRS = sorted(EXAMPLE.glob("myshop/payloads/*/*.expected.json"))


@pytest.mark.parametrize("expected", PAIRS, ids=lambda path: path.parent.name)
def test_its_payloads_are_read_as_expected(run: Run, expected: Path) -> None:
    body = expected.with_name(expected.name.replace(".expected.json", ".json"))
    done = run("-m", "adapter", "read", str(body), "--source", body.parent.name, "--json")
    (verdict,) = json.loads(done.stdout)["verdicts"]
    assert {key: verdict[key] for key in json.loads(expected.read_text())} == json.loads(expected.read_text())
    assert verdict["starts"] == {"renewal_thanks": "at once"}


def test_it_reads_our_event_types_too_and_its_changed_trigger_waits_longer(run: Run) -> None:
    body = ROOT / "tests/payloads/segment/product_added__full.json"
    report = json.loads(run("-m", "adapter", "read", str(body), "--source", "segment", "--json").stdout)
    assert report["verdicts"][0]["starts"] == {"abandoned_cart": "3h"}


def test_a_copy_of_our_catalog_uses_nothing_of_the_original(run: Run, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "catalog", tmp_path / "shop" / "catalog", ignore=shutil.ignore_patterns("__pycache__"))
    done = run("-c", COUNT_EVENTS.format("shop.catalog"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    original = run("-c", COUNT_EVENTS.format("catalog"), cwd=tmp_path)
    assert done.stdout.split(" ")[0] == original.stdout.split(" ")[0]
    assert done.stdout.strip().endswith("[]")


def test_gunicorn_serves_the_example_and_the_commands_work_beside_it(
    redis: Redis, redis_server: str, environ: dict[str, str], run: Run, free_port: Callable[[], int], tmp_path: Path
) -> None:
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder)
    port = free_port()
    environ |= {
        "FRESHGATE_REDIS_URL": redis_server,
        "FRESHGATE_PORT": str(port),
        "FRESHGATE_METRICS_PORT": "0",
        "FRESHGATE_RECEIVER_WORKERS": "1",
        "FRESHGATE_PII_KEY": "a key of the tests",
        "FRESHGATE_SOURCES__SEGMENT__SECRETS": "abc123",
        "FRESHGATE_SOURCES__SEGMENT__TOKENS": "t-1",
        "FRESHGATE_SOURCES__MPARTICLE__SECRETS": "Bearer m-1",
    }
    (folder / "late.json").write_text('{"type": "track", "event": "Plan Chosen", "properties": {"plan": "Gold"}}')
    command = (sys.executable, "-m", "gunicorn", "-c", "python:adapter.gunicorn_conf", "adapter.app:from_environment()")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_for_port(port, tmp_path / "log")

        def replay(file: str, name: str, *words: str) -> str:
            url = f"http://127.0.0.1:{port}/webhooks/{name}"
            done = run("-m", "adapter", "replay", file, "--to", url, *words, cwd=folder)
            return done.stdout + done.stderr

        pairs = "myshop/payloads"
        assert replay(f"{pairs}/segment", "segment") == (
            "1 of 1 bodies answered 200: 1 accepted, 0 duplicate, 0 ignored, 0 refused\n"
        )
        assert "0 accepted, 1 duplicate" in replay(f"{pairs}/segment", "segment")
        assert "1 accepted, 0 duplicate" in replay(f"{pairs}/segment", "segment", "--again")
        assert "1 of 1 bodies answered 200" in replay(f"{pairs}/mparticle", "mparticle")
        assert "0 accepted, 0 duplicate, 1 ignored" in replay("late.json", "segment")
        (event,) = json.loads(run("-m", "adapter", "unmapped", "--json", cwd=folder).stdout)
        assert (event["name"], event["count"]) == ("track / Plan Chosen", 1)
        assert event["shape"] == {"type": "text", "event": "text", "properties": {"plan": "text"}}
        why = run("-m", "adapter", "why", "u-1", cwd=folder).stdout
        assert "Subscription Renewed from segment: accepted" in why
    finally:
        process.terminate()
        process.wait(20)


def _wait_for_port(port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        else:
            return
