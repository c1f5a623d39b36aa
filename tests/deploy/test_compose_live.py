"""`make test-compose`: the unmodified docker-compose.yml on a real engine: kills, pauses, an upgrade and a restore.

Skipped with the reason where no engine is, or images are missing. The tests build on each other, in this order.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapter.sources.segment.signature import sign
from dashboards import runbook_forms
from tests.dashboards.test_alerts import RUNBOOKS, commands
from tests.deploy import stack
from tests.deploy.composed import NEEDED, Composed
from tests.deploy.stack import ROOT

pytestmark = [pytest.mark.tools, pytest.mark.timeout(900)]
# There is no such send and no such hold; these end with 1.
NOTHING_THERE = ("SEND", "release nobody", "workers release", "release --sent-until")
PLACEHOLDERS = {
    "SHOPPER": "compose-1",
    "TRIGGER": "welcome",
    "SEND": "0123456789abcdef01234567",
    "SOURCE": "segment",
    "--source NAME": "--source segment",
    "< FILE": "< event.json",
    "--sent-until TIME": "--sent-until none",
    # There is no such target here.
    "outcomes.main": "sendgrid",
}


@pytest.fixture(scope="module")
def composed() -> Iterator[Composed]:
    if os.environ.get("FRESHGATE_TEST_COMPOSE") != "1":
        pytest.skip("`make test-compose` runs it: it builds an image and starts containers")
    with tempfile.TemporaryDirectory(prefix="freshgate-compose-") as folder:
        started = Composed(Path(folder))
        try:
            started.up("--build")
            yield started
        finally:
            started.down()


def post(composed: Composed, number: int) -> int:
    """An order, signed as the CDP would."""
    order = {"order_id": f"compose-{number}", "email": f"compose{number}@example.com", "total": 1, "currency": "EUR"}
    event = {
        "type": "track",
        "event": "Order Completed",
        "userId": f"compose-{number}",
        "messageId": f"compose-{number}",
        "properties": order,
    }
    body = json.dumps(event).encode()
    secret = (composed.folder / "deploy" / "secrets" / "segment_secrets").read_text(encoding="utf-8").strip()
    headers = {"x-signature": sign(secret, body), "content-type": "application/json"}
    return composed.ask("RECEIVER_PORT", "/webhooks/segment", body, **headers)[0]


def mails_to(composed: Composed, number: int) -> int:
    return sum(mail["to"] == f"compose{number}@example.com" for mail in composed.outbox())


def up_targets(composed: Composed, job: str) -> int:
    url = f"http://127.0.0.1:9090/api/v1/query?query=sum(up%7Bjob%3D%22{job}%22%7D)"
    done = composed.paste(f"docker compose exec -T prometheus wget -q -O - '{url}'")
    result = json.loads(done.stdout)["data"]["result"] if done.returncode == 0 else []
    return int(result[0]["value"][1]) if result else 0


def test_everything_becomes_healthy_and_mails_arrive(composed: Composed) -> None:
    for service in composed.services:
        # An image that stands in for another may lack the program of its health check.
        is_there = composed.is_well if service in NEEDED else composed.containers
        composed.wait_for(lambda name=service, is_there=is_there: is_there(name))  # type: ignore[misc]  # a lambda's defaults have no types
    assert post(composed, 1) == 200
    composed.wait_for(lambda: mails_to(composed, 1) == 1)
    # The made-up shoppers' mails, too.
    composed.wait_for(lambda: len(composed.outbox()) > 3)


def test_a_line_is_written_as_the_log_reader_expects_it(composed: Composed) -> None:
    """What deploy/alloy/config.alloy reads: Docker's envelope with the service's name, and our JSON with ids in it."""
    (container,) = composed.containers("worker")
    inspect = ["docker", "inspect", "-f", "{{.LogPath}}", container]
    path = Path(subprocess.run(inspect, capture_output=True, text=True, check=True).stdout.strip())
    if not os.access(path, os.R_OK):
        pytest.skip("Docker's log files are root's")
    assert path.match("containers/*/*-json.log")
    envelopes = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    project = composed.environ["COMPOSE_PROJECT_NAME"]
    names = {"com.docker.compose.project": project, "com.docker.compose.service": "worker"}
    assert [envelope for envelope in envelopes if envelope["attrs"] != names] == []
    lines = [json.loads(envelope["log"]) for envelope in envelopes]
    sends = [line for line in lines if line["event"] == "send" and line["outcome"] == "sent"]
    assert [line for line in sends if not {"send", "trigger", "level", "ts"} <= set(line)] == []
    # A share of the requests is traced, and so are their sends.
    assert sends
    assert "compose1@example.com" not in path.read_text(encoding="utf-8")


def test_only_who_watches_reaches_the_metrics(composed: Composed) -> None:
    ask = "docker compose exec -T {} python -IS deploy/probe.py http://{}:{}/{}"
    assert composed.paste(ask.format("worker", "127.0.0.1", 9109, "metrics")).returncode == 0
    # From the network that receiver and sandbox share.
    assert composed.paste(ask.format("sandbox", "receiver", 8080, "healthz")).returncode == 0
    assert composed.paste(ask.format("sandbox", "receiver", 9108, "metrics")).returncode == 1
    assert composed.paste(ask.format("sandbox", "worker", 9109, "metrics")).returncode == 1


def test_three_workers_are_scraped_each(composed: Composed) -> None:
    composed.run("up", "-d", "--no-deps", "--no-recreate", "--scale", "worker=3", "worker")
    composed.wait_for(lambda: composed.is_well("worker", 3))
    composed.wait_for(lambda: up_targets(composed, "freshgate-worker") == 3)
    # And alerts reach whoever is woken: in the demo, the pager.
    composed.wait_for(lambda: "Watchdog" in str(composed.ask("PAGER_PORT", "/notifications")[1]))


def test_the_other_workers_go_on_when_one_is_paused(composed: Composed) -> None:
    first = composed.containers("worker")[0]
    subprocess.run(["docker", "pause", first], check=True, capture_output=True)
    try:
        for number in range(10, 16):
            assert post(composed, number) == 200
        composed.wait_for(lambda: sum(mails_to(composed, number) for number in range(10, 16)) >= 5)
    finally:
        subprocess.run(["docker", "unpause", first], check=True, capture_output=True)
    composed.wait_for(lambda: all(mails_to(composed, number) == 1 for number in range(10, 16)))
    composed.run("up", "-d", "--no-deps", "--scale", "worker=1", "worker")
    composed.wait_for(lambda: composed.is_well("worker"))


@pytest.mark.parametrize("service", ["worker", "timers", "receiver", "redis"])
def test_a_container_that_is_killed_comes_back_and_nothing_is_lost(composed: Composed, service: str) -> None:
    number = 20 + ("worker", "timers", "receiver", "redis").index(service)
    (container,) = composed.containers(service)
    before = composed.started_at(container)
    assert post(composed, number) == 200
    composed.signal(container, signal.SIGKILL)
    composed.wait_for(lambda: composed.started_at(container) != before)
    composed.wait_for(lambda: composed.is_well(service))
    composed.wait_for(lambda: composed.ask("RECEIVER_PORT", "/readyz")[0] == 200)
    composed.wait_for(lambda: mails_to(composed, number) == 1)


def compose_commands() -> list[str]:
    """The commands of all runbooks in their form for Compose, without those that restart or scale."""
    forms = {runbook_forms.to_compose(command) for text in RUNBOOKS.values() for command in commands(text)}
    return sorted(form for form in forms if not form.startswith(("docker compose restart", "docker compose up")))


def test_every_runbooks_command_runs(composed: Composed) -> None:
    (composed.folder / "event.json").write_text(
        json.dumps({"type": "track", "event": "Order Completed", "userId": "u", "properties": {"order_id": "1"}}),
        encoding="utf-8",
    )
    failed = []
    for command in compose_commands():
        line = command
        for name, value in PLACEHOLDERS.items():
            line = line.replace(name, value)
        if "quarantine" in line and "list" not in line:
            continue  # there is no element; the test beside `make run` has one
        done = composed.paste(line)
        # A metric that nobody has set yet is not there for grep.
        allowed = (0, 1) if any(part in command for part in (*NOTHING_THERE, "| grep ")) else (0,)
        if done.returncode not in allowed or "Traceback" in done.stderr:
            failed.append((command, done.returncode, done.stderr[-300:]))
    composed.paste("docker compose exec -T receiver python -m workers release")
    composed.paste("docker compose exec -T receiver python -m workers release welcome")
    assert failed == [], "\n".join(map(str, failed))


@pytest.mark.parametrize(
    ("service", "asked", "url"),
    [
        ("worker", "worker", "http://127.0.0.1:9109/metrics"),
        ("timers", "timers", "http://127.0.0.1:9110/metrics"),
        ("receiver", "receiver", "http://127.0.0.1:8080/healthz"),
        ("redis", "receiver", "http://127.0.0.1:8080/readyz"),
    ],
)
def test_a_container_that_hangs_is_restarted_by_the_runbooks_command(
    composed: Composed, service: str, asked: str, url: str
) -> None:
    ask = f"docker compose exec -T {asked} python -IS deploy/probe.py {url}"
    (container,) = composed.containers(service)
    composed.wait_for(lambda: composed.paste(ask).returncode == 0)
    composed.signal(container, signal.SIGSTOP)
    assert composed.paste(ask).returncode == 1
    before = composed.started_at(container)
    done = composed.paste(f"docker compose restart -t 5 {service}")
    assert done.returncode == 0, done.stderr
    assert composed.started_at(container) != before
    composed.wait_for(lambda: composed.is_well(service))
    composed.wait_for(lambda: composed.paste(ask).returncode == 0)


def backup_commands(heading: str) -> list[str]:
    """The blocks of the manual's section on backups."""
    section = (
        (ROOT / "docs" / "DEPLOY.md").read_text(encoding="utf-8").partition(f"### {heading}\n")[2].partition("\n## ")[0]
    )
    return section.split("```\n")[1::2]


