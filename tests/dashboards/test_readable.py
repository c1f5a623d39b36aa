"""What makes a panel readable at a glance, held for every panel of every board.

`test_boards.py` checks that boards are complete; a rule here names what a reader saw wrong.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from dashboards import colors
from dashboards.boards import BOARDS, lines
from dashboards.boards.marks import MARKS
from dashboards.panels import NO_DATA, NONE_COUNTED
from tests.dashboards import expressions

PANELS = [
    pytest.param(panel, id=f"{uid}: {panel['title']}")
    for uid, board in expressions.boards().items()
    for panel in expressions.panels(board)
]
# A column of Grafana's grid is 55 pixels wide on a screen of 1400; a letter of a title 8, and the frame takes 40.
LETTERS_PER_COLUMN = 6
MENU_LETTERS = 5
# Of Grafana's grid, 38 pixels each, with the controls above them.
ROWS_OF_A_SCREEN = 26
# The columns of a table of the whole width must fit into a screen of 1400.
TABLE_PIXELS = 1340


def first_screen(board: Any) -> list[Any]:
    """The panels that the reader sees at once: none of a folded row, and none below the edge."""
    return [
        panel
        for panel in board["panels"]
        if panel["type"] != "row" and panel["gridPos"]["y"] + panel["gridPos"]["h"] <= ROWS_OF_A_SCREEN
    ]


def legend_faults(panel: Any) -> list[str]:
    """A legend beside the graph, with the present value and the largest first."""
    if panel["type"] != "timeseries":
        return []
    legend = panel["options"]["legend"]
    wanted = {"displayMode": "table", "placement": "right", "sortBy": "Max", "sortDesc": True}
    faults = [key for key, value in wanted.items() if legend.get(key) != value]
    if legend["calcs"] != ["last", "max"]:
        # "lastNotNull" goes on showing what was true before a process died.
        faults.append("calcs")
    if panel["fieldConfig"]["defaults"]["custom"]["insertNulls"] != 60_000:
        faults.append("a line drawn over the time in which a process was away")
    if not all(target["expr"].endswith("@ end()) * NaN") for target in panel["targets"]):
        faults.append("a series that has ended shows its last value as the present one")
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    if mapping["options"]["match"] != "null+nan" or mapping["options"]["result"]["color"] != colors.GREY:
        faults.append("NaN instead of words")
    if mapping["options"]["result"].get("text") != NO_DATA:
        # Of a worker that was stopped, "none counted" would be untrue, and too long for the column.
        faults.append("other words for a series that has ended")
    return faults


def value_faults(panel: Any) -> list[str]:
    """Large numbers are those of now, grey and in words where there are none, and named where there are several."""
    if panel["type"] != "stat":
        return []
    options, defaults = panel["options"], panel["fieldConfig"]["defaults"]
    faults = [] if options["reduceOptions"]["calcs"] == ["last"] else ["an old value is shown"]
    (mapping,) = defaults["mappings"]
    if mapping["options"]["match"] != "null+nan" or mapping["options"]["result"]["color"] != colors.GREY:
        faults.append("no value is shown in a colour that judges")
    if not defaults["noValue"] or defaults["noValue"] != mapping["options"]["result"]["text"]:
        faults.append("no value has no words")
    named = any(target.get("legendFormat") for target in panel["targets"])
    if options["wideLayout"]:
        faults.append("a name takes half the room of its value")
    if named and options["textMode"] != "value_and_name":
        faults.append("a single series has no name")
    return faults


def scale_faults(panel: Any) -> list[str]:
    """Axes: quantiles logarithmic, shares to 1, and a soft maximum, so that noise does not fill the panel."""
    if panel["type"] != "timeseries":
        return []
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    if "histogram_quantile" in panel["targets"][0]["expr"]:
        return [] if custom["scaleDistribution"]["type"] == "log" and "min" not in defaults else ["not logarithmic"]
    if any((step.get("value") or 0) < 0 for step in defaults["thresholds"]["steps"]):
        return ["what is below 0 is cut off"] if "min" in defaults or custom["axisSoftMin"] >= 0 else []
    if defaults["unit"] == "percentunit":
        return [] if (defaults.get("min"), defaults.get("max")) == (0, 1) else ["a share beyond 1"]
    return [] if custom.get("axisSoftMax", 0) > 0 and defaults["min"] == 0 else ["no soft maximum"]


def limit_faults(panel: Any) -> list[str]:
    """What is never red has no limit, and what can be red says what to do."""
    is_red = any(step["color"] == colors.RED for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"])
    when_red = panel["description"].partition("**When it is red:** ")[2]
    if is_red and when_red.startswith("never."):
        return ["a limit, although it is never red"]
    if not is_red and panel["type"] != "table" and not when_red.startswith("never"):
        return ["never red, although it says what to do then"]
    return []


def unit_faults(panel: Any) -> list[str]:
    """`short` writes 1,451 as "1 K", and a mail every 15 s is 4 a minute, not 0.0667 ops/s."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    faults = ["short"] if unit == "short" else []
    if unit in ("ops", "reqps"):
        faults.append("per second, beside panels that count per minute")
    if unit == "suffix:/min" and not all(target["expr"].startswith("60 * ") for target in panel["targets"]):
        faults.append("not per minute")
    if (
        unit == "locale"
        and panel["type"] != "table"
        and panel["fieldConfig"]["defaults"].get("decimals") not in (0, None)
    ):
        faults.append("fractions of a count")
    return faults


