"""The launcher (adapter/local): it starts in one go, keeps running, and ends without a trace.

Each process is addressed by the pid that the launcher wrote down.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from adapter.local.processes import Child
from tests.harness.system import ROOT, SECRET, TOKEN, System

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")


def gone(pid: int) -> bool:
    """Ended, whether or not somebody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def adapter(*arguments: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FRESHGATE_")}
    command = [sys.executable, "-m", "adapter", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**inherited, **environ}, input=b"", capture_output=True, check=False, timeout=30
    )


def fault(done: subprocess.CompletedProcess[bytes]) -> str:
    """Its one line on stderr."""
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1, done.stderr.decode()
    return lines[0]


def test_a_taken_port_is_one_line_that_names_the_variable(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        done = adapter("run", environ={"FRESHGATE_VAR": str(tmp_path), "FRESHGATE_PORT": str(port)})
    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 is taken" in fault(done)
    assert "FRESHGATE_PORT" in fault(done)


def test_two_equal_ports_are_told_apart_before_anything_starts(tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = str(free_port())
    environ = {"FRESHGATE_VAR": str(tmp_path), "FRESHGATE_PORT": port, "FRESHGATE_METRICS_PORT": port}
    assert "FRESHGATE_METRICS_PORT" in fault(adapter("run", environ=environ))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = adapter("run", environ={"FRESHGATE_VAR": str(tmp_path / "file")})
    assert done.returncode == 1
    assert "FRESHGATE_VAR" in fault(done)


def test_a_second_instance_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = adapter("run", environ={"FRESHGATE_VAR": str(tmp_path)})
    assert done.returncode == 1
    assert "another Freshgate is running" in fault(done)


def test_a_wrong_setting_is_one_line_and_code_2(tmp_path: Path) -> None:
    done = adapter("run", environ={"FRESHGATE_VAR": str(tmp_path), "FRESHGATE_ORDER_GRACE": "soon"})
    assert done.returncode == 2
    assert "order_grace" in fault(done)


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("FRESHGATE_SOURCES__SHOP__SECRETS", "s", "FRESHGATE_SOURCES__SHOP__KIND"),
        ("FRESHGATE_TRIGGERS__WELCOM__ENABLED", "false", "known: abandoned_cart"),
        ("FRESHGATE_CATALOG", "no_such_catalog", "cannot be imported"),
    ],
)
def test_what_would_stop_a_child_stops_the_start_with_one_line(
    variable: str, value: str, text: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    names = ("PORT", "SANDBOX_PORT", "METRICS_PORT", "WORKER_METRICS_PORT", "TIMERS_METRICS_PORT")
    ports = {f"FRESHGATE_{name}": str(free_port()) for name in names}
    done = adapter("run", environ={"FRESHGATE_VAR": str(tmp_path), **ports, variable: value})
    assert done.returncode in (1, 2)
    assert text in fault(done)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    for folder in ("log", "pids"):
        (tmp_path / folder).mkdir()
    child = Child("sleeper", SLEEP, os.environ, tmp_path)
    child.start()
    yield child
    child.stop()


def pid_of(tmp_path: Path) -> int:
    return int((tmp_path / "pids" / "sleeper").read_text(encoding="ascii"))


def test_a_child_that_dies_is_started_again_and_a_line_says_so(child: Child, tmp_path: Path) -> None:
    lines: list[str] = []
    first = pid_of(tmp_path)
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (len(lines) < 2 or not child.alive) and time.monotonic() < deadline:
        child.watch(lines.append)
        time.sleep(0.02)
    assert "was ended by SIGKILL; again in 0.2 s" in lines[0]
    assert lines[1] == "sleeper started again"
    assert pid_of(tmp_path) != first


def test_a_child_is_out_of_reach_of_the_terminals_ctrl_c(child: Child, tmp_path: Path) -> None:
    assert os.getpgid(pid_of(tmp_path)) != os.getpgid(os.getpid())


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_child_ends_with_its_launcher_however_it_ends(tmp_path: Path) -> None:
    for folder in ("log", "pids"):
        (tmp_path / folder).mkdir()
    program = (
        "import os, pathlib, time; from adapter.local.processes import Child; "
        f"Child('sleeper', {SLEEP!r}, os.environ, pathlib.Path({str(tmp_path)!r})).start(); time.sleep(60)"
    )
    launcher = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    try:
        deadline = time.monotonic() + 20
        while not (tmp_path / "pids" / "sleeper").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1)
        pid = pid_of(tmp_path)
    finally:
        launcher.kill()
        launcher.wait()
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert gone(pid)


