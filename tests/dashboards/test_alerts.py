"""The alerts as they are committed: each has its runbook, whose commands exist; and they are routed as meant.

`test_rules.py` makes each of them fire and stay quiet.
"""

from __future__ import annotations

import argparse
import re
import shlex
from typing import Any

import pytest
import yaml

from adapter.__main__ import _parser as adapter_parser
from adapter.settings import Settings
from dashboards.generate import HERE
from tests.dashboards import expressions
from tests.dashboards.test_boards import known
from workers import desk

SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
LOGS = {f"var/log/{name}.log" for name in ("receiver", "worker", "timers", "redis", "sandbox")}
RUNBOOKS = {file.stem: file.read_text(encoding="utf-8") for file in (HERE / "runbooks").glob("*.md")}


def alerts() -> list[Any]:
    return [rule for rule in expressions.rules() if "alert" in rule]


def commands(text: str) -> list[str]:
    """Lines of ```sh blocks, and what is quoted in a sentence and starts with python."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    sentences = re.sub("```.*?```", "", text, flags=re.DOTALL)
    return [*"\n".join(blocks).splitlines(), *re.findall(r"`(python -m [^`]*)`", sentences)]


def wrong(command: str) -> str:
    """Why it could not run; or nothing."""
    first, *rest = [shlex.split(part) for part in command.split(" | ")]
    if first[:3] in (["python", "-m", "workers"], ["python", "-m", "adapter"]):
        parser = adapter_parser() if first[2] == "adapter" else _workers_parser()
        try:
            parser.parse_args(first[3:])
        except SystemExit:
            return "no such command"
    elif first[0] == "curl":
        ports = Settings()
        asked = re.match(r"http://127\.0\.0\.1:(\d+)/", first[-1])
        mine = (ports.port, ports.metrics_port, ports.worker_metrics_port, ports.timers_metrics_port, 9090, 9093)
        if not asked or int(asked[1]) not in mine:
            return "nobody listens there"
    elif first[0] == "tail":
        return "" if first[-1] in LOGS else "no such log"
    elif first[0] != "df":
        return "not a command of these"
    for piped in rest:
        if piped[0] == "grep" and not any(name.startswith(piped[1]) or piped[1] in name for name in known()):
            return "no such metric"
    return ""


def _workers_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers")
    added = parser.add_subparsers(required=True)
    added.add_parser("deliver")
    added.add_parser("timers")
    desk.add_commands(added)
    return parser


def test_every_alert_has_its_runbook_and_none_is_left_over() -> None:
    assert {alert["alert"] for alert in alerts()} == set(RUNBOOKS)
    for alert in alerts():
        assert (HERE.parent / alert["annotations"]["runbook"]).is_file()


@pytest.mark.parametrize("name", sorted(RUNBOOKS))
def test_a_runbook_has_its_sections_and_commands_that_exist(name: str) -> None:
    text = RUNBOOKS[name]
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    assert re.search(r"## Diagnosis\n\n```sh\n\S", text)
    assert {command: wrong(command) for command in commands(text) if wrong(command)} == {}


@pytest.mark.parametrize(
    "command",
    [
        "python -m workers unknown burn",
        "python -m adapter whi SHOPPER",
        "python -m workers dead replay --max-agee 1d",
        "curl -s http://127.0.0.1:1234/readyz",
        "curl -s http://127.0.0.1:9109/metrics | grep freshgate_made_up",
        "tail -n 50 var/log/nobody.log",
        "rm -rf var",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(command: str) -> None:
    assert wrong(command)


def test_every_alert_says_how_bad_it_is_and_where_to_look() -> None:
    uids = set(expressions.boards())
    for alert in alerts():
        assert alert["labels"]["severity"] in ("page", "ticket") or alert["alert"] == "Watchdog"
        assert alert["annotations"]["summary"].endswith(".")
        assert alert["annotations"]["dashboard"].removeprefix("/d/") in uids


def test_runbooks_that_panels_name_exist() -> None:
    texts = [panel["description"] for board in expressions.boards().values() for panel in expressions.panels(board)]
    lists = re.findall(r"[Rr]unbooks? (?:is )?((?:[A-Z]\w+(?:, | and )?)+)", "\n".join(texts))
    named = {name for told in lists for name in re.findall(r"[A-Z]\w+", told)}
    assert len(named) > 10
    assert named - set(RUNBOOKS) == set()


def test_every_receiver_of_a_route_exists_and_inhibitions_name_alerts() -> None:
    told = yaml.safe_load((HERE / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"))
    receivers = {one["name"] for one in told["receivers"]}
    assert {told["route"]["receiver"], *(route["receiver"] for route in told["route"]["routes"])} == receivers
    keys = ("source_matchers", "target_matchers")
    text = " ".join(matcher for rule in told["inhibit_rules"] for key in keys for matcher in rule[key])
    named = set(re.findall(r"\b[A-Z]\w+", text))
    assert named - {alert["alert"] for alert in alerts()} == set()