def color_faults(panel: Any) -> list[str]:
    """A value with a meaning has the same colour everywhere; other lines differ from each other."""
    if panel["type"] != "timeseries":
        return []
    faults = []
    defaults = panel["fieldConfig"]["defaults"]
    if defaults["color"]["mode"] != "palette-classic":
        faults.append("two lines may have the same colour")
    if defaults["custom"].get("stacking", {}).get("mode") == "normal" and defaults["custom"]["lineWidth"]:
        faults.append("the line of a series that is 0 is drawn around the others")
    patterns = {at["matcher"]["options"]: at["properties"][0]["value"] for at in panel["fieldConfig"]["overrides"]}
    for target in panel["targets"]:
        label = re.fullmatch(r".*\{\{(outcome|verdict|severity|error)\}\}", target["legendFormat"])
        for value, color in colors.BY_LABEL[label[1]].items() if label else ():
            if patterns.get(f"/(^| ){value}$/") != {"mode": "fixed", "fixedColor": color}:
                faults.append(value)
    return faults


def idle_faults(panel: Any) -> list[str]:
    """A rate by labels leaves out the series that did not move: the culprit is not below nine rows of zeros."""
    if panel["type"] != "timeseries":
        return []
    return [
        target["legendFormat"]
        for target in panel["targets"]
        if re.match(r"(60 \* )?sum by \([^)]*\) \(rate\(", target["expr"])
        and "{{" in target["legendFormat"]
        and "/" not in target["expr"]
        and "@ end()" not in target["expr"]
    ]


def name_faults(panel: Any) -> list[str]:
    """Names that differ look different, and have room: three labels need a panel of the whole width."""
    if panel["type"] != "timeseries":
        return []
    fixed = [at["matcher"]["options"] for at in panel["fieldConfig"]["overrides"]]
    faults = []
    for legend in (target["legendFormat"] for target in panel["targets"]):
        labels = re.findall(r"\{\{(\w+)\}\}", legend)
        last = legend.rpartition(" ")[2]
        if labels and any(re.search(at.strip("/"), f"any {last}") for at in fixed if last in colors.FIXED):
            faults.append(f"every {last} has one colour")
        if len(labels) > 2 and panel["gridPos"]["w"] < 24:
            faults.append("no room for its names")
        if {"job", "queue"} & set(labels) and not any(at["id"] == "renameByRegex" for at in panel["transformations"]):
            faults.append("a prefix that says nothing")
    # Seven pixels a letter, 50 for the colour and the margins, 70 for each figure.
    name_length = max(
        (len(target["legendFormat"]) for target in panel["targets"] if "{{" not in target["legendFormat"]), default=0
    )
    if panel["options"]["legend"]["width"] < 7 * name_length + 190:
        faults.append("a name is cut")
    return faults


