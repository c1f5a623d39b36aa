"""The committed boards: generated, complete, and readable.

`test_expressions.py` looks at their expressions, `test_live.py` runs them against a real Prometheus.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dashboards.boards import BOARDS, base
from dashboards.boards.base import TAG, VARIABLES
from dashboards.generate import DASHBOARDS, files
from dashboards.promql import OF_LATE, RECENT
from tests.dashboards import expressions

# Grafana's units that the boards use (`test_units.py` checks them with Grafana's registry). Grafana would show `sec`
# as a plain number, and `percent` means 0 to 100.
UNITS = {"s", "locale", "none", "percentunit", "bytes"}
# Grafana writes what follows behind the full number.
SUFFIXES = {"suffix:/min", "suffix:×"}
# Label of a legend → the board that its series opens, with that value chosen.
DRILL_DOWN = {
    "source": "freshgate-sources",
    "esp": "freshgate-sources",
    "trigger": "freshgate-triggers",
    "queue": "freshgate-queues",
    "instance": "freshgate-queues",
}
GENERATED = ("grafana", "prometheus", "datadog", "runbooks")


def panel_faults(panel: Any) -> list[str]:
    """Faults of a single panel."""
    lacks = []
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if not panel.get("title"):
        lacks.append("no title")
    description = panel.get("description", "")
    if "?" not in description or "**When it is red:** " not in description:
        lacks.append("the description asks no question, or does not say what to do")
    if defaults.get("unit") not in UNITS | SUFFIXES:
        lacks.append(f"unit {defaults.get('unit')}")
    if not defaults.get("thresholds", {}).get("steps"):
        lacks.append("no thresholds")
    if panel.get("datasource", {}).get("uid") != "${datasource}":
        lacks.append("not the chosen data source")
    if not panel.get("targets"):
        lacks.append("no expression")
    for target in panel.get("targets", ()):
        for window in re.findall(r"\[([^\]]*)\]", target["expr"]):
            if window not in ("$__rate_interval", "$__range", "$__range:$__interval", RECENT, OF_LATE):
                lacks.append(f"a fixed window of {window}")
            if window == OF_LATE and "the last 5 minutes" not in description:
                lacks.append(f"a fixed window of {window} that the description does not name")
        if target["datasource"]["uid"] != "${datasource}":
            lacks.append("an expression of another data source")
    return lacks


def outdated(folder: Path) -> set[str]:
    """Files below dashboards/ that differ from what the code writes, or that it does not write."""
    written = files()
    generated = {
        str(file.relative_to(folder)) for name in GENERATED for file in (folder / name).rglob("*") if file.is_file()
    }
    committed = {path for path in generated if not path.endswith((".py", ".pyc", "README.md"))}
    same = {path for path in committed & set(written) if (folder / path).read_text(encoding="utf-8") == written[path]}
    return (committed | set(written)) - same


def test_what_is_committed_is_what_the_code_writes() -> None:
    assert outdated(DASHBOARDS) == set()


def test_a_board_that_was_edited_left_over_or_forgotten_is_noticed(tmp_path: Path) -> None:
    for path, text in files().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    assert outdated(tmp_path) == set()
    (tmp_path / "grafana" / "freshgate-queues.json").write_text("{}", encoding="utf-8")
    (tmp_path / "grafana" / "freshgate-old.json").write_text("{}", encoding="utf-8")
    (tmp_path / "prometheus" / "rules.yml").unlink()
    assert outdated(tmp_path) == {"grafana/freshgate-queues.json", "grafana/freshgate-old.json", "prometheus/rules.yml"}


@pytest.mark.parametrize("uid", sorted(board.uid for board in BOARDS))
def test_every_panel_has_what_it_needs(uid: str) -> None:
    by_title = {panel["title"]: panel_faults(panel) for panel in expressions.panels(expressions.boards()[uid])}
    assert {title: lacks for title, lacks in by_title.items() if lacks} == {}


def test_a_panel_that_lacks_something_is_noticed() -> None:
    (panel, *_) = expressions.panels(expressions.boards()["freshgate-queues"])
    assert panel_faults(panel) == []
    changes: tuple[dict[str, Any], ...] = (
        {"title": ""},
        {"description": "A line."},
        {"targets": []},
        {"datasource": {"uid": "prometheus"}},
        {"fieldConfig": {"defaults": {"unit": "sec", "thresholds": {"steps": [1]}}}},
        {"fieldConfig": {"defaults": {"unit": "s"}}},
        {"targets": [{"expr": "rate(up[5m])", "datasource": {"uid": "${datasource}"}}]},
    )
    for change in changes:
        assert panel_faults({**panel, **change}), change


def board_faults(uid: str, board: Any) -> list[str]:
    """Faults of a board as a whole."""
    faults = []
    titles = [panel["title"] for panel in expressions.panels(board)]
    faults += [f"two panels {title}" for title in {title for title in titles if titles.count(title) > 1}]
    if board["uid"] != uid or board["tags"] != [TAG]:
        faults.append("another uid or tag")
    if board["editable"] is not False:
        faults.append("can be edited, until the next release overwrites it")
    links = [(link["type"], link["tags"], link["includeVars"], link["keepTime"]) for link in board["links"]]
    if links != [("dashboards", [TAG], True, True)]:
        faults.append("no links to the others that keep time and choice")
    return faults + variable_faults(board) + overlaps(board)


def variable_faults(board: Any) -> list[str]:
    """dashboard-linter's rules on variables: one data source; values are read again when the time range changes."""
    text = json.dumps([panel["targets"] for panel in expressions.panels(board)])
    used = {name for name in VARIABLES if re.search(rf"\${name}\b", text)}
    variables = {
        variable["name"]: variable for variable in board["templating"]["list"] if variable["name"] != "runbooks"
    }
    faults = [f"variable {name} is not used, or not there" for name in set(variables) ^ {"datasource", *used}]
    source = variables.get("datasource", {})
    if (source.get("type"), source.get("query"), source.get("label")) != ("datasource", "prometheus", "Data source"):
        faults.append("the data source cannot be chosen")
    for name in used & set(variables):
        variable = variables[name]
        if variable["refresh"] != 2:
            faults.append(f"{name} does not change with the time")
        if (variable["includeAll"], variable["allValue"], variable["multi"]) != (True, ".*", True):
            faults.append(f"{name}: not all or several can be chosen")
        if variable["datasource"]["uid"] != "${datasource}":
            faults.append(f"{name} asks another data source")
        query = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"])
        if not query or query[2] not in {*expressions.known_series().get(query[1], ()), *expressions.ADDED}:
            faults.append(f"{name} asks for a label that does not exist")
    return faults


