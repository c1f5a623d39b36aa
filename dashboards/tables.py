"""Builders of tables: a row for each value of a label, a column for each query. `panels.py` has the other panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from grafana_foundation_sdk.builders import dashboard, prometheus, table
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as prometheus_model

from dashboards.links import column_link
from dashboards.panels import DATA, NO_DATA, no_limits

# In pixels.
LETTER_WIDTH, MARGIN, MIN_WIDTH, MIN_TIME_WIDTH, NAME_WIDTH = 8, 22, 66, 90, 160
# What Prometheus adds to each row of a table, and nobody reads.
UNREAD = ("Time", "__name__", "service")


class Column(NamedTuple):
    """title: the column's name. expr: gives one value a row. color: of its figures when they are not 0."""

    title: str
    expr: str
    unit: str = "locale"
    color: str = ""


def table_by(
    label: str,
    title: str,
    description: str,
    columns: Sequence[Column],
    *,
    width: int = 24,
    height: int = 8,
    when_empty: str = NO_DATA,
) -> table.Panel:
    """A table with a row for each value of `label`, which leads to the board that explains it."""
    values = {f"Value #{_ref(number)}": column.title for number, column in enumerate(columns)}
    names = {label: label.capitalize(), **values}
    panel = table_of(title, description, names, width=width, height=height, when_empty=when_empty)
    panel.override_by_name(
        names[label],
        [
            model.DynamicConfigValue("links", [_as_link(column_link(label))]),
            model.DynamicConfigValue("custom.width", NAME_WIDTH),
        ],
    )
    for number, column in enumerate(columns):
        # "4.15 mins" is longer than any count.
        widest = MIN_TIME_WIDTH if column.unit == "s" else MIN_WIDTH
        properties = [
            model.DynamicConfigValue("unit", column.unit),
            model.DynamicConfigValue("custom.width", max(widest, LETTER_WIDTH * len(column.title) + MARGIN)),
        ]
        if column.unit == "locale":
            properties.append(model.DynamicConfigValue("decimals", 0))
        else:
            # A quantile of nothing is not a number.
            nothing = {"type": "special", "options": {"match": "null+nan", "result": {"text": "–", "index": 0}}}
            properties.append(model.DynamicConfigValue("mappings", [nothing]))
        if column.color:
            steps = [{"color": "text", "value": None}, {"color": column.color, "value": 0.5}]
            properties += [
                model.DynamicConfigValue("thresholds", {"mode": "absolute", "steps": steps}),
                model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
            ]
        panel.override_by_name(column.title, properties)
        panel.with_target(_query(number, column.expr))
    return panel


def table_of(
    title: str,
    description: str,
    names: Mapping[str, str],
    *,
    width: int,
    height: int,
    when_empty: str,
    hidden: Sequence[str] = (),
) -> table.Panel:
    """An empty table. names: Prometheus' name of a column → the reader's. hidden: columns that are left out."""
    order = {name: number for number, name in enumerate(names)}
    return (
        table.Panel()
        .title(title)
        .description(description)
        .unit("locale")
        .datasource(DATA)
        .span(width)
        .height(height)
        .thresholds(no_limits())
        .no_value(when_empty)
        .cell_height(common_model.TableCellHeight.SM)
        .with_transformation(model.DataTransformerConfig("merge", options={}))
        .with_transformation(
            model.DataTransformerConfig(
                "organize",
                options={
                    "excludeByName": dict.fromkeys((*UNREAD, *hidden), True),
                    "renameByName": dict(names),
                    "indexByName": order,
                },
            )
        )
    )


def add_query(panel: table.Panel, expr: str) -> None:
    """The one query of a table that has no columns of its own."""
    panel.with_target(_query(0, expr))


def _query(number: int, expr: str) -> prometheus.Dataquery:
    table_format = prometheus_model.PromQueryFormat.TABLE
    query = prometheus.Dataquery().expr(expr).ref_id(_ref(number)).datasource(DATA).instant()
    return query.format(table_format).legend_format("")


def _ref(number: int) -> str:
    return chr(ord("A") + number)


def _as_link(link: dashboard.DashboardLink) -> dict[str, object]:
    built = link.build()
    return {"title": built.title, "url": built.url}
