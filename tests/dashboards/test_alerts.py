"""The committed alerts: each has a runbook whose commands exist, and is routed to its receiver.

`test_rules.py` makes each alert fire and stay quiet.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapter.__main__ import build_parser as adapter_parser
from dashboards.generate import DASHBOARDS
from dashboards.runbook_forms import PYTHON, by_hand
from freshgate.settings import Settings
from tests.dashboards import expressions
from workers import accounts as worker_accounts
from workers import backup
from workers import commands as worker_commands

SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
KILL = r'kill (-KILL )?"\$\(cat var/pids/(receiver|worker|timers|redis)\)"'
LOGS = {f"var/log/{name}.log" for name in ("receiver", "worker", "timers", "redis", "sandbox")}
RUNBOOKS = {file.stem: file.read_text(encoding="utf-8") for file in (DASHBOARDS / "runbooks").glob("*.md")}


def alerts() -> list[Any]:
    return [rule for rule in expressions.rules() if "alert" in rule]


def commands(text: str) -> list[str]:
    """The lines of ```sh blocks for `make run`, and commands of ours in a sentence."""
    text = by_hand(text)
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    sentences = re.sub("```.*?```", "", text, flags=re.DOTALL)
    return [*"".join(blocks).splitlines(), *re.findall(r"`((?:\S*/)?python -m [^`]*)`", sentences)]


def command_fault(command: str) -> str:
    """Why the command could not run, or an empty text."""
    command = command.removeprefix("FRESHGATE_WORKER_METRICS_PORT=9119 ")
    first, *rest = [shlex.split(part) for part in command.split(" | ")]
    name = first[0] if first else ""
    if first[:3] in ([PYTHON, "-m", "workers"], [PYTHON, "-m", "adapter"]):
        parser = adapter_parser() if first[2] == "adapter" else _workers_parser()
        try:
            parser.parse_args(first[3:])
        except SystemExit:
            return "no such command"
    elif name == "curl":
        ports = Settings()
        asked = re.match(r"curl -sS --max-time 5 http://127\.0\.0\.1:(\d+)/", " ".join(first))
        mine = (ports.port, ports.metrics_port, ports.worker_metrics_port, ports.timers_metrics_port, 9090, 9093)
        if not asked or int(asked[1]) not in mine:
            return "nobody listens there, or it may hang"
    elif name == "tail":
        if first[-1] not in LOGS:
            return "no such log"
    elif name != "df" and not re.fullmatch(KILL, command):
        return "not a command of these"
    for piped in rest:
        if piped[0] == "grep" and not any(
            name.startswith(piped[1]) or piped[1] in name for name in expressions.known_series()
        ):
            return "no such metric"
    return ""


def _workers_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers")
    added = parser.add_subparsers(required=True)
    added.add_parser("deliver")
    added.add_parser("timers")
    worker_commands.add_commands(added)
    worker_accounts.add_command(added)
    backup.add_commands(added)
    return parser


def runbook_of(rule: Any) -> Path:
    """The committed file that the alert's link leads to, whatever address comes before."""
    return DASHBOARDS / "runbooks" / rule["annotations"]["runbook_url"].rpartition("/")[2]


def without_runbook(rules: Sequence[Any], runbooks: Collection[str]) -> set[str]:
    """Alerts without a runbook, runbooks without an alert, and alerts that name another file."""
    named = {rule["alert"] for rule in rules}
    files = {rule["alert"] for rule in rules if runbook_of(rule).is_file()}
    return (named ^ set(runbooks)) | (named - files)


def runbook_faults(name: str, text: str) -> list[str]:
    faults = []
    if not text.startswith(f"# {name}\n") or re.findall(r"^## (.*)$", text, re.MULTILINE) != SECTIONS:
        faults.append("another title or other sections")
    if not re.search(r"## Diagnosis\n\n```sh\n\S", text):
        faults.append("no command to paste")
    if re.search(r"^## \w+\n+(?=## |\Z)", text, re.MULTILINE):
        faults.append("an empty section")
    return faults + [f"{command}: {command_fault(command)}" for command in commands(text) if command_fault(command)]


def test_every_alert_has_its_runbook_and_none_is_left_over() -> None:
    assert without_runbook(alerts(), RUNBOOKS) == set()


def test_a_missing_runbook_is_noticed() -> None:
    dead = next(rule for rule in alerts() if rule["alert"] == "DeadMails")
    assert without_runbook(alerts(), set(RUNBOOKS) - {"DeadMails"}) == {"DeadMails"}
    assert without_runbook(alerts(), {*RUNBOOKS, "OldOne"}) == {"OldOne"}
    moved = {**dead, "annotations": {"runbook_url": "https://x.example/Dead.md"}}
    assert without_runbook([moved], {"DeadMails"}) == {"DeadMails"}


@pytest.mark.parametrize("name", sorted(RUNBOOKS))
def test_a_runbook_has_its_sections_and_commands_that_exist(name: str) -> None:
    assert runbook_faults(name, RUNBOOKS[name]) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# DeadMails", "# MailsDead"),
        ("## Impact\n", ""),
        ("```sh\n.venv/bin/python -m workers dead list\n", "```sh\n\n"),
        (".venv/bin/python -m workers dead list", ".venv/bin/python -m workers dead lost"),
    ],
)
def test_a_runbook_that_lacks_something_is_noticed(old: str, new: str) -> None:
    text = RUNBOOKS["DeadMails"]
    assert old in text
    assert runbook_faults("DeadMails", text.replace(old, new))


def test_an_empty_section_of_a_runbook_is_noticed() -> None:
    text = re.sub(r"(## Impact\n).*?(?=## )", r"\1\n", RUNBOOKS["DeadMails"], flags=re.DOTALL)
    assert runbook_faults("DeadMails", text) == ["an empty section"]


