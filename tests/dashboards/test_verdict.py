"""The first panels of a board, evaluated: what fires, and that nobody evaluates the alerts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dashboards import expressions
from tests.dashboards.tools import run

pytestmark = pytest.mark.tools
WATCHDOG = {"alertname": "Watchdog", "severity": "none"}
NO_WORKER = {"alertname": "NoWorker", "severity": "page", "queue": "q"}
QUEUE_OLD = {"alertname": "QueueOld", "severity": "page", "queue": "q"}
LATE = {"alertname": "MailsLate", "severity": "page", "slo": "mails"}
BREAKER, FAILING = ({"alertname": name, "severity": "page", "esp": "one"} for name in ("BreakerOpen", "EspFailing"))


def series(*alerts: Mapping[str, str], state: str = "firing") -> dict[str, str]:
    """What Prometheus writes for alerts that have fired, or are pending, since minute 0."""
    written = {}
    for alert in alerts:
        labels = ",".join(f'{name}="{value}"' for name, value in {**alert, "service": "freshgate"}.items())
        written[f'ALERTS{{{labels},alertstate="{state}"}}'] = "1x20"
        written[f"ALERTS_FOR_STATE{{{labels}}}"] = "0x20"
    return written


# Series; what *Alerts* shows; and the rows of *Alerts that fire*, by severity.
CASES: tuple[tuple[dict[str, str], list[float], dict[str, float]], ...] = (
    ({}, [], {"missing: rules loaded?": 1}),
    (series(WATCHDOG), [0], {}),
    (series(WATCHDOG, NO_WORKER), [1], {"page": 1}),
    ({**series(WATCHDOG, NO_WORKER), **series(QUEUE_OLD, state="pending")}, [1], {"page": 1}),
    # An objective's windows are one row.
    (series(WATCHDOG, {**LATE, "window": "1h"}, {**LATE, "window": "6h"}), [1], {"page": 1}),
    # What Alertmanager does not send is an effect of what it sends: of the same account, and of the same installation.
    (series(WATCHDOG, NO_WORKER, QUEUE_OLD), [2], {"page": 1, "silenced": 1}),
    (series(WATCHDOG, BREAKER, FAILING, LATE), [3], {"page": 1, "silenced": 2}),
    (series(WATCHDOG, BREAKER, {**FAILING, "esp": "other"}), [2], {"page": 2}),
    (series(WATCHDOG, {**NO_WORKER, "cluster": "here"}, {**QUEUE_OLD, "cluster": "there"}), [2], {"page": 2}),
    (series(WATCHDOG, {**NO_WORKER, "cluster": "here"}, {**NO_WORKER, "cluster": "there"}), [2], {"page": 2}),
)


def panel(title: str) -> str:
    (shown,) = [
        at for at in expressions.panels(expressions.boards()["freshgate-event-to-email"]) if at["title"] == title
    ]
    return expressions.fill(shown["targets"][0]["expr"])


@pytest.mark.parametrize(("written", "count", "rows"), CASES)
def test_what_fires_is_shown_and_so_is_that_nobody_evaluates_the_alerts(
    tmp_path: Path, written: dict[str, str], count: list[float], rows: dict[str, float]
) -> None:
    def samples(values: Mapping[str, float]) -> list[dict[str, Any]]:
        return [{"labels": f'{{severity="{name}"}}', "value": value} for name, value in values.items()]

    tests = {
        panel("Alerts"): [{"labels": "{}", "value": value} for value in count],
        f"count by (severity) ({panel('Alerts that fire')})": samples(rows),
    }
    file = tmp_path / "tests.yml"
    document = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in written.items()],
        "promql_expr_test": [
            {"expr": expr, "eval_time": "10m", "exp_samples": expected} for expr, expected in tests.items()
        ],
    }
    file.write_text(yaml.safe_dump({"tests": [document]}), encoding="utf-8")
    done = run("promtool", "test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
