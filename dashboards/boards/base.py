"""What all boards share: variables, links to each other, marks of new releases, and the JSON form.

A board file holds only its rows of panels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.panels import DATA
from dashboards.promql import Metric, name_of, selector
from freshgate.telemetry import metrics

TAG = "freshgate"
# Variable → the metric whose label of that name supplies its values.
VARIABLES: Mapping[str, Metric] = {
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
    """uid: names the file and the URL. variables: those of VARIABLES that the expressions use. rows: title → panels."""

    uid: str
    title: str
    question: str
    variables: Sequence[str]
    rows: Callable[[], Mapping[str, Sequence[Panel]]]

    def to_json(self) -> str:
        """The committed form: keys are sorted, so that a difference is one of content."""
        encoded = json.loads(JSONEncoder().encode(_build(self)))
        return json.dumps(encoded, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


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
        .annotation(_releases())
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for name in board.variables:
        built.with_variable(_variable(name, VARIABLES[name]))
    for title, panels in board.rows().items():
        built.with_row(dashboard.Row(title))
        for panel in panels:
            built.with_panel(panel)
    return built.build()


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
        # Without it, Grafana puts hundreds of names into each expression.
        .all_value(".*")
        .current(all_values)
    )


def _links() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("Freshgate")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(False)
        .include_vars(True)
        .keep_time(True)
    )


def _releases() -> dashboard.AnnotationQuery:
    now, before = (f"count by (process, version) ({selector(metrics.BUILD)}{offset})" for offset in ("", " offset 5m"))
    return (
        dashboard.AnnotationQuery()
        .name("Releases")
        .datasource(DATA)
        .enable(True)
        .icon_color("blue")
        .expr(f"{now} unless {before}")
    )


def as_dict(board: Board) -> dict[str, Any]:
    """The board as Grafana loads it."""
    loaded: dict[str, Any] = json.loads(board.to_json())
    return loaded
