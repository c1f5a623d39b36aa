"""Builders of our panels. Each sets what every panel must have: title, unit, thresholds, the question it answers.

`boards/` chooses what they show; the builders beneath come from grafana-foundation-sdk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heatmap_model
from grafana_foundation_sdk.models import prometheus as prometheus_model

from dashboards.colors import GREEN, GREY, RED, YELLOW, colors_of
from dashboards.links import links_of
from dashboards.promql import until_now, without_idle

DATA = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
ABSOLUTE = model.ThresholdsMode.ABSOLUTE
Query = tuple[str, str]
"""An expression, and the legend of its series."""
PER_MINUTE = "suffix:/min"
COUNT = "locale"
# Counts are whole. A core is not used to a millionth.
DECIMALS = {COUNT: 0, "none": 2}
NO_DATA = "no data"
NO_POLLS = "no data: timers or Redis down?"
# A counter has no series before it counts, so a panel without any may be blind or at peace. *Processes up* tells.
NONE_COUNTED = "none counted"
COUNTED = re.compile(r"\brate\(")
# In pixels: a row of a legend without its name, and a letter of a name. At most 0.6 of half a screen of 1400.
LEGEND_FIGURES, LEGEND_LETTER, MIN_LEGEND, MAX_LEGEND, MAX_WIDE_LEGEND = 190, 7, 230, 420, 620
# Letters of a label's values, of those that are long.
LONG_VALUES = {"queue": 26, "trigger": 18, "field": 13, "instance": 16, "process": 18, "url_rule": 20, "reason": 13}
SHORT_VALUES = 9
FULL_WIDTH = 24
LABEL = re.compile(r"\{\{(\w+)\}\}")
# What the names of all our jobs and queues begin with.
PREFIX = "freshgate-"


def describe(question: str, when_red: str) -> str:
    """The description of a panel. when_red: what to do; it begins with "never." if the panel has no limit."""
    return f"{question}\n\n**When it is red:** {when_red}"


def red_above(red: float, yellow: float | None = None) -> dashboard.ThresholdsConfig:
    """Green below these values."""
    return _steps((GREEN, None), *([(YELLOW, yellow)] if yellow is not None else []), (RED, red))


def green_above(green: float, yellow: float | None = None) -> dashboard.ThresholdsConfig:
    """Red below these values."""
    return _steps((RED, None), *([(YELLOW, yellow)] if yellow is not None else []), (GREEN, green))


def yellow_above(limit: float) -> dashboard.ThresholdsConfig:
    """For what passes by itself, and is worth knowing until then."""
    return _steps((GREEN, None), (YELLOW, limit))


def red_beyond(limit: float) -> dashboard.ThresholdsConfig:
    """Green between -limit and limit, for figures that may be below 0."""
    return _steps((RED, None), (GREEN, -limit), (RED, limit))


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
    when_empty: str = "",
) -> timeseries.Panel:
    """Lines over time. Limits are drawn as dashed lines. Exemplars are dots that open a trace.

    Quantiles get a logarithmic axis; series of a label that did not move in the time range are left out.
    """
    nothing = when_empty or (NONE_COUNTED if any(COUNTED.search(expr) for expr, _ in queries) else NO_DATA)
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(DATA)
        .span(width)
        .height(8)
        .fill_opacity(70 if stacked else 8)
        # The line of a series that is 0 would lie on those below it: all that is accepted would have a red edge.
        .line_width(0 if stacked else 2)
        # A series that ended has no present value in the legend.
        .insert_nulls(60_000)
        .show_points(common_model.VisibilityMode.NEVER)
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
        .thresholds(limits or no_limits())
        .no_value(nothing)
        # Of a series that has ended; whether it counted anything is another matter.
        .mappings([_mapping(NO_DATA)])
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_model.TooltipDisplayMode.MULTI)
            .sort(common_model.SortOrder.DESCENDING)
        )
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_model.LegendDisplayMode.TABLE)
            # Below the graph, a table of nine rows would hide six of them.
            .placement(common_model.LegendPlacement.RIGHT)
            .width(legend_width([legend for _, legend in queries], is_wide=width == FULL_WIDTH))
            # "last", not "lastNotNull": a series that ended has no value now.
            .calcs(["last", "max"])
            .sort_by("Max")
            .sort_desc(True)
        )
    )
    if names := _without_prefix([legend for _, legend in queries]):
        panel.with_transformation(names)
    _scale(panel, unit, queries, limits)
    if unit in DECIMALS:
        panel.decimals(DECIMALS[unit])
    if limits:
        # The SDK spells "Tresholds" so.
        dashed = common_model.GraphTresholdsStyleMode.DASHED
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(dashed))
    if stacked:
        panel.stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL).group("A"))
    for name, color in colors_of([legend for _, legend in queries], " ".join(expr for expr, _ in queries)).items():
        fixed = model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})
        panel.override_by_regexp(name, [fixed])
    if links := links_of([legend for _, legend in queries]):
        panel.data_links(links)
    for number, (expr, legend) in enumerate(queries):
        shown = until_now(without_idle(expr) if "{{" in legend else expr)
        query = _query(number, shown).range().legend_format(legend)
        panel.with_target(query.exemplar(True) if exemplars else query)
    return panel


def legend_width(legends: Sequence[str], *, is_wide: bool = False) -> int:
    """Pixels in which the longest names of these legends stand beside their two figures."""

    def letters(legend: str) -> int:
        labels = LABEL.findall(legend)
        return len(LABEL.sub("", legend)) + sum(LONG_VALUES.get(label, SHORT_VALUES) for label in labels)

    needed = LEGEND_FIGURES + LEGEND_LETTER * max(map(letters, legends))
    return max(MIN_LEGEND, min(MAX_WIDE_LEGEND if is_wide else MAX_LEGEND, needed))


def _without_prefix(legends: Sequence[str]) -> model.DataTransformerConfig | None:
    """Names jobs and queues without what all of them begin with."""
    if not any(label in ("job", "queue") for legend in legends for label in LABEL.findall(legend)):
        return None
    return model.DataTransformerConfig("renameByRegex", options={"regex": f"^{PREFIX}(.*)", "renamePattern": "$1"})


def _scale(
    panel: timeseries.Panel, unit: str, queries: Sequence[Query], limits: dashboard.ThresholdsConfig | None
) -> None:
    """Quantiles reach from milliseconds to minutes; shares end at 1; whatever is 0 is drawn at the bottom."""
    if any("histogram_quantile" in expr for expr, _ in queries):
        panel.scale_distribution(common.ScaleDistributionConfig().type(common_model.ScaleDistribution.LOG).log(10))
        return
    steps = limits.build().steps if limits else []
    reds = [step.value for step in steps if step.color == RED and step.value]
    if limits and any(step.value and step.value < 0 for step in steps):
        panel.axis_soft_min(-1.2 * reds[0]).axis_soft_max(1.2 * reds[0])
        return
    panel.min(0)
    if unit == "percentunit":
        panel.max(1)
        return
    panel.axis_soft_max(1.2 * reds[0] if reds else 2**20 if unit == "bytes" else 1)


def number(
    title: str,
    description: str,
    unit: str,
    expr: str,
    *,
    limits: dashboard.ThresholdsConfig | None = None,
    width: int = 4,
    when_empty: str = NO_DATA,
) -> stat.Panel:
    """One large number, for the selected time range or for now."""
    return numbers(title, description, unit, [(expr, "")], limits=limits, width=width, when_empty=when_empty)


def numbers(
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Query],
    *,
    limits: dashboard.ThresholdsConfig | None = None,
    width: int = 12,
    when_empty: str = NO_DATA,
) -> stat.Panel:
    """Large numbers side by side, one for each series. when_empty: shown in grey where there is no value."""
    is_named = any(legend for _, legend in queries)
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
        # "auto" drops the name where a single series is left.
        .text_mode(common_model.BigValueTextMode.VALUE_AND_NAME if is_named else common_model.BigValueTextMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["last"]))
        .thresholds(limits or no_limits())
        .mappings([_mapping(when_empty)])
        .no_value(when_empty)
    )
    if unit == COUNT:
        # Counts are whole; `increase` makes fractions of them.
        panel.decimals(0)
    elif unit == "percentunit":
        panel.decimals(1)
    if links := links_of([legend for _, legend in queries]):
        panel.data_links(links)
    if names := _without_prefix([legend for _, legend in queries]):
        panel.with_transformation(names)
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
        .unit(COUNT)
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


def _mapping(nothing: str) -> model.SpecialValueMap:
    """Words in grey in place of no value."""
    return model.SpecialValueMap(
        model.DashboardSpecialValueMapOptions(
            match=model.SpecialValueMatch.NULL_AND_NAN,
            result=model.ValueMappingResult(text=nothing, color=GREY),
        )
    )


def _query(number: int, expr: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expr).ref_id(chr(ord("A") + number)).datasource(DATA)


def _steps(*steps: tuple[str, float | None]) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(ABSOLUTE)
        .steps([model.Threshold(value=at, color=color) for color, at in steps])
    )