def test_a_copy_is_restored_with_its_mail_held_and_nothing_before_it_is_missing_or_leaves_twice(
    composed: Composed,
) -> None:
    """The manual's commands as they stand there, while the made-up shoppers go on."""
    copy, restore, release = (block for block in backup_commands("Backup and restore")[1:4])
    acknowledged = [number for number in range(100, 140) if post(composed, number) == 200]
    for line in copy.splitlines():
        done = composed.paste(line)
        assert done.returncode == 0, (line, done.stderr)
    # The last line lists the copies; the schedule has made one at its start, too.
    file = sorted(re.findall(r"freshgate-\w+\.rdb", done.stdout))[-1]
    after = [number for number in range(140, 145) if post(composed, number) == 200]
    composed.wait_for(lambda: all(mails_to(composed, number) for number in (*acknowledged, *after)))
    for line in restore.splitlines():
        if line == "docker compose up -d":
            # Only what has an image here: the manual's line starts the whole stack.
            composed.up()
            composed.wait_for(lambda: composed.is_well("redis") and composed.is_well("receiver"))
            composed.wait_for(lambda: composed.ask("RECEIVER_PORT", "/readyz")[0] == 200)
            continue
        done = composed.paste(line.replace("FILE", file))
        assert done.returncode == 0, (line, done.stderr)
    assert "all mail is held" in done.stdout
    (until,) = re.findall(r"--sent-until (\d\S+)", done.stdout)
    # All that was acknowledged before the copy is there, and what is new is accepted.
    for number in acknowledged[::10]:
        done = composed.paste(f"docker compose exec -T receiver python -m adapter why compose-{number}")
        assert "order_confirmation" in done.stdout, (number, done.stdout[-300:], done.stderr[-300:])
    assert post(composed, 150) == 200
    why = "docker compose exec -T receiver python -m adapter why compose-150"
    composed.wait_for(lambda: "Order Completed" in composed.paste(why).stdout)
    # Nothing has left since: the sandbox was never stopped.
    assert mails_to(composed, 150) == 0
    done = composed.paste(re.sub(r"--sent-until \S+", f"--sent-until {until}", release.strip()))
    assert done.returncode == 0, done.stderr
    composed.wait_for(lambda: mails_to(composed, 150) == 1)
    assert [number for number in (*acknowledged, *after) if mails_to(composed, number) != 1] == []


