"""`python -m dashboards.generate`: writes the boards, rules and alerts that are committed in this folder.

`make dashboards` calls it; a test compares the committed files with what it would write.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dashboards import alerts, objective
from dashboards.boards import BOARDS, lines
from dashboards.datadog import alerting, conf, widgets
from dashboards.datadog import lines as datadog_lines
from dashboards.datadog.objectives import build_objectives
from dashboards.runbook_forms import with_forms
from freshgate.command_line import run_command

DASHBOARDS = Path(__file__).parent
GENERATED_NOTE = "# Written by `make dashboards`; change the Python in dashboards/, not this file.\n"


def files() -> Mapping[str, str]:
    """Path below dashboards/ → the file's text."""
    boards = {f"grafana/{board.uid}.json": board.to_json() for board in BOARDS}
    return {
        **boards,
        f"grafana/logs/{lines.UID}.json": lines.to_json(),
        "prometheus/rules.yml": _yaml(objective.recording_rules()),
        "prometheus/alerts.yml": _yaml(alerts.alerting_rules()),
        **_datadog(),
        **runbooks(),
    }


def runbooks() -> Mapping[str, str]:
    """The runbooks, with their commands in the forms that are generated."""
    folder = DASHBOARDS / "runbooks"
    return {
        f"runbooks/{file.name}": with_forms(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.md"))
    }


def _datadog() -> Mapping[str, str]:
    boards = {f"datadog/boards/{uid}.json": _json(board) for uid, board in widgets.build_dashboards().items()}
    monitors = {f"datadog/monitors/{name}.json": _json(parts) for name, parts in alerting.build_all_monitors().items()}
    return {
        **boards,
        **monitors,
        "datadog/objectives.json": _json(build_objectives()),
        "datadog/logs/board.json": _json(datadog_lines.build_board()),
        "datadog/logs/pipeline.json": _json(datadog_lines.build_pipeline()),
        "datadog/conf.d/openmetrics.d/conf.yaml": _yaml(conf.build_configuration()),
        "datadog/conf.d/freshgate.d/conf.yaml": _yaml(datadog_lines.build_agent_configuration()),
    }


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _yaml(document: Any) -> str:
    return "---\n" + GENERATED_NOTE + yaml.safe_dump(document, sort_keys=False, width=10_000, allow_unicode=True)


def main() -> int:
    written = files()
    for path, text in written.items():
        (DASHBOARDS / path).write_text(text, encoding="utf-8")
    # All are written before somebody who reads along may close the pipe.
    for path in written:
        print(f"dashboards/{path}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command("dashboards", main))
