"""deploy/prepare.py, which runs before Compose, and deploy/probe.py, the health check that Compose runs.

Both use the standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deploy import prepare, probe
from tests.deploy import stack
from tests.deploy.stack import ROOT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "deploy").mkdir()
    for source in prepare.COPIES:
        (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / source, tmp_path / source)
    (tmp_path / ".env.example").write_text("COMPOSE_PROFILES=demo\n", encoding="utf-8")
    return tmp_path


def files(root: Path) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in (root / "deploy" / "secrets").iterdir()}


def test_it_makes_every_secret_that_compose_mounts(root: Path) -> None:
    assert prepare.main(root) == 0
    assert {f"./deploy/secrets/{name}" for name in files(root)} == {
        secret["file"] for secret in stack.compose()["secrets"].values()
    }
    assert (root / ".env").read_text(encoding="utf-8") == "COMPOSE_PROFILES=demo\n"


def test_the_folder_is_closed_and_the_files_are_readable_for_the_containers_users(root: Path) -> None:
    before = os.umask(0o077)
    try:
        prepare.main(root)
    finally:
        os.umask(before)
    folder = root / "deploy" / "secrets"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o444}
    assert (root / ".env").stat().st_mode & 0o777 == 0o600


def test_a_second_run_changes_nothing_and_no_two_secrets_are_alike(root: Path) -> None:
    prepare.main(root)
    first = files(root)
    prepare.main(root)
    assert files(root) == first
    assert len(set(first.values())) == len(first)
    assert min(len(text) for text in first.values()) >= 40


def test_the_store_and_its_clients_know_one_password(root: Path) -> None:
    prepare.main(root)
    secrets = files(root)
    password = secrets["redis_url"].removeprefix("redis://:").partition("@")[0]
    assert secrets["redis_acl"] == f"user default on >{password} ~* &* +@all\n"


def test_half_of_a_password_stops_it(root: Path) -> None:
    prepare.main(root)
    (root / "deploy" / "secrets" / "redis_acl").unlink()
    with pytest.raises(SystemExit, match="redis_url and redis_acl"):
        prepare.main(root)


def test_the_stores_health_check_finds_the_password(root: Path) -> None:
    prepare.main(root)
    password = files(root)["redis_url"].removeprefix("redis://:").partition("@")[0]
    client = root / "valkey-cli"
    client.write_text(f'#!/bin/sh\n[ "$REDISCLI_AUTH $1" = "{password} ping" ] && echo PONG\n', encoding="utf-8")
    client.chmod(0o755)
    kind, command = stack.compose()["services"]["redis"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    local_command = command.replace("$$", "$").replace("/run/secrets", str(root / "deploy" / "secrets"))
    environment = {"PATH": f"{root}:{os.environ['PATH']}"}
    assert subprocess.run(["sh", "-c", local_command], env=environment, check=False).returncode == 0
    client.write_text("#!/bin/sh\necho NOAUTH\n", encoding="utf-8")
    assert subprocess.run(["sh", "-c", local_command], env=environment, check=False).returncode == 1


def test_what_is_edited_is_a_copy_that_git_ignores_and_an_upgrade_leaves_alone(root: Path) -> None:
    prepare.main(root)
    for source, copy in prepare.COPIES.items():
        assert (root / copy).read_text(encoding="utf-8") == (root / source).read_text(encoding="utf-8")
        assert subprocess.run(["git", "check-ignore", "-q", copy], cwd=ROOT, check=False).returncode == 0
        (root / copy).write_text("mine\n", encoding="utf-8")
    prepare.main(root)
    assert {(root / copy).read_text(encoding="utf-8") for copy in prepare.COPIES.values()} == {"mine\n"}


def test_nobody_goes_live_with_the_demos_pager_or_without_copies_without_being_told(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare.main(root)
    assert "warning" not in capsys.readouterr().out
    (root / ".env").write_text("# COMPOSE_PROFILES=demo\n", encoding="utf-8")
    prepare.main(root)
    warnings = capsys.readouterr().out
    assert "nobody is woken" in warnings
    assert "never copied" in warnings
    (root / ".env").write_text("COMPOSE_PROFILES=backup,logs\n", encoding="utf-8")
    prepare.main(root)
    assert "never copied" not in capsys.readouterr().out
    routes = root / "deploy" / "local" / "alertmanager" / "alertmanager.yml"
    routes.write_text(routes.read_text(encoding="utf-8").replace("http://pager:8026", "https://x.example"), "utf-8")
    prepare.main(root)
    assert "warning" not in capsys.readouterr().out
    # Alertmanager takes a receiver that reaches nobody.
    text = routes.read_text(encoding="utf-8")
    emptied = re.sub(r"(  - name: page\n)    webhook_configs:\n.*\n", r"\1", text)
    assert emptied != text
    routes.write_text(emptied, encoding="utf-8")
    prepare.main(root)
    assert "alertmanager.yml: nobody hears of what goes to page," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("receivers", "silent"),
    [
        ("  - name: page\n  - name: ticket\n", ["page", "ticket"]),
        ("  - name: page\n    webhook_configs: []\n  - name: ticket\n    email_configs:\n      - {to: x}\n", ["page"]),
        ("- name: 'page'\n  slack_configs: [{channel: x}]\n- name: ticket", ["ticket"]),
        ("  - name: page\n    pagerduty_configs: [{routing_key_file: /x}]\n", []),
    ],
)
def test_a_receiver_without_a_way_to_anybody_is_found(receivers: str, silent: list[str]) -> None:
    rest = "inhibit_rules:\n  - name: other\n"
    assert prepare.receivers_of_nobody(f"route:\n  receiver: page\nreceivers:\n{receivers}\n{rest}") == silent


# ---- the probe


@pytest.fixture
def answering() -> Iterator[Callable[[int], str]]:
    """A function that starts a server which answers with a status, and returns its URL."""
    servers = []

    def start(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "12")
                self.end_headers()
                self.wfile.write(b'{"status":1}')

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/readyz"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (401, 0), (404, 1), (500, 1), (503, 1)])
def test_the_probe_tells_health_from_illness(answering: Callable[[int], str], status: int, code: int) -> None:
    assert probe.main(answering(status)) == code


def test_the_probe_says_what_is_missing(answering: Callable[[int], str], capsys: pytest.CaptureFixture[str]) -> None:
    probe.main(answering(503))
    assert capsys.readouterr().out == '503 {"status":1}\n'


def test_the_probe_shows_what_is_served(answering: Callable[[int], str], capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(answering(200), show=True) == 0
    assert capsys.readouterr().out == '{"status":1}'


def test_the_probe_runs_isolated_and_hears_that_nobody_answers(free_port: Callable[[], int]) -> None:
    command = [sys.executable, "-IS", str(ROOT / "deploy" / "probe.py"), f"http://127.0.0.1:{free_port()}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "no answer: ConnectionRefusedError\n")
