"""PromQL of our boards and alerts → DataDog's queries. An expression without a counterpart there is refused.

It knows only the few forms that `dashboards/promql.py` writes, and works on the parsed expression.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import promql_parser as parser

from dashboards import objective
from dashboards.datadog.conf import BUCKET_SUFFIX, EXPORTED, NAMESPACE, RENAMED, datadog_name
from dashboards.promql import name_of

# Grafana's window → a window that the parser can read and no expression uses. DataDog chooses windows itself.
PLACEHOLDERS = {"$__rate_interval": "7s", "$__range": "9s"}
PLACEHOLDER_S = {7: "rate", 9: "count"}
RECORDED = objective.recorded()
# DataDog's dashboards show one installation; its monitors group by tags of their own.
SCOPED = re.compile(r',?(?:cluster|namespace|job|instance)=~"\$\w+"')
# Label → tag. Prometheus names a process by its job, `conf.py` by this tag; the Agent adds its host.
TAGS = {"job": "process", "instance": "host", **RENAMED}
SERIES = {name_of(metric) for metric in EXPORTED}


class NotTranslatable(ValueError):
    """DataDog has nothing that means the same."""


@dataclass
class Translation:
    """formula: over query1, query2 …; by: the tags of its results; window_s: 0 if the expression names none.

    recent_s: the caller looks for the largest value of so many seconds; 0 for a present value.
    """

    formula: str = ""
    queries: list[str] = field(default_factory=list)
    by: tuple[str, ...] = ()
    counts: bool = False
    window_s: int = 0
    recent_s: int = 0

    def inline(self) -> str:
        """The formula with its queries filled in, as monitors need it."""
        return re.sub(r"query(\d+)", lambda match: self.queries[int(match[1]) - 1], self.formula)


def parse(text: str) -> Any:
    """The parsed expression. Raises ValueError."""
    text = SCOPED.sub("", text).replace("{,", "{").replace("{}", "")
    for variable, window in PLACEHOLDERS.items():
        text = text.replace(variable, window)
    return parser.parse(text)


def translate(node: Any, *, windows: bool = False, guarded: bool = False) -> Translation:
    """Translates a whole expression. Raises NotTranslatable.

    windows  keep explicit windows, as moving sums
    guarded  the caller handles the conditions inside, as in `a / (b > 20)`; otherwise only `> 0` may be dropped
    """
    translation = Translation()
    translation.formula = _Translator(translation, windows, guarded).formula(node)
    return translation


class _Translator:
    """Walks an expression, and adds its queries to the translation."""

    def __init__(self, translation: Translation, windows: bool, guarded: bool) -> None:
        self.translation, self.windows, self.guarded = translation, windows, guarded

    def formula(self, node: Any) -> str:  # noqa: PLR0911  # one line a kind of node
        if isinstance(node, parser.ParenExpr):
            inner = self.formula(node.expr)
            return inner if re.fullmatch(r"\w+", inner) else f"({inner})"
        if isinstance(node, parser.NumberLiteral):
            return f"{node.val:.9f}".rstrip("0").rstrip(".")
        if isinstance(node, parser.BinaryExpr):
            return self._binary(node)
        if isinstance(node, parser.Call) and node.func.name == "clamp_min":
            return f"clamp_min({self.formula(node.args[0])}, {self.formula(node.args[1])})"
        if isinstance(node, parser.Call) and node.func.name == "histogram_quantile":
            return self._quantile(node)
        if isinstance(node, parser.AggregateExpr):
            return self._aggregate(node)
        if isinstance(node, parser.VectorSelector) and node.name in RECORDED:
            return f"({self.formula(parse(RECORDED[node.name]))})"
        raise NotTranslatable(f"{type(node).__name__}: {node.prettify()}")

    def _binary(self, node: Any) -> str:
        op = str(node.op)
        if (op == "and" and _only_narrows(node.rhs)) or (op == "or" and _fills_in(node)):
            return self.formula(node.lhs)
        if op == ">" and isinstance(node.rhs, parser.NumberLiteral) and (self.guarded or node.rhs.val == 0):
            # The guard can go: DataDog shows nothing where it would divide by 0.
            return self.formula(node.lhs)
        if op == "+" and not self.windows and _is_present_value(node.rhs):
            # A monitor sums each query over its window before it adds them: each point of a gauge would count.
            return self.formula(node.lhs)
        if op not in ("+", "-", "*", "/") or node.modifier:
            raise NotTranslatable(f"{op} inside a formula: {node.prettify()}")
        return f"{self.formula(node.lhs)} {op} {self.formula(node.rhs)}"

    def _quantile(self, node: Any) -> str:
        share, summed = node.args
        call = summed.expr
        selector = call.args[0].vector_selector
        by = tuple(label for label in _by(summed) if label != "le")
        name = f"{NAMESPACE}.{datadog_name(_check_exported(selector.name.removesuffix('_bucket')))}"
        return self._query(f"p{share.val * 100:g}", name, selector, by)

    def _aggregate(self, node: Any) -> str:
        by = _by(node)
        inner, op = node.expr, str(node.op)
        if isinstance(inner, parser.AggregateExpr) and op == "sum":
            return self._sum_of(inner, by)
        if op == "count" and isinstance(inner, parser.VectorSelector) and str(inner.name).endswith("_info"):
            op = "sum"  # its value is 1
        if op not in ("sum", "max", "min"):
            raise NotTranslatable(f"{op} of series: {node.prettify()}")
        if isinstance(inner, parser.VectorSelector):
            return self._query(op, f"{NAMESPACE}.{datadog_name(_check_exported(inner.name))}", inner, by)
        if isinstance(inner, parser.Call) and inner.func.name in ("rate", "increase"):
            return self._counter(op, inner, by)
        if isinstance(inner, parser.Call) and inner.func.name == "max_over_time":
            return self._largest(op, inner, by)
        if isinstance(inner, parser.Call) and inner.func.name == "changes":
            return self._steps(op, inner, by)
        raise NotTranslatable(node.prettify())

    def _sum_of(self, inner: Any, by: tuple[str, ...]) -> str:
        """sum by (a) (max by (a, b) (x{b=~"c|d"})) → the query with b:c plus the query with b:d."""
        selector = inner.expr
        extra = set(_by(inner)) - set(by)
        if isinstance(selector, parser.VectorSelector) and len(extra) == 1 and by:
            (label,) = extra
            for matcher in selector.matchers.matchers:
                if matcher.name == label and str(matcher.op) == "MatchOp.Re":
                    name = f"{NAMESPACE}.{datadog_name(_check_exported(selector.name))}"
                    values = matcher.value.split("|")
                    return " + ".join(
                        self._query(str(inner.op), name, selector, by, {label: value}) for value in values
                    )
        raise NotTranslatable(f"a sum of maxima: {inner.prettify()}")

    def _counter(self, op: str, call: Any, by: tuple[str, ...]) -> str:
        selector, window_s = call.args[0].vector_selector, int(call.args[0].range.total_seconds())
        series = str(selector.name)
        if not series.endswith(("_total", "_count", "_bucket")):
            raise NotTranslatable(f"{series} is not a counter")
        if "le" in by:
            raise NotTranslatable("buckets side by side: a heatmap asks for the distribution")
        if series.endswith("_bucket"):
            name = f"{NAMESPACE}.{datadog_name(_check_exported(series.removesuffix('_bucket')))}{BUCKET_SUFFIX}.bucket"
        else:
            base = _check_exported(series if series.endswith("_total") else series.removesuffix("_count"))
            name = f"{NAMESPACE}.{datadog_name(base)}.count"
        self._note_window(window_s)
        rate = PLACEHOLDER_S.get(window_s) == "rate"
        query = self._query(op, name, selector, by, suffix=".as_rate()" if rate else ".as_count()")
        if selector.offset:
            if selector.offset.days != 7:
                raise NotTranslatable(f"an offset of {selector.offset}")
            query = f"week_before({query})"
        return f"moving_rollup({query}, {window_s}, 'sum')" if self.windows and window_s not in PLACEHOLDER_S else query

    def _steps(self, op: str, call: Any, by: tuple[str, ...]) -> str:
        """How often a gauge that only grows, by 1 or more, has changed: the sum of these ones."""
        selector, window_s = call.args[0].vector_selector, int(call.args[0].range.total_seconds())
        if PLACEHOLDER_S.get(window_s) == "count":
            raise NotTranslatable("a number of changes: a formula follows after its queries were made one number each")
        self._note_window(window_s)
        query = self._query(op, f"{NAMESPACE}.{datadog_name(_check_exported(selector.name))}", selector, by)
        return f"clamp_max(diff({query}), 1)"

    def _largest(self, op: str, call: Any, by: tuple[str, ...]) -> str:
        """The largest value of a window."""
        selector, window_s = call.args[0].vector_selector, int(call.args[0].range.total_seconds())
        query = self._query(op, f"{NAMESPACE}.{datadog_name(_check_exported(selector.name))}", selector, by)
        if not self.windows:
            # A monitor looks at its own window only.
            self.translation.recent_s = window_s
            return query
        return f"moving_rollup({query}, {window_s}, 'max')"

    def _note_window(self, window_s: int) -> None:
        """What the expression counts is counted over this window."""
        self.translation.counts = True
        if window_s not in PLACEHOLDER_S:
            self.translation.window_s = max(self.translation.window_s, window_s)

    def _query(
        self,
        op: str,
        name: str,
        selector: Any,
        by: tuple[str, ...],
        fixed: dict[str, str] | None = None,
        suffix: str = "",
    ) -> str:
        scope = (
            " AND ".join(_to_tag(matcher, (fixed or {}).get(matcher.name)) for matcher in selector.matchers.matchers)
            or "*"
        )
        by = tuple(TAGS.get(label, label) for label in by)
        grouped = f" by {{{','.join(by)}}}" if by else ""
        self.translation.by = tuple(dict.fromkeys((*self.translation.by, *by)))
        self.translation.queries.append(f"{op}:{name}{{{scope}}}{grouped}{suffix}")
        return f"query{len(self.translation.queries)}"


def _check_exported(series: str | None) -> str:
    if series is None or series not in SERIES:
        raise NotTranslatable(f"{series} is a series of Prometheus itself")
    return series


def _only_narrows(node: Any) -> bool:
    """`and a` leaves out series while `a` is absent, `and a @ end() > 0` idle ones. Any other comparison says more."""
    return isinstance(node, parser.AggregateExpr) or "@ end()" in node.prettify()


def _fills_in(node: Any) -> bool:
    """`a or 0 * b` and `(a + b) or a` only stand in for series that are gone. DataDog shows nothing there."""
    is_zero = isinstance(node.rhs, parser.BinaryExpr) and getattr(node.rhs.lhs, "val", None) == 0
    part, whole = ("".join(side.prettify().split()) for side in (node.rhs, node.lhs))
    return is_zero or part in whole


def _is_present_value(node: Any) -> bool:
    """The largest value of late, as `promql.recently_highest` writes it."""
    text = node.prettify()
    return "max_over_time" in text and "increase" not in text


def _by(node: Any) -> tuple[str, ...]:
    if node.modifier and str(node.modifier.type) != "AggModifierType.By":
        raise NotTranslatable(f"without: {node.prettify()}")
    return tuple(node.modifier.labels) if node.modifier else ()


def _to_tag(matcher: Any, value: str | None = None) -> str:
    """`trigger=~"$trigger"` → `$trigger`, which is tag and value in DataDog; `a|b` → `IN (a,b)`; `5..` → `5*`."""
    name, pattern = {"le": "upper_bound", **TAGS}.get(matcher.name, matcher.name), value or matcher.value
    if pattern == f"${name}":
        return str(pattern)
    if str(matcher.op) == "MatchOp.Equal" or value:
        return f"{name}:{pattern}"
    if str(matcher.op) != "MatchOp.Re":
        raise NotTranslatable(f"{name} with {matcher.op}")
    if re.fullmatch(r"\w+(\|\w+)+", pattern):
        return f"{name} IN ({','.join(pattern.split('|'))})"
    if not re.fullmatch(r"\w+[.]+[*]?", pattern):
        raise NotTranslatable(f"{name} like {pattern}")
    return f"{name}:{re.sub('[.]+[*]?$', '*', pattern)}"
