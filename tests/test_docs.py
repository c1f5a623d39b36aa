"""The reference in docs/ is complete: each settings key, metric, event type and trigger has a row, and no row is stale.

The helpers `rows` and `missing` are tested themselves, with made-up names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from msgspec.structs import fields
from prometheus_client.metrics import MetricWrapperBase

from adapter.commands.develop.events import table
from catalog import EVENTS, TRIGGERS
from freshgate.settings import Settings
from freshgate.state.views import OVER
from freshgate.telemetry import metrics
from freshgate.telemetry.polled import PolledMetric
from workers.esp import ESPS
from workers.esp_table import table as esp_table

DOCS = Path(__file__).parents[1] / "docs"


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The cells of each table row, without back ticks; heads and rulers are not rows."""
    lines = text.splitlines()
    cells = []
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        is_ruler = line.startswith("|") and not line.strip("|-: ")
        is_head = after.startswith("|") and not after.strip("|-: ")
        if line.startswith("|") and not is_ruler and not is_head:
            cells.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return cells


def missing(names: Iterable[str], text: str, column: int = 0) -> list[str]:
    """The names that no row has in this column."""
    present = {row[column] for row in rows(text) if len(row) > column}
    return [name for name in names if name not in present]


def variables(struct: type[msgspec.Struct], prefix: str = "FRESHGATE_") -> Iterator[str]:
    """The environment variable of each key; `<NAME>` stands for the name of a table."""
    for field in fields(struct):
        types = [part for part in get_args(field.type) if isinstance(part, type)]
        inner = [part for part in types if issubclass(part, msgspec.Struct)]
        if inner:
            yield from variables(inner[0], f"{prefix}{field.name.upper()}__<NAME>__")
        else:
            yield prefix + field.name.upper()


def declared_metrics() -> dict[str, tuple[str, tuple[str, ...]]]:
    """name → (type, labels) of every metric that is an attribute of freshgate.telemetry.metrics."""
    classes = (MetricWrapperBase, PolledMetric)
    instances: list[Any] = [value for value in vars(metrics).values() if isinstance(value, classes)]
    labels = {}
    for metric in instances:
        family = metric.describe()[0]
        name = family.name + ("_total" if family.type == "counter" else "")
        labels[name] = (family.type, tuple(metric._labelnames))
    return labels


# ---- the checks themselves


TABLE = "| key | variable |\n|---|:--|\n| `port` | `FRESHGATE_PORT` |\n\nand `made_up` in a sentence\n"


def test_a_made_up_name_is_reported() -> None:
    assert missing(["port", "made_up"], TABLE) == ["made_up"]
    assert missing(["FRESHGATE_PORT", "FRESHGATE_MADE_UP"], TABLE, column=1) == ["FRESHGATE_MADE_UP"]


def test_a_tables_head_is_no_row() -> None:
    assert rows(TABLE) == [["port", "FRESHGATE_PORT"]]


def test_the_walk_reaches_nested_tables() -> None:
    class Inner(msgspec.Struct):
        deep: int = 0

    Outer = msgspec.defstruct("Outer", [("flat", int, 0), ("many", dict[str, Inner], {})])
    assert list(variables(Outer)) == ["FRESHGATE_FLAT", "FRESHGATE_MANY__<NAME>__DEEP"]


# ---- the documents


def test_every_setting_has_its_row() -> None:
    assert missing(variables(Settings), read("SETTINGS.md"), column=1) == []


def test_every_row_of_a_setting_is_a_setting() -> None:
    known = set(variables(Settings))
    settings = [row for row in rows(read("SETTINGS.md")) if len(row) == 5]
    assert [row[1] for row in settings if row[1] not in known] == []
    assert [row for row in settings if row[0] != row[1].rpartition("__")[2].removeprefix("FRESHGATE_").lower()] == []


def test_every_metric_has_its_row() -> None:
    assert missing(declared_metrics(), read("METRICS.md")) == []


def test_every_row_of_a_metric_is_a_metric_with_its_type_and_labels() -> None:
    documented = {row[0]: (row[1], row[3]) for row in rows(read("METRICS.md")) if len(row) == 5}
    assert documented == {
        name: (kind, ", ".join(f"`{label}`" for label in labels).strip("`") or "–")
        for name, (kind, labels) in declared_metrics().items()
    }


@pytest.mark.parametrize("name", ["OUTCOMES", "VERDICTS", "IDENTITY", "ERROR_CLASSES"])
def test_every_value_of_a_closed_set_is_named(name: str) -> None:
    text = read("METRICS.md")
    assert [value for value in getattr(metrics, name) if f"`{value}`" not in text] == []


def test_every_reason_of_a_refusal_is_named() -> None:
    text = read("METRICS.md")
    assert [reason for reason in metrics.REFUSED_ELEMENTS if f"`{reason}`" not in text] == []


def declared_reasons() -> set[str]:
    """The reasons that a decision may have: what the code of gate, decider, intake and catalog writes as one.

    They are texts of calls, not a closed set that could be imported, since triggers bring their own.
    """
    root = DOCS.parent
    # The name of a function or method, and which of its arguments is the reason.
    calls = {"_withhold": 2, "Withdrawn": 1, "mark_dead": 1}
    reasons = {*metrics.RETIMED_REASONS, *metrics.CONTRADICTIONS, *(f"already_{state}" for state in OVER)}
    own = [root / "workers" / name for name in ("gate.py", "decider.py", "intake.py")]
    for file in (*own, *root.glob("catalog/triggers/*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            texts = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in calls:
                texts += node.args[calls[name] :][:1]
            reasons |= {str(text.value) for text in texts if isinstance(text, ast.Constant)}
    # No mail is a fallback in this version; `no_address_yet` is what the metrics call `parked`.
    return reasons - {"already_fallback_sent", "no_address_yet"}


def test_every_reason_of_a_decision_is_named() -> None:
    reasons = declared_reasons()
    # One of each place that is searched.
    assert {"older_than_max_age", "disabled", "ordered", "bounced", "after_gap", "poison"} <= reasons
    text = read("METRICS.md")
    assert sorted(reason for reason in reasons if f"`{reason}`" not in text) == []


def test_every_event_type_has_its_row_with_its_spellings() -> None:
    text = read("EVENTS.md")
    assert missing((event.name for event in EVENTS), text) == []
    spelled = {row[0]: row[1] for row in rows(text.partition("## How each CDP says it")[0]) if len(row) == 3}
    assert set(spelled) == {event.name for event in EVENTS}
    for event in EVENTS:
        when = event.sources["segment"].when if "segment" in event.sources else {"type": ""}
        spellings = when.get("event", when["type"])
        for spelling in (spellings,) if isinstance(spellings, str) else spellings:
            assert spelling in spelled[event.name], f"{event.name}: EVENTS.md does not say {spelling!r}"


def test_the_spellings_of_all_cdps_are_those_of_the_catalog() -> None:
    assert "\n".join(table(EVENTS)) in read("EVENTS.md"), "paste what `python -m adapter events` prints"


def test_the_table_of_esps_is_what_the_kinds_declare() -> None:
    assert "\n".join(esp_table(ESPS)) in read("ESPS.md"), "paste what `python -m workers esps` prints"


def test_every_trigger_has_its_row_and_its_data() -> None:
    text = read("EVENTS.md")
    full = "\n".join(line for line in text.splitlines() if line.count("|") > 8)
    names = [trigger.name for trigger in TRIGGERS]
    assert missing(names, full) == []
    assert [row[0] for row in rows(text) if len(row) == 2] == names
