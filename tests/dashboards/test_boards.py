"""The boards as they are committed: generated, complete, readable, and asking only for series that exist.

`test_live.py` runs their expressions against a real Prometheus.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from adapter import metrics
from dashboards import objective, promql
from dashboards.boards import BOARDS
from dashboards.boards.base import TAG, VARIABLES
from dashboards.generate import HERE, files
from tests.dashboards import expressions
from tests.dashboards.expressions import Expression

# Of Grafana's own units, those that the boards use; `sec` or `percent` for 0 to 1 would be shown as a mere number.
UNITS = {"s", "short", "percentunit", "reqps", "ops", "bytes"}
PARTS = ("_bucket", "_sum", "_count")


def known() -> dict[str, set[str]]:
    """Series → labels, of all that we export, record, or get from elsewhere."""
    series: dict[str, set[str]] = {}
    ours = [one for one in vars(metrics).values() if hasattr(one, "describe") and not isinstance(one, type)]
    for metric in [*ours, *promql.FOREIGN, *objective.RECORDED]:
        name, labels = promql.name_of(metric), set(promql.labels_of(metric))
        series[name] = labels
        if name.endswith("_seconds"):
            series |= {name + "_bucket": labels | {"le"}, name + "_sum": labels, name + "_count": labels}
    return series


def unknown(text: str) -> list[str]:
    """Series that nobody exports, and labels that they do not have."""
    series = known()
    found = []
    read = expressions.selectors(text)
    for name, labels in read:
        if name not in series:
            found.append(name)
        else:
            found += sorted(labels - series[name] - {"job", "instance"})
    grouped = expressions.grouped_by(text)
    if not found and read:
        found += sorted(grouped - set().union(*(series[name] for name, _ in read)) - {"job", "instance"})
    return found


def faults(panel: Any) -> list[str]:
    """What a panel lacks."""
    told = []
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if not panel.get("title"):
        told.append("no title")
    description = panel.get("description", "")
    if "?" not in description or "**When it is red:** " not in description:
        told.append("the description asks no question, or does not say what to do")
    if defaults.get("unit") not in UNITS:
        told.append(f"unit {defaults.get('unit')}")
    if not defaults.get("thresholds", {}).get("steps"):
        told.append("no thresholds")
    if panel.get("datasource", {}).get("uid") != "${datasource}":
        told.append("not the chosen data source")
    if not panel.get("targets"):
        told.append("no expression")
    for target in panel.get("targets", ()):
        for window in re.findall(r"\[([^\]]*)\]", target["expr"]):
            if window not in ("$__rate_interval", "$__range"):
                told.append(f"a fixed window of {window}")
        if target["datasource"]["uid"] != "${datasource}":
            told.append("an expression of another data source")
    return told


def test_what_is_committed_is_what_the_code_writes() -> None:
    written = files()
    assert [path for path, text in written.items() if (HERE / path).read_text(encoding="utf-8") != text] == []
    committed = {f"grafana/{file.name}" for file in (HERE / "grafana").iterdir()}
    assert committed == {path for path in written if path.startswith("grafana/")}


@pytest.mark.parametrize("uid", sorted(board.uid for board in BOARDS))
def test_every_panel_has_what_it_needs(uid: str) -> None:
    told = {panel["title"]: faults(panel) for panel in expressions.panels(expressions.boards()[uid])}
    assert {title: one for title, one in told.items() if one} == {}


def test_a_panel_that_lacks_something_is_noticed() -> None:
    (panel, *_) = expressions.panels(expressions.boards()["freshgate-queues"])
    assert faults(panel) == []
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
        assert faults({**panel, **change}), change


def test_the_titles_of_a_board_differ() -> None:
    for board in expressions.boards().values():
        titles = [panel["title"] for panel in expressions.panels(board)]
        assert len(titles) == len(set(titles))


def test_the_boards_cannot_be_edited_and_lead_to_each_other() -> None:
    for uid, board in expressions.boards().items():
        assert board["uid"] == uid
        assert board["editable"] is False
        assert board["tags"] == [TAG]
        (link,) = board["links"]
        assert (link["type"], link["tags"], link["includeVars"], link["keepTime"]) == ("dashboards", [TAG], True, True)


def test_each_variable_is_used_and_each_used_one_is_there() -> None:
    for uid, board in expressions.boards().items():
        text = json.dumps([panel["targets"] for panel in expressions.panels(board)])
        used = {name for name in VARIABLES if f"${name}" in text}
        variables = {one["name"]: one for one in board["templating"]["list"]}
        assert set(variables) == {"datasource", *used}, uid
        for name in used:
            assert variables[name]["refresh"] == 2
            assert (variables[name]["includeAll"], variables[name]["allValue"]) == (True, ".*")
            series, label = re.findall(r"label_values\((\w+), (\w+)\)", variables[name]["query"])[0]
            assert label in known()[series]


def test_panels_do_not_cover_each_other() -> None:
    for uid, board in expressions.boards().items():
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert at["x"] + at["w"] <= 24, (uid, panel["title"])
            assert not cells & taken, (uid, panel["title"])
            taken |= cells


@pytest.mark.parametrize("one", expressions.everything(), ids=lambda one: one.where)
def test_every_expression_asks_for_series_that_exist(one: Expression) -> None:
    assert unknown(one.text) == []


def test_a_renamed_series_or_label_is_noticed() -> None:
    assert unknown("rate(freshgate_made_up_total[5m])") == ["freshgate_made_up_total"]
    assert unknown('rate(freshgate_sends_total{colour="red"}[5m])') == ["colour"]
    assert unknown("sum by (colour) (rate(freshgate_sends_total[5m]))") == ["colour"]
    assert unknown("rate(freshgate_gate_seconds_bucket[5m])") == []
    with pytest.raises(ValueError, match="."):
        unknown("sum by (")


@pytest.mark.parametrize("one", expressions.everything(), ids=lambda one: one.where)
def test_counters_are_read_as_rates(one: Expression) -> None:
    counters = {name for name in known() if name.endswith(("_total", *PARTS))}
    assert expressions.bare_counters(one.text, counters) == []


def test_a_bare_counter_is_noticed() -> None:
    counters = {"freshgate_sends_total"}
    assert expressions.bare_counters("sum(freshgate_sends_total)", counters) == ["freshgate_sends_total"]
    assert expressions.bare_counters("sum(rate(freshgate_sends_total[5m])) / 2", counters) == []


def test_a_label_that_a_metric_does_not_have_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="colour"):
        promql.pick(metrics.SENDS, colour="red")


def test_the_objective_is_a_bound_of_its_histograms() -> None:
    for histogram in (metrics.RECEIVED_TO_ACCEPTED, metrics.OCCURRED_TO_ACCEPTED):
        assert float(promql.OBJECTIVE_LE) in histogram._kwargs["buckets"]


def test_every_metric_is_shown_or_alerted_on() -> None:
    read = {name for one in expressions.everything() for name, _ in expressions.selectors(one.text)}
    bare = {re.sub("_(bucket|sum|count)$", "", name) for name in read}
    ours = [one for one in vars(metrics).values() if hasattr(one, "describe") and not isinstance(one, type)]
    assert sorted({promql.name_of(metric) for metric in ours} - bare) == []
