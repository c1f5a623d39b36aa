"""promtool and amtool check that each alert fires and stays quiet as in cases.py, and reaches its receiver.

The tests write promtool's test file for the committed rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards import alerts
from dashboards.generate import DASHBOARDS
from tests.dashboards import expressions
from tests.dashboards.cases import CASES, HEALTH, WEEK_LONG, Case
from tests.dashboards.tools import run

STEPS = 300
# promtool needs most of a second for one, and twice that on a busy machine.
CASES_AT_ONCE = 20
# In steps of 30 minutes: a week, the change, and five hours after it.
WEEK_STEPS, WEEK_AT = 380, 353
RULES = sorted(str(file) for file in (DASHBOARDS / "prometheus").glob("*.yml"))


def as_values(text: str, steps: int) -> str:
    """`0+10` → `0+10x300`; a text with its own length stays."""
    return text if "x" in text else f"{text}x{steps}"


def as_test(
    series: Mapping[str, str], steps: int, at: int, minutes: int, expected: Mapping[str, bool]
) -> dict[str, Any]:
    """One test of promtool: whether these alerts fire at that step."""
    return {
        "interval": f"{minutes}m",
        "input_series": [{"series": name, "values": as_values(text, steps)} for name, text in series.items()],
        "promql_expr_test": [
            {
                "expr": f'group(ALERTS{{alertname="{alert}",alertstate="firing"}})',
                "eval_time": f"{at * minutes}m",
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
            for alert, fires in expected.items()
        ],
    }


def promtool(folder: Path, tests: Sequence[dict[str, Any]], minutes: int) -> tuple[int, str]:
    file = folder / "tests.yml"
    document = {
        "rule_files": RULES,
        "evaluation_interval": f"{minutes}m",
        # Recording rules come first: an older value may be too old to be used.
        "group_eval_order": ["freshgate-recorded", *alerts.ALERTS],
        "tests": list(tests),
    }
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    done = run("promtool", "test", "rules", str(file))
    return done.returncode, done.stdout + done.stderr


def names() -> list[str]:
    return sorted({rule["alert"] for rule in expressions.rules() if "alert" in rule})


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    assert sorted({case.alert for case in [*CASES, *WEEK_LONG] if case.fires}) == names()


@pytest.mark.tools
@pytest.mark.parametrize("first", range(0, len(CASES), CASES_AT_ONCE))
def test_each_alert_fires_and_stays_quiet(tmp_path: Path, first: int) -> None:
    cases = CASES[first : first + CASES_AT_ONCE]
    tests = [as_test({**HEALTH, **case.series}, STEPS, 100, 1, {case.alert: case.fires}) for case in cases]
    assert promtool(tmp_path, tests, 1) == (0, "Unit Testing:  " + str(tmp_path / "tests.yml") + "\n  SUCCESS\n\n")


@pytest.mark.tools
def test_in_health_nothing_fires_but_the_watchdog(tmp_path: Path) -> None:
    expected = {name: name == "Watchdog" for name in names()}
    code, output = promtool(tmp_path, [as_test(HEALTH, STEPS, 250, 1, expected)], 1)
    assert code == 0, output


@pytest.mark.tools
@pytest.mark.timeout(400)  # It computes for 45 s, on a machine of its own.
def test_silence_and_slow_losses_are_seen_over_a_week(tmp_path: Path) -> None:
    tests = [
        as_test({**HEALTH, **case.series}, WEEK_STEPS, WEEK_AT, 30, {case.alert: case.fires}) for case in WEEK_LONG
    ]
    code, output = promtool(tmp_path, tests, 30)
    assert code == 0, output


@pytest.mark.tools
@pytest.mark.parametrize("case", [Case("RedisDown", True, {}), Case("RedisDown", False, {"freshgate_redis_up": "0+0"})])
def test_an_alert_that_does_what_it_should_not_is_noticed(tmp_path: Path, case: Case) -> None:
    test = as_test({**HEALTH, **case.series}, STEPS, 100, 1, {case.alert: case.fires})
    assert promtool(tmp_path, [test], 1)[0] != 0


@pytest.mark.tools
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("alertname=Watchdog", "severity=none"), "watchdog"),
        (("alertname=MailsLate", "severity=page"), "page"),
        (("alertname=StaleMails", "severity=ticket"), "ticket"),
        (("alertname=SomebodyElses",), "ticket"),
    ],
)
def test_alerts_reach_whom_they_are_meant_for(labels: tuple[str, ...], receiver: str) -> None:
    config = f"--config.file={DASHBOARDS / 'alertmanager' / 'alertmanager.yml'}"
    done = run("amtool", "config", "routes", "test", config, f"--verify.receivers={receiver}", *labels)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.tools
def test_a_wrong_route_is_noticed() -> None:
    config = f"--config.file={DASHBOARDS / 'alertmanager' / 'alertmanager.yml'}"
    done = run("amtool", "config", "routes", "test", config, "--verify.receivers=page", "severity=ticket")
    assert done.returncode != 0


@pytest.mark.tools
def test_the_rules_and_the_routes_are_accepted(tmp_path: Path) -> None:
    assert run("promtool", "check", "rules", "--lint=all", *RULES).returncode == 0
    assert run("amtool", "check-config", str(DASHBOARDS / "alertmanager" / "alertmanager.yml")).returncode == 0
    broken = tmp_path / "broken.yml"
    broken.write_text("groups: [{name: one, rules: [{alert: A, expr: 'sum by ('}]}]", encoding="utf-8")
    assert run("promtool", "check", "rules", str(broken)).returncode != 0