def title_faults(panel: Any) -> list[str]:
    """A title is cut where its panel ends."""
    room = panel["gridPos"]["w"] * LETTERS_PER_COLUMN - MENU_LETTERS
    return [f"{len(panel['title'])} letters, room for {room}"] if len(panel["title"]) > room else []


def column_faults(panel: Any) -> list[str]:
    """The last column of a table is not out of sight."""
    properties = [at for override in panel["fieldConfig"]["overrides"] for at in override["properties"]]
    used = sum(at["value"] for at in properties if at["id"] == "custom.width")
    room = TABLE_PIXELS * panel["gridPos"]["w"] / 24
    return [f"{used} pixels, room for {room:g}"] if panel["type"] == "table" and used > room else []


RULES = (
    column_faults,
    legend_faults,
    limit_faults,
    value_faults,
    scale_faults,
    unit_faults,
    color_faults,
    idle_faults,
    name_faults,
    title_faults,
)


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_can_be_read_at_a_glance(panel: Any) -> None:
    assert {rule.__name__: rule(panel) for rule in RULES if rule(panel)} == {}


def test_a_panel_that_misleads_is_noticed() -> None:
    panels = {panel["title"]: panel for board in expressions.boards().values() for panel in expressions.panels(board)}
    line, stat = panels["Sends by outcome"], panels["For the operator"]

    def with_options(panel: Any, **options: Any) -> Any:
        return {**panel, "options": {**panel["options"], **options}}

    def with_defaults(panel: Any, **defaults: Any) -> Any:
        config = panel["fieldConfig"]
        return {**panel, "fieldConfig": {**config, "defaults": {**config["defaults"], **defaults}}}

    legend = line["options"]["legend"]
    for wrong in ({"placement": "bottom"}, {"calcs": ["lastNotNull", "max"]}, {"sortBy": "Last *"}):
        assert legend_faults(with_options(line, legend={**legend, **wrong}))
    assert legend_faults({**line, "targets": [{**line["targets"][0], "expr": "sum(rate(x[1m]))"}]})
    assert legend_faults(with_defaults(line, mappings=[{"options": {"match": "null", "result": {"color": "green"}}}]))
    assert value_faults(with_options(stat, reduceOptions={"calcs": ["lastNotNull"]}))
    assert value_faults(with_options(stat, textMode="auto"))
    green = {"options": {"match": "null+nan", "result": {"text": "none yet", "color": "green"}}}
    assert value_faults(with_defaults(stat, mappings=[green]))
    assert scale_faults(with_defaults(line, custom={}))
    assert scale_faults(with_defaults(line, unit="percentunit"))
    assert scale_faults(
        with_defaults(panels["Latency by stage (p95)"], custom={"scaleDistribution": {"type": "linear"}})
    )
    assert unit_faults(with_defaults(stat, unit="short"))
    assert unit_faults(with_defaults(line, unit="ops"))
    assert color_faults({**line, "fieldConfig": {**line["fieldConfig"], "overrides": []}})
    assert idle_faults({**line, "targets": [{**line["targets"][0], "expr": "sum by (outcome) (rate(x[1m]))"}]})
    quantiles = panels["ESP response time"]
    same = {"matcher": {"options": "/(^| )p95$/"}, "properties": [{"value": {}}]}
    assert name_faults({**quantiles, "fieldConfig": {**quantiles["fieldConfig"], "overrides": [same]}})
    assert name_faults({**panels["Sends withheld, by the gate's reason"], "gridPos": {"w": 12}})
    assert name_faults({**panels["Jobs waiting"], "transformations": []})
    latency, clocks = panels["Latency by stage (p95)"], panels["Hosts' clocks against Redis' clock"]
    assert scale_faults(with_defaults(clocks, min=0))
    assert color_faults(with_defaults(line, color={"mode": "palette-classic-by-name"}))
    custom = line["fieldConfig"]["defaults"]["custom"]
    assert color_faults(with_defaults(line, custom={**custom, "lineWidth": 1}))
    assert name_faults(with_options(latency, legend={**legend, "width": 200}))
    assert limit_faults({**latency, "description": "Why?\n\n**When it is red:** never."})
    assert limit_faults({**line, "description": "Why?\n\n**When it is red:** call somebody."})
    table = panels["Triggers: from decision to mail"]
    assert column_faults({**table, "gridPos": {"w": 20}})
    assert title_faults({**stat, "title": "A title that is far too long", "gridPos": {"w": 3}})


