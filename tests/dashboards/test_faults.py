"""For each fault the page names its cause: what fires, when, and what Alertmanager silences. And FAULTS.md says so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.generate import DASHBOARDS
from tests.dashboards import expressions
from tests.dashboards.faults import BEGINS, FAULTS, LASTS, SYSTEM, Fault
from tests.dashboards.test_readable import first_screen
from tests.dashboards.test_rules import STEPS, as_test, promtool

PAGE = DASHBOARDS / "FAULTS.md"
CONFIG = yaml.safe_load((DASHBOARDS / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"))
NAMED = re.compile(r"\*([^*]+)\*")
# Labels of series that inhibitions compare or match.
LABELS = {
    "ScrapeDown": {
        "all workers stopped, or hang": "freshgate-worker",
        "the timers process stopped, or hangs": "freshgate-timers",
    }
}


def pages() -> set[str]:
    return {rule["alert"] for rule in expressions.rules() if rule.get("labels", {}).get("severity") == "page"}


def minutes(fault: Fault) -> list[dict[str, Any]]:
    """promtool's tests: each page fires in its minute and not before half of it, and in the end nothing else does."""
    series = {**SYSTEM, **fault.series}
    in_time = {**fault.pages, **fault.tickets}.items()
    tests = [as_test(series, STEPS, BEGINS + at, 1, {alert: True}) for alert, at in in_time]
    firing = {*fault.pages, *fault.silenced}
    expected = {alert: alert in firing for alert in pages()}
    return [
        *tests,
        as_test(series, STEPS, BEGINS - 1, 1, dict.fromkeys(pages() | set(fault.tickets), False)),
        as_test(series, STEPS, BEGINS + LASTS, 1, expected),
    ]


@pytest.mark.tools
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_right_alerts_fire_in_time_and_no_other_page_does(tmp_path: Path, fault: Fault) -> None:
    code, output = promtool(tmp_path, minutes(fault), 1)
    assert code == 0, output


def matches(matchers: Iterable[str], labels: Mapping[str, str]) -> bool:
    for matcher in matchers:
        parts = re.fullmatch(r"(\w+) (=~|!~|=|!=) \"?([^\"]*)\"?", matcher)
        assert parts, matcher
        name, operator, value = parts.groups()
        label = labels.get(name, "")
        is_equal = label == value if operator in ("=", "!=") else re.fullmatch(value, label) is not None
        if is_equal == operator.startswith("!"):
            return False
    return True


def notified(alerts: Iterable[Mapping[str, str]]) -> set[str]:
    """The names of the alerts that Alertmanager sends on, of those that fire."""
    firing = list(alerts)

    def is_silenced(target: Mapping[str, str]) -> bool:
        return any(
            matches(rule["target_matchers"], target)
            and any(
                source is not target
                and matches(rule["source_matchers"], source)
                and all(source.get(label, "") == target.get(label, "") for label in rule["equal"])
                for source in firing
            )
            for rule in CONFIG["inhibit_rules"]
        )

    return {alert["alertname"] for alert in firing if not is_silenced(alert)}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_page_names_the_cause_and_its_effects_are_silent(fault: Fault) -> None:
    firing = [
        {
            "alertname": name,
            "severity": "page",
            "service": "freshgate",
            **({"slo": "mails"} if name == "MailsLate" else {}),
            **({"job": LABELS[name][fault.name]} if name in LABELS else {}),
        }
        for name in (*fault.pages, *fault.silenced)
    ]
    assert notified(firing) == set(fault.pages)