def test_timers_tell_a_cdp_what_became_of_the_mails_by_the_manuals_override(composed: Composed) -> None:
    """The sandbox stands for the CDP; it takes any write key that is its password."""
    manual = (ROOT / "docs" / "OUTCOMES.md").read_text(encoding="utf-8")
    override = composed.folder / "compose.override.yml"
    override.write_text(manual.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    secrets = composed.folder / "deploy" / "secrets"
    key = secrets / "outcomes_write_key"
    key.write_text((secrets / "esp_api_key").read_text(encoding="utf-8"), encoding="utf-8")
    key.chmod(0o444)
    settings = composed.folder / "deploy" / "local" / "freshgate.toml"
    before = settings.read_text(encoding="utf-8")
    settings.write_text(f'{before}\n[outcomes.main]\nurl = "http://sandbox:8025"\n', encoding="utf-8")
    composed.run("up", "-d", "--no-deps", "--force-recreate", "receiver", "worker", "timers")
    for service in ("receiver", "worker", "timers"):
        composed.wait_for(lambda name=service: composed.is_well(name))  # type: ignore[misc]  # as above
    assert post(composed, 170) == 200
    composed.wait_for(lambda: mails_to(composed, 170) == 1)

    def heard() -> list[tuple[str, str]]:
        return [(row["event"], row["userId"]) for row in composed.outbox("/outcomes") if "userId" in row]

    composed.wait_for(lambda: ("Email Sent", "compose-170") in heard())
    # Nobody but the timers has the key.
    assert composed.paste("docker compose exec -T worker ls /run/secrets/outcomes_write_key").returncode != 0
    override.unlink()
    settings.write_text(before, encoding="utf-8")
    composed.run("up", "-d", "--no-deps", "--force-recreate", "receiver", "worker", "timers")


def image_of(composed: Composed, service: str) -> Any:
    inspect = ["docker", "inspect", "-f", "{{.Image}}", *composed.containers(service)]
    return subprocess.run(inspect, capture_output=True, text=True, check=True).stdout.strip()


def test_an_upgrade_replaces_each_process_and_takes_what_was_written_along(composed: Composed) -> None:
    before = {name: image_of(composed, name) for name in ("receiver", "worker", "timers")}
    settings = composed.folder / "deploy" / "local" / "freshgate.toml"
    mine = settings.read_text(encoding="utf-8") + "\n# mine\n"
    settings.write_text(mine, encoding="utf-8")
    version = composed.folder / "freshgate" / "version.py"
    version.write_text(version.read_text(encoding="utf-8") + "\n# A release that differs.\n", encoding="utf-8")
    assert composed.paste("python3 deploy/prepare.py").returncode == 0
    composed.up()
    for name, image in before.items():
        composed.wait_for(lambda name=name: composed.is_well(name))  # type: ignore[misc]  # as above
        assert image_of(composed, name) != image
    assert settings.read_text(encoding="utf-8") == mine
    assert post(composed, 200) == 200
    composed.wait_for(lambda: mails_to(composed, 200) == 1)
    assert {name for name in stack.compose()["services"] if name in composed.missing} == set(composed.missing)