def test_a_panel_without_a_count_does_not_claim_that_its_data_are_missing() -> None:
    """A counter has no series before it counts; "no data" would send somebody to look for a fault."""
    words = {
        panel["title"]: panel["fieldConfig"]["defaults"].get("noValue")
        for board in expressions.boards().values()
        for panel in expressions.panels(board)
    }
    assert words["Rate-limited requests (429)"] == words["Mails sent by the failover"] == NONE_COUNTED
    assert words["Share of mails that bounced"] == words["Response time (p95)"] == NONE_COUNTED
    assert words["Age of the oldest job"] == NO_DATA


@pytest.mark.parametrize(("values", "of"), colors.CLOSED_SETS)
def test_every_value_of_a_closed_set_has_its_colour(values: tuple[str, ...], of: dict[str, str]) -> None:
    assert set(of) == set(values)
    assert len(set(of.values())) == len(of)


def test_the_board_of_lines_shows_all_of_it_on_one_screen_and_a_warning_as_such() -> None:
    volume, *others = lines.as_dict()["panels"]
    assert unit_faults({**volume, "targets": []}) == []
    colored = {at["matcher"]["options"]: at["properties"][0]["value"] for at in volume["fieldConfig"]["overrides"]}
    assert colored["/ error$/"] == {"mode": "fixed", "fixedColor": colors.RED}
    assert max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in others) <= ROWS_OF_A_SCREEN
    # Eight rows for each line would show two lines.
    assert [panel["title"] for panel in others if panel["options"]["prettifyLogMessage"]] == []


def test_a_release_is_one_mark_and_an_outage_none() -> None:
    """It compares with the newest sample of a day, and one step before: a process that was away is not new."""
    (release,) = [mark for mark in MARKS if mark.name == "Releases"]
    assert release.expr.endswith(
        "unless count by (process, version) (last_over_time(freshgate_build_info[1d] offset $__interval))"
    )
    for board in expressions.boards().values():
        marks = {at["name"]: at for at in board["annotations"]["list"]}
        assert list(marks) == ["Releases", "Operators", "Starts"]
        # Shown unless the reader hides them, and looked for each minute: each expression is true in one.
        assert {(at["enable"], at["step"]) for at in marks.values()} == {(True, "60s")}
        assert marks["Releases"]["titleFormat"] == "{{process}} {{version}}"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_a_board_begins_with_its_verdict_and_folds_the_details(board: Any) -> None:
    rows = [panel for panel in expressions.boards()[board.uid]["panels"] if panel["type"] == "row"]
    assert rows[0]["title"] == "Verdict"
    assert [row.get("collapsed", False) for row in rows] == [False, False, *([True] * (len(rows) - 2))]
    first, second, *_ = [panel for panel in expressions.boards()[board.uid]["panels"] if panel["type"] != "row"]
    assert (first["title"], second["title"]) == ("Alerts", "Processes up")
