"""`python -m dashboards.generate`: writes the boards, rules and alerts that are committed beside it.

`make dashboards` calls it; a test compares what is committed with what it would write.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dashboards import alerts, objective
from dashboards.boards import BOARDS
from dashboards.datadog import alerting, conf, widgets

HERE = Path(__file__).parent
WRITTEN = "# Written by `make dashboards`; change dashboards/*.py, not this file.\n"


def files() -> Mapping[str, str]:
    """Path below dashboards/ → what stands in it."""
    boards = {f"grafana/{board.uid}.json": board.to_json() for board in BOARDS}
    return {
        **boards,
        "prometheus/rules.yml": _yaml(objective.recording_rules()),
        "prometheus/alerts.yml": _yaml(alerts.alerting_rules()),
        **_datadog(),
    }


def _datadog() -> Mapping[str, str]:
    boards = {f"datadog/boards/{uid}.json": _json(one) for uid, one in widgets.dashboards().items()}
    conditions = {f"datadog/monitors/{name}.json": _json(made) for name, made in alerting.monitors().items()}
    return {**boards, **conditions, "datadog/conf.d/openmetrics.d/conf.yaml": _yaml(conf.configuration())}


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _yaml(document: Any) -> str:
    return "---\n" + WRITTEN + yaml.safe_dump(document, sort_keys=False, width=10_000, allow_unicode=True)


def main() -> None:
    for path, text in files().items():
        (HERE / path).write_text(text, encoding="utf-8")
        print(f"dashboards/{path}")


if __name__ == "__main__":
    main()