def link_faults(panel: Any) -> list[str]:
    """What leads nowhere: a series of a source, a trigger, an account, a queue or a process opens its board."""
    if panel["type"] not in ("timeseries", "stat"):
        return []
    legends = [target.get("legendFormat") or "" for target in panel["targets"]]
    urls = [link["url"] for link in panel["fieldConfig"]["defaults"].get("links") or ()]
    faults = []
    for label, uid in DRILL_DOWN.items():
        if not all(f"{{{{{label}}}}}" in legend for legend in legends):
            continue
        (url, *_) = [url for url in urls if url.endswith(f"&var-{label}=${{__field.labels.{label}}}")] or [""]
        variables = {at["name"] for at in expressions.boards()[uid]["templating"]["list"]}
        if not url.startswith(f"/d/{uid}?${{__url_time_range}}&") or label not in variables:
            faults.append(label)
    return faults


def test_a_series_leads_to_the_board_that_explains_it() -> None:
    panels = [panel for board in expressions.boards().values() for panel in expressions.panels(board)]
    assert {panel["title"]: link_faults(panel) for panel in panels if link_faults(panel)} == {}
    linked = [panel for panel in panels if "__field" in str(panel["fieldConfig"]["defaults"].get("links"))]
    assert len(linked) > 20
    without = {**linked[0], "fieldConfig": {"defaults": {"links": []}}}
    assert link_faults(without)


