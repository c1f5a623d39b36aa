"""SIGHUP loads a changed catalog without losing a request; a broken catalog is refused, and the old one stays.

The processes are real and under load; the catalog stands in a folder of the test.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.ports import free_ports
from tests.harness.system import ROOT, System

WITH_LAMPS = """
from freshgate.declare import EventType, From
from catalog import EVENTS as BUILT_IN, TRIGGERS

EVENTS = (*BUILT_IN, EventType(name="Lamp Lit", sources={"segment": From(when={"type": "track", "event": "Lamp Lit"})}))
"""
WITHOUT_LAMPS = "from catalog import EVENTS, TRIGGERS\n"
BROKEN = WITHOUT_LAMPS + "TRIGGERS = TRIGGERS[0].nothing\n"


class Shop:
    """A catalog outside the project, which tests rewrite, and a system that uses it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "lampshop" / "catalog" / "__init__.py"
        self._file.parent.mkdir(parents=True)
        (folder / "lampshop" / "__init__.py").touch()
        self.write(WITHOUT_LAMPS)
        self.system = System({"FRESHGATE_CATALOG": "lampshop.catalog", "PYTHONPATH": f"{folder}:{ROOT}"})

    def write(self, text: str) -> None:
        self._file.write_text(text, encoding="utf-8")

    def post_lamp_lit(self, number: int) -> Any:
        event = {"type": "track", "event": "Lamp Lit", "messageId": f"lit-{number}", "userId": "ada"}
        return self.system.post(event).json


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    with shop.system:
        yield shop


class Load:
    """A client that posts without pause until it ends, and remembers the status of each response."""

    def __init__(self, system: System) -> None:
        self.statuses: list[int | str] = []
        self._system = system
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._post)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _post(self) -> None:
        while not self._stopped.is_set():
            event = {"type": "page", "messageId": f"load-{len(self.statuses)}", "userId": "load"}
            try:
                self.statuses.append(self._system.post(event).status)
            except OSError as error:
                self.statuses.append(type(error).__name__)


def send_sighup(system: System) -> None:
    os.kill(int((system.var / "lock").read_text(encoding="ascii")), signal.SIGHUP)


def test_a_changed_catalog_is_taken_up_under_load_and_no_request_fails(shop: Shop) -> None:
    system = shop.system
    assert shop.post_lamp_lit(1)["ignored"] == 1
    with Load(system) as load:
        system.wait_for(lambda: len(load.statuses) > 20)
        shop.write(WITH_LAMPS)
        send_sighup(system)
        system.wait_for(lambda: "the changed catalog is in use" in system.console())
        # Five in a row: both of gunicorn's workers have the new catalog.
        numbers = iter(range(100, 10_000))
        system.wait_for(lambda: all(shop.post_lamp_lit(next(numbers))["accepted"] for _ in range(5)))
        system.wait_for(lambda: len(load.statuses) > 100)
    assert set(load.statuses) == {200}


def test_a_broken_catalog_is_refused_with_the_reason_and_the_old_one_stays(shop: Shop) -> None:
    system = shop.system
    shop.write(WITH_LAMPS)
    send_sighup(system)
    system.wait_for(lambda: "is in use" in system.console())
    system.wait_for(lambda: shop.post_lamp_lit(time.monotonic_ns())["accepted"])
    pids = {name: system.pid(name) for name in ("receiver", "worker", "timers")}
    with Load(system) as load:
        shop.write(BROKEN)
        send_sighup(system)
        system.wait_for(lambda: "is refused, the old one stays" in system.console())
        # The same by a SIGHUP to gunicorn itself.
        os.kill(system.pid("receiver"), signal.SIGHUP)
        log = system.var / "log" / "receiver.log"
        system.wait_for(lambda: '"event": "catalog_refused"' in log.read_text(encoding="utf-8"))
        system.wait_for(lambda: len(load.statuses) > 50)
    assert "has no attribute 'nothing'" in system.console()
    assert set(load.statuses) == {200}
    assert shop.post_lamp_lit(2)["accepted"] == 1
    assert {name: system.pid(name) for name in pids} == pids


def test_a_process_that_comes_back_loads_the_copy_while_the_files_are_broken(shop: Shop) -> None:
    system = shop.system
    shop.write(BROKEN)
    killed = system.kill("receiver")
    system.wait_for(lambda: "receiver started again" in system.console())
    assert system.pid("receiver") != killed
    system.wait_for(lambda: is_healthy(system))
    assert shop.post_lamp_lit(1)["ignored"] == 1


def is_healthy(system: System) -> bool:
    try:
        return system.request("PORT", "GET", "/healthz").status == 200
    except OSError:
        return False


def test_gunicorn_by_itself_refuses_a_broken_catalog_too(tmp_path: Path, redis_server: str) -> None:
    shop = Shop(tmp_path / "shop")
    port, metrics = free_ports(2)
    environ = shop.system.environ | {
        "FRESHGATE_PORT": str(port),
        "FRESHGATE_METRICS_PORT": str(metrics),
        "FRESHGATE_VAR": str(tmp_path / "var"),
        "FRESHGATE_CONFIG": str(tmp_path / "freshgate.toml"),
        "FRESHGATE_REDIS_URL": redis_server,
        "FRESHGATE_PII_KEY": "for tests",
        "FRESHGATE_SOURCES__TEALIUM__SECRETS": "Basic x",
        "FRESHGATE_SOURCES__MPARTICLE__SECRETS": "Basic x",
    }
    settings = tmp_path / "freshgate.toml"
    settings.touch()
    shop.system.ports["PORT"] = port
    command = [sys.executable, "-m", "gunicorn", "-c", "python:adapter.gunicorn_conf", "adapter.app:from_environment()"]
    log = tmp_path / "gunicorn.log"
    with log.open("wb") as out, subprocess.Popen(command, cwd=ROOT, env=environ, stdout=out, stderr=out) as gunicorn:
        try:
            deadline = time.monotonic() + 30
            while not is_healthy(shop.system) and time.monotonic() < deadline:
                time.sleep(0.05)
            shop.write(BROKEN)
            gunicorn.send_signal(signal.SIGHUP)
            while "catalog_refused" not in log.read_text(encoding="utf-8") and time.monotonic() < deadline:
                time.sleep(0.05)
            assert "catalog_refused" in log.read_text(encoding="utf-8")
            # Settings that fit no catalog, with the catalog as it was.
            shop.write(WITHOUT_LAMPS)
            settings.write_text("[triggers.nonsense]\nenabled = false\n", encoding="utf-8")
            gunicorn.send_signal(signal.SIGHUP)
            while "no such trigger" not in log.read_text(encoding="utf-8") and time.monotonic() < deadline:
                time.sleep(0.05)
            assert "no such trigger" in log.read_text(encoding="utf-8")
            assert gunicorn.poll() is None and is_healthy(shop.system)
            settings.write_text("", encoding="utf-8")
            shop.write(WITH_LAMPS)
            gunicorn.send_signal(signal.SIGHUP)
            while not shop.post_lamp_lit(time.monotonic_ns())["accepted"] and time.monotonic() < deadline:
                time.sleep(0.05)
            assert shop.post_lamp_lit(1)["accepted"] == 1
        finally:
            gunicorn.terminate()