@pytest.mark.parametrize(
    "command",
    [
        ".venv/bin/python -m workers unknown burn",
        ".venv/bin/python -m adapter whi SHOPPER",
        "python -m adapter why SHOPPER",
        "curl -s --max-time 5 http://127.0.0.1:8080/readyz",
        ".venv/bin/python -m workers dead replay --max-agee 1d",
        "curl -sS --max-time 5 http://127.0.0.1:1234/readyz",
        "curl -s http://127.0.0.1:8080/readyz",
        "curl -sS --max-time 5 http://127.0.0.1:9109/metrics | grep freshgate_made_up",
        "tail -n 50 var/log/nobody.log",
        "rm -rf var",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(command: str) -> None:
    assert command_fault(command)


def alert_faults(rule: Any) -> list[str]:
    """The keys that an alert lacks."""
    faults = []
    if rule["labels"].get("severity") not in ("page", "ticket") and rule["alert"] != "Watchdog":
        faults.append("severity")
    if not rule["annotations"].get("summary", "").endswith("."):
        faults.append("summary")
    link = re.fullmatch(
        r"\{\{ \$externalLabels\.grafana \}\}/d/([\w-]+)(?:\?viewPanel=panel-(\d+))?",
        rule["annotations"].get("dashboard_url", ""),
    )
    board = expressions.boards().get(link[1]) if link else None
    if not link or not board or (link[2] and link[2] not in {str(at["id"]) for at in expressions.panels(board)}):
        faults.append("dashboard")
    return faults


def test_every_alert_says_how_bad_it_is_and_where_to_look() -> None:
    assert {rule["alert"]: alert_faults(rule) for rule in alerts() if alert_faults(rule)} == {}


def test_an_alert_that_does_not_say_it_is_noticed() -> None:
    rule = alerts()[0]
    assert alert_faults({**rule, "labels": {"severity": "loud"}}) == ["severity"]
    assert alert_faults({**rule, "annotations": {}}) == ["summary", "dashboard"]
    assert alert_faults({**rule, "annotations": {**rule["annotations"], "dashboard_url": "/d/nowhere"}}) == [
        "dashboard"
    ]


def test_the_table_of_alerts_opens_the_runbooks_where_prometheus_says_they_are() -> None:
    (watchdog,) = [rule for rule in alerts() if rule["alert"] == "Watchdog"]
    assert watchdog["labels"]["runbooks"] == "{{ $externalLabels.runbooks }}"
    board = expressions.boards()["freshgate-event-to-email"]
    (variable,) = [at for at in board["templating"]["list"] if at["name"] == "runbooks"]
    assert variable["query"] == 'label_values(ALERTS{alertname="Watchdog"}, runbooks)'
    (table,) = [panel for panel in expressions.panels(board) if panel["title"] == "Alerts that fire"]
    (links,) = [
        at["value"]
        for override in table["fieldConfig"]["overrides"]
        if override["matcher"]["options"] == "Alert"
        for at in override["properties"]
        if at["id"] == "links"
    ]
    assert [link["url"] for link in links] == ["${runbooks}/${__value.text}.md"]


def named_runbooks(texts: Iterable[str]) -> set[str]:
    """The runbooks that the descriptions of panels name."""
    lists = re.findall(r"[Rr]unbooks? (?:is )?((?:[A-Z]\w+(?:, | and )?)+)", "\n".join(texts))
    return {name for names in lists for name in re.findall(r"[A-Z]\w+", names)}


def test_runbooks_that_panels_name_exist() -> None:
    texts = [panel["description"] for board in expressions.boards().values() for panel in expressions.panels(board)]
    assert len(named_runbooks(texts)) > 10
    assert named_runbooks(texts) - set(RUNBOOKS) == set()
    assert named_runbooks(["see runbooks MadeUp and RedisDown"]) - set(RUNBOOKS) == {"MadeUp"}


def named_panels(texts: Iterable[str]) -> set[str]:
    """The panels that runbooks name."""
    return set(re.findall(r"panel \*([^*]+)\*", "\n".join(texts)))


def test_panels_that_runbooks_name_exist() -> None:
    titles = {panel["title"] for board in expressions.boards().values() for panel in expressions.panels(board)}
    assert len(named_panels(RUNBOOKS.values())) > 5
    assert named_panels(RUNBOOKS.values()) - titles == set()
    assert named_panels(["Board *Triggers*, panel *Made up*."]) == {"Made up"}


def routing_faults(config: Any) -> set[str]:
    """Receivers that no route uses or that a route invents, and inhibitions of alerts that do not exist."""
    receivers = {receiver["name"] for receiver in config["receivers"]}
    used = {config["route"]["receiver"], *(route["receiver"] for route in config["route"]["routes"])}
    keys = ("source_matchers", "target_matchers")
    text = " ".join(matcher for rule in config["inhibit_rules"] for key in keys for matcher in rule[key])
    return (receivers ^ used) | (set(re.findall(r"\b[A-Z]\w+", text)) - {rule["alert"] for rule in alerts()})


def test_every_receiver_of_a_route_exists_and_inhibitions_name_alerts() -> None:
    config = yaml.safe_load((DASHBOARDS / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"))
    assert routing_faults(config) == set()
    assert routing_faults({**config, "receivers": [{"name": "page"}, {"name": "spare"}]}) == {
        "ticket",
        "watchdog",
        "spare",
    }
    renamed = {"source_matchers": ["alertname = RedisGone"], "target_matchers": []}
    assert routing_faults({**config, "inhibit_rules": [renamed]}) == {"RedisGone"}