def test_the_number_of_alerts_leads_to_the_board_that_has_their_table() -> None:
    for board in expressions.boards().values():
        (panel,) = [panel for panel in expressions.panels(board) if panel["title"] == "Alerts"]
        (link,) = panel["fieldConfig"]["defaults"]["links"]
        uid = link["url"].partition("?")[0].removeprefix("/d/")
        assert "Alerts that fire" in {at["title"] for at in expressions.panels(expressions.boards()[uid])}


def test_the_tables_rows_lead_to_the_board_of_their_trigger() -> None:
    (table,) = [
        panel for panel in expressions.panels(expressions.boards()["freshgate-triggers"]) if panel["type"] == "table"
    ]
    properties = {at["matcher"]["options"]: at["properties"] for at in table["fieldConfig"]["overrides"]}
    (links,) = [at["value"] for at in properties["Trigger"] if at["id"] == "links"]
    assert links[0]["url"].startswith("/d/freshgate-triggers?") and links[0]["url"].endswith(
        "var-trigger=${__value.text}"
    )


def test_every_board_has_its_picture_in_the_readme() -> None:
    readme = (DASHBOARDS / "README.md").read_text(encoding="utf-8")
    for file in (DASHBOARDS / "grafana").glob("*.json"):
        assert f"(pictures/{file.stem}.png)" in readme
        assert (DASHBOARDS / "pictures" / f"{file.stem}.png").stat().st_size > 10_000


def overlaps(board: Any) -> list[str]:
    taken: set[tuple[int, int]] = set()
    folded = False
    faults = []
    for panel in base.panels_of(board):
        at = panel["gridPos"]
        if panel.get("collapsed") and folded:
            # The row closes up over what is folded into the one before.
            taken = set()
        folded = folded or panel.get("collapsed", False)
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        if at["x"] + at["w"] > 24 or cells & taken:
            faults.append(f"{panel['title']} covers another, or leaves the board")
        taken |= cells
    return faults


@pytest.mark.parametrize("uid", sorted(board.uid for board in BOARDS))
def test_each_board_is_sound_as_a_whole(uid: str) -> None:
    assert board_faults(uid, expressions.boards()[uid]) == []


def test_a_board_that_is_not_sound_is_noticed() -> None:
    uid = "freshgate-queues"
    board = expressions.boards()[uid]
    source, queue, *_ = board["templating"]["list"]
    first, second, *_ = [panel for panel in board["panels"] if panel["type"] != "row"]
    changes: tuple[dict[str, Any], ...] = (
        {"editable": True},
        {"uid": "another"},
        {"tags": []},
        {"links": []},
        {"panels": [first, {**second, "title": first["title"]}]},
        {"panels": [first, {**second, "gridPos": first["gridPos"]}]},
        {"panels": [{**first, "gridPos": {**first["gridPos"], "x": 20}}]},
        {"templating": {"list": [source]}},
        {"templating": {"list": [queue]}},
        {"templating": {"list": [{**source, "query": "loki"}, *board["templating"]["list"][1:]]}},
    )
    for change in changes:
        assert board_faults(uid, {**board, **change}), change
    for wrong in (
        {"refresh": 1},
        {"multi": False},
        {"allValue": ""},
        {"query": "label_values(freshgate_made_up, queue)"},
        {"query": "label_values(freshgate_queue_jobs, colour)"},
        {"datasource": {"uid": "prometheus"}},
    ):
        assert variable_faults({**board, "templating": {"list": [source, {**queue, **wrong}]}}), wrong
