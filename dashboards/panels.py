"""Builders of our panels. Each sets what every panel must have: title, unit, thresholds, the question it answers.

`boards/` chooses what they show; the builders beneath come from grafana-foundation-sdk.
"""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heatmap_model
from grafana_foundation_sdk.models import prometheus as prometheus_model

DATA = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
ABSOLUTE = model.ThresholdsMode.ABSOLUTE
GREEN, YELLOW, RED = "green", "yellow", "red"
Query = tuple[str, str]
"""An expression, and the legend of its series."""


def describe(question: str, when_red: str) -> str:
    """The description of a panel. when_red: what to do; it begins with "never." if the panel has no limit."""
    return f"{question}\n\n**When it is red:** {when_red}"


def red_above(red: float, yellow: float | None = None) -> dashboard.ThresholdsConfig:
    """Green below these values."""
    return _steps((GREEN, None), *([(YELLOW, yellow)] if yellow is not None else []), (RED, red))


def green_above(green: float, yellow: float | None = None) -> dashboard.ThresholdsConfig:
    """Red below these values."""
    return _steps((RED, None), *([(YELLOW, yellow)] if yellow is not None else []), (GREEN, green))


def no_limits() -> dashboard.ThresholdsConfig:
    return _steps((GREEN, None))


def lines(
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Query],
    *,
    limits: dashboard.ThresholdsConfig | None = None,
    stacked: bool = False,
    exemplars: bool = False,
    width: int = 12,
) -> timeseries.Panel:
    """Lines over time. Limits are drawn as dashed lines. Exemplars are dots that open a trace."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(DATA)
        .span(width)
        .height(8)
        .min(0)
        .fill_opacity(40 if stacked else 8)
        .line_width(1 if stacked else 2)
        .show_points(common_model.VisibilityMode.NEVER)
        .thresholds(limits or no_limits())
        .tooltip(common.VizTooltipOptions().mode(common_model.TooltipDisplayMode.MULTI))
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_model.LegendDisplayMode.TABLE)
            .placement(common_model.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
            # Series at 0, as most reasons are, come last. "Last *" is Grafana's name of the first column.
            .sort_by("Last *")
            .sort_desc(True)
        )
    )
    if limits:
        # The SDK spells "Tresholds" so.
        dashed = common_model.GraphTresholdsStyleMode.DASHED
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(dashed))
    if stacked:
        panel.stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL).group("A"))
    for number, (expr, legend) in enumerate(queries):
        query = _query(number, expr).range().legend_format(legend)
        panel.with_target(query.exemplar(True) if exemplars else query)
    return panel


def number(
    title: str,
    description: str,
    unit: str,
    expr: str,
    *,
    limits: dashboard.ThresholdsConfig | None = None,
    width: int = 4,
) -> stat.Panel:
    """One large number, for the selected time range or for now."""
    return numbers(title, description, unit, [(expr, "")], limits=limits, width=width)


def numbers(
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Query],
    *,
    limits: dashboard.ThresholdsConfig | None = None,
    width: int = 12,
) -> stat.Panel:
    """Large numbers side by side, one for each series."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(DATA)
        .span(width)
        .height(4)
        .graph_mode(common_model.BigValueGraphMode.NONE)
        .color_mode(common_model.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(limits or no_limits())
        .no_value("none yet")
    )
    if unit == "short":
        # Counts are whole; `increase` makes fractions of them.
        panel.decimals(0)
    for position, (expr, legend) in enumerate(queries):
        panel.with_target(_query(position, expr).instant().legend_format(legend))
    return panel


def heat(title: str, description: str, expr: str, *, width: int = 12) -> heatmap.Panel:
    """A heatmap over time, with the buckets as Prometheus has them."""
    query = _query(0, expr).range().legend_format("{{le}}").format(prometheus_model.PromQueryFormat.HEATMAP)
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .unit("short")
        .datasource(DATA)
        .span(width)
        .height(8)
        .calculate(False)
        .y_axis(heatmap.YAxisConfig().unit("s"))
        .cell_gap(1)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_model.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .steps(64)
            .exponent(0.5)
        )
        .thresholds(no_limits())
        .with_target(query)
    )


def _query(number: int, expr: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expr).ref_id(chr(ord("A") + number)).datasource(DATA)


def _steps(*steps: tuple[str, float | None]) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(ABSOLUTE)
        .steps([model.Threshold(value=at, color=color) for color, at in steps])
    )