# Cause → what it keeps quiet, and what it does not; labels behind the name. An account's own troubles are of one
# account, and what waits is of all.
INHIBITIONS = (
    (
        "RedisDown",
        "ReceiverFailing, NoWorker, ScrapeDown job=freshgate-worker, BreakerOpen esp=main",
        "Watchdog, MonitoringDown, NotificationsFail, RulesFail",
    ),
    (
        "NoWorker",
        "WorkersStuck, WorkerSilent, QueueOld, MailsLate slo=mails, TimersLate, ScrapeDown job=freshgate-worker",
        "ScrapeDown job=freshgate-receiver, NoTimers, BreakerOpen esp=main",
    ),
    ("NoTimers", "ScrapeDown job=freshgate-timers", "ScrapeDown job=freshgate-worker, NoWorker, RedisDown"),
    ("WorkersStuck", "QueueOld, MailsLate slo=mails, TimersLate", "NoWorker, EspFailing esp=main"),
    (
        "EspBlocked esp=main",
        "MailsLate slo=mails, QueueOld, TimersLate, BreakerOpen esp=main, EspFailing esp=main, EspRetries esp=main",
        "BreakerOpen esp=other, EspFailing esp=other, NoWorker",
    ),
    (
        "BreakerOpen esp=main",
        "MailsLate slo=mails, QueueOld, TimersLate, EspFailing esp=main, EspRetries esp=main, AccountLimited esp=main",
        "EspFailing esp=other, EspBlocked esp=main, WorkersStuck",
    ),
    (
        "EspFailing esp=main",
        "MailsLate slo=mails, QueueOld, TimersLate, EspRetries esp=main, AccountLimited esp=main",
        "EspRetries esp=other, NoWorker",
    ),
    ("SignaturesFail source=shop", "SignaturesFailNowAndThen source=shop", "SignaturesFailNowAndThen source=app"),
    ("MailsLate slo=mails", "MailsLateSlowly slo=mails", "WholePathLate slo=path, QueueOld"),
)
SEVERITIES = {rule["alert"]: rule["labels"]["severity"] for rule in expressions.rules() if "alert" in rule}


def firing(text: str) -> dict[str, str]:
    """`EspRetries esp=main` → the alert's labels."""
    name, *labels = text.split()
    own = dict(label.split("=") for label in labels)
    return {"alertname": name, "service": "freshgate", "severity": SEVERITIES[name], **own}


@pytest.mark.parametrize(("cause", "silent", "heard"), INHIBITIONS)
def test_a_cause_keeps_its_effects_quiet_and_nothing_else(cause: str, silent: str, heard: str) -> None:
    for effect in silent.split(", "):
        assert notified([firing(cause), firing(effect)]) == {firing(cause)["alertname"]}, effect
    for other in heard.split(", "):
        assert firing(other)["alertname"] in notified([firing(cause), firing(other)]), other


def test_every_inhibition_has_its_line() -> None:
    causes = {rule["source_matchers"][0].removeprefix("alertname = ") for rule in CONFIG["inhibit_rules"]}
    # The one by severity is that of MailsLate.
    assert causes - {"severity = page"} == {firing(cause)["alertname"] for cause, _, _ in INHIBITIONS} - {"MailsLate"}


def test_an_effect_of_another_installation_is_not_silenced() -> None:
    own, other = ({"service": "freshgate", "severity": "page", "cluster": at} for at in ("here", "there"))
    assert notified([{"alertname": "NoWorker", **own}, {"alertname": "QueueOld", **other}]) == {"NoWorker", "QueueOld"}


def alerts_of(fault: Fault) -> list[str]:
    pages = [f"[{alert}](runbooks/{alert}.md) within {at} min" for alert, at in fault.pages.items()]
    return pages + [f"a ticket, [{alert}](runbooks/{alert}.md), within {at} min" for alert, at in fault.tickets.items()]


def table() -> str:
    """The table of FAULTS.md."""
    rows = [
        f"| {fault.name} | {fault.shows} | {', '.join(alerts_of(fault)) or '–'} | "
        f"{', '.join(sorted(fault.silenced)) or '–'} |"
        for fault in FAULTS
    ]
    head = ["| fault | what the first screens show | what pages | what it silences |", "|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def test_the_manual_has_this_table() -> None:
    assert table() in PAGE.read_text(encoding="utf-8")


def test_the_panels_that_the_table_names_are_on_a_first_screen() -> None:
    panels = [panel for board in expressions.boards().values() for panel in expressions.panels(board)]
    titles = {panel["title"] for panel in panels}
    first = {panel["title"] for board in expressions.boards().values() for panel in first_screen(board)}
    for fault in FAULTS:
        shown, _, folded = fault.shows.partition("In the folded row")
        assert set(re.findall(NAMED, shown)) <= first, fault.name
        assert set(re.findall(NAMED, folded)) <= titles - first, fault.name