def order(order_id: str) -> dict[str, object]:
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    return {
        "type": "track",
        "event": "Order Completed",
        "messageId": f"test-{order_id}",
        "timestamp": now,
        "userId": f"user-{order_id}",
        "properties": {"order_id": order_id, "email": f"{order_id}@example.com", "total": 1, "currency": "EUR"},
    }


def test_an_order_becomes_a_mail_and_sigterm_leaves_no_process() -> None:
    with System() as system:
        assert system.post(order("first")).json["accepted"] == 1
        mails = system.wait_for(system.outbox)
        assert [mail["to"] for mail in mails] == ["first@example.com"]
        pids = system.pids()
        assert set(pids) == {"redis", "sandbox", "worker", "timers", "receiver"}
        assert system.stop() == 0
        assert [name for name, pid in pids.items() if not gone(pid)] == []


def test_a_sandbox_with_a_password_is_started_as_well() -> None:
    with System({"FRESHGATE_SANDBOX_PASSWORD": "secret"}) as system:
        assert system.request("SANDBOX_PORT", "GET", "/messages").status == http.client.UNAUTHORIZED
        assert system.post(order("behind-a-password")).json["accepted"] == 1
        headers = {"authorization": "Basic " + b64encode(b":secret").decode()}
        # The mail is in: our client of the ESP sends the password.
        system.wait_for(lambda: system.request("SANDBOX_PORT", "GET", "/messages", headers=headers).json)


def test_the_welcome_says_where_secrets_are_that_each_source_accepts_and_shows_none() -> None:
    # In an empty folder the secrets are generated.
    with System({"FRESHGATE_SOURCES__PAGE__KIND": "tracking"}) as system:
        lines = {line.split()[0]: line for line in system.console().splitlines() if line.startswith("  ")}
        assert {"segment", "tealium", "mparticle", "page"} <= set(lines)
        assert lines["segment"].split("   ")[-2:] == [
            " secret in FRESHGATE_SOURCES__SEGMENT__SECRETS",
            "token in FRESHGATE_SOURCES__SEGMENT__TOKENS",
        ]
        assert "write key in " in lines["page"]
        secrets = [file.read_text(encoding="ascii").strip() for file in (system.var / "secrets").iterdir()]
        assert [secret for secret in (*secrets, SECRET, TOKEN) if secret in system.console()] == []
        for name, body in (("tealium", {"tealium_event": "page_view"}), ("mparticle", {"events": []})):
            secret = Path(lines[name].partition(" secret in ")[2].strip()).read_text(encoding="ascii").strip()
            assert secret.startswith("Bearer ")
            for authorization, status in ((secret, 200), (secret + "x", 401)):
                headers = {"authorization": authorization, "content-type": "application/json"}
                posted = json.dumps(body).encode()
                assert system.request("PORT", "POST", f"/webhooks/{name}", posted, headers).status == status


def test_a_second_start_continues_where_the_first_one_stopped(tmp_path: Path) -> None:
    with System(var=tmp_path / "var") as first:
        assert first.post(order("twice")).json["accepted"] == 1
        first.wait_for(first.outbox)
    with System(var=tmp_path / "var") as second:
        assert second.post(order("twice")).json["duplicate"] == 1


def test_a_killed_launcher_takes_all_along_and_the_next_start_continues(tmp_path: Path) -> None:
    with System(var=tmp_path / "var") as first:
        assert first.post(order("killed")).json["accepted"] == 1
        first.wait_for(first.outbox)
        pids = first.pids()
        assert first.launcher is not None
        first.launcher.kill()
        first.wait_for(lambda: all(gone(pid) for pid in pids.values()))
    with System(var=tmp_path / "var") as second:
        assert second.post(order("killed")).json["duplicate"] == 1


@pytest.mark.parametrize("name", ["receiver", "worker", "timers", "redis"])
def test_a_killed_process_comes_back_and_mails_go_on(name: str) -> None:
    with System() as system:
        killed = system.kill(name)
        system.wait_for(lambda: f"{name} started again" in system.console())
        assert system.pid(name) != killed
        system.wait_for(lambda: _ready(system))
        assert system.post(order(f"after-{name}")).json["accepted"] == 1
        system.wait_for(system.outbox, timeout=60)


def _ready(system: System) -> bool:
    try:
        return system.request("PORT", "GET", "/readyz").status == 200
    except OSError:
        return False
