"""What all boards share: variables, links to each other, marks of what happened, and the JSON form.

A board file holds only its rows of panels: the verdict first, then the flow, then details.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.boards.marks import MARKS, as_annotation
from dashboards.panels import DATA
from dashboards.promql import ALERTS, SCOPE, Metric, chosen, name_of, selector
from freshgate.telemetry import metrics

TAG = "freshgate"
# Variable → the metric whose label of that name supplies its values. Every board has those of SCOPE.
VARIABLES: Mapping[str, Metric] = {
    **dict.fromkeys(SCOPE, metrics.BUILD),
    "source": metrics.EVENTS,
    "trigger": metrics.SENDS,
    "esp": metrics.SENDS,
    "queue": metrics.QUEUE_JOBS,
}
# Matchers for what the reader chose at the top of the board.
SOURCE = {"source": "~$source"}
MAIL = {"trigger": "~$trigger", "esp": "~$esp"}
TRIGGER = {"trigger": "~$trigger"}
ESP = {"esp": "~$esp"}
QUEUE = {"queue": "~$queue"}
QUANTILES = (0.5, 0.95, 0.99)

Panel = Builder[model.Panel]


@dataclass(frozen=True)
class Board:
    """uid: names the file and the URL. variables: those of VARIABLES that the expressions use, beside SCOPE.

    rows: title → panels. The first `open_rows` of them are the first screen; the reader opens the others.
    """

    uid: str
    title: str
    question: str
    variables: Sequence[str]
    rows: Callable[[], Mapping[str, Sequence[Panel]]]
    open_rows: int = 2

    def to_json(self) -> str:
        """The committed form: keys are sorted, so that a difference is one of content."""
        return json.dumps(as_dict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def as_dict(board: Board) -> dict[str, Any]:
    """The board as Grafana loads it."""
    loaded: dict[str, Any] = json.loads(JSONEncoder().encode(_build(board)))
    for panel in loaded["panels"]:
        panel["id"] = panel_id(panel["title"])
        if panel["type"] == "stat":
            # The SDK does not know it. Beside its name, a value has half the room, and is as small as the text.
            panel["options"]["wideLayout"] = False
        for target in panel.get("targets", ()):
            target["expr"] = chosen(target["expr"])
    loaded["panels"] = _folded(loaded["panels"], board.open_rows)
    loaded["annotations"] = {"list": [as_annotation(mark) for mark in MARKS]}
    return loaded


def panels_of(loaded: Mapping[str, Any]) -> Iterator[Any]:
    """Rows and panels of a loaded board, those inside folded rows included."""
    for panel in loaded["panels"]:
        yield panel
        yield from panel.get("panels") or ()


def panel_id(title: str) -> int:
    """An id that stays when panels are added before it: alerts link to it."""
    return zlib.crc32(title.encode()) % 1_000_000 + 1


def _build(board: Board) -> model.Dashboard:
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.question)
        .tags([TAG])
        .readonly()
        .timezone("utc")
        .refresh("30s")
        .time("now-3h", "now")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(_links())
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for name in (*SCOPE, *board.variables):
        built.with_variable(_variable(name, VARIABLES[name]))
    built.with_variable(_runbooks())
    for title, panels in board.rows().items():
        built.with_row(dashboard.Row(title))
        for panel in panels:
            built.with_panel(panel)
    return built.build()


def _folded(panels: Sequence[Any], open_rows: int) -> list[Any]:
    """Moves the panels of all rows but the first into their rows, which are folded and lie below each other."""
    result: list[Any] = []
    rows = shift = 0
    for panel in panels:
        is_row = panel["type"] == "row"
        rows += is_row
        panel["gridPos"]["y"] -= shift
        if rows <= open_rows:
            result.append(panel)
        elif is_row:
            result.append({**panel, "collapsed": True, "panels": []})
            if rows > open_rows + 1:
                lowered = max(inner["gridPos"]["y"] + inner["gridPos"]["h"] for inner in result[-2]["panels"])
                closed = result[-2]["gridPos"]["y"] + 1
                result[-1]["gridPos"]["y"] = closed
                shift += lowered - closed
        else:
            result[-1]["panels"].append(panel)
    return result


def _variable(name: str, metric: Metric) -> dashboard.QueryVariable:
    all_values = model.VariableOption(text="All", value="$__all")
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize() if name != "esp" else "ESP")
        .datasource(DATA)
        .query(f"label_values({name_of(metric)}, {name})")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        # Without it, Grafana puts hundreds of names into each expression. It also matches where the label is absent.
        .all_value(".*")
        .current(all_values)
    )


def _runbooks() -> dashboard.QueryVariable:
    """The address of the runbooks, which the alert Watchdog carries as a label."""
    return (
        dashboard.QueryVariable("runbooks")
        .datasource(DATA)
        .query(f"label_values({selector(ALERTS, alertname='Watchdog')}, runbooks)")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .hide(model.VariableHide.HIDE_VARIABLE)
    )


def _links() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("Boards")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )
