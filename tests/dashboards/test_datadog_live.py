"""DataDog's real OpenMetrics check reads our real processes, and DataDog's own models check our documents.

Marked `tools`: both are large packages.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from dashboards.datadog.widgets import HEALTH_CHECK
from tests.dashboards.test_datadog import FOLDER, documents, metrics_of
from tests.dashboards.tools import module
from tests.harness.system import System

pytestmark = [pytest.mark.tools, pytest.mark.timeout(240)]
OBJECTIVES = json.loads((FOLDER / "objectives.json").read_text(encoding="utf-8"))
# Beginning of a metric's name → why nothing emits it here.
RIGHTLY_ABSENT = {
    "freshgate.backup_": "no copy is scheduled",
    "freshgate.accepted_to_delivered_seconds": "the ESP reports nothing back",
    "freshgate.feedback": "the ESP reports nothing back",
    "freshgate.unauthentic_feedback": "the ESP reports nothing back",
    "freshgate.settled_by_feedback": "the ESP reports nothing back",
    "freshgate.failed_over": "no account has a failover",
    "freshgate.asks": "no trigger asks a source of truth",
    "freshgate.ask_": "no trigger asks a source of truth",
    "freshgate.outcome": "outcomes are sent to no CDP",
}
# Tags that the Agent adds to everything.
OF_THE_AGENT = {"host"}
PORTS = {"9108": "METRICS_PORT", "9109": "WORKER_METRICS_PORT", "9110": "TIMERS_METRICS_PORT"}


@pytest.fixture(scope="module")
def emitted(live: tuple[System, Any]) -> dict[str, set[str]]:
    """Metric as DataDog would store it → its tags, from all instances of the shipped conf.yaml."""
    base = module("datadog_checks.base.checks.openmetrics.v2.base")
    aggregator = module("datadog_checks.base.stubs").aggregator
    aggregator.reset()
    config = yaml.safe_load((FOLDER / "conf.d" / "openmetrics.d" / "conf.yaml").read_text(encoding="utf-8"))
    for instance in config["instances"]:
        inner = re.findall(r":(\d+)/", instance["openmetrics_endpoint"])[0]
        endpoint = instance["openmetrics_endpoint"].replace(inner, str(live[0].ports[PORTS[inner]]))
        check = base.OpenMetricsBaseCheckV2(
            "openmetrics", config["init_config"], [{**instance, "openmetrics_endpoint": endpoint}]
        )
        for _ in range(2):
            assert check.run() == ""
    tags: dict[str, set[str]] = {}
    for name in aggregator.metric_names:
        for metric in aggregator.metrics(name):
            tags.setdefault(name, set()).update(metric.tags)
    for name in aggregator._histogram_buckets:
        for bucket in aggregator.histogram_bucket(name):
            tags.setdefault(name, set()).update(bucket.tags)
    health = aggregator.service_checks(HEALTH_CHECK)
    assert {check.status for check in health} == {0}
    assert {tag for check in health for tag in check.tags if tag.startswith("process:")} == {
        "process:receiver",
        "process:worker",
        "process:timers",
    }
    return tags


def absent(names: set[str], emitted: dict[str, set[str]]) -> set[str]:
    """Those that nothing emits, although it should."""
    return {name for name in names if name not in emitted and not name.startswith(tuple(RIGHTLY_ABSENT))}


@pytest.mark.parametrize("folder", ["boards", "monitors"])
def test_every_metric_of_the_dashboards_and_monitors_is_emitted(emitted: dict[str, set[str]], folder: str) -> None:
    missing = {name: absent(metrics_of(document), emitted) for name, document in documents(folder).items()}
    assert {name: names for name, names in missing.items() if names} == {}


def test_every_metric_of_the_objectives_is_emitted(emitted: dict[str, set[str]]) -> None:
    asked = metrics_of({"queries": OBJECTIVES})
    assert len(asked) == 4
    assert asked - set(emitted) == set()


def test_every_tag_of_the_queries_is_emitted(emitted: dict[str, set[str]]) -> None:
    """Grouping or filtering by a tag that is never sent would give an empty graph."""
    checked = 0
    for document in (*documents("boards").values(), *documents("monitors").values()):
        for query in re.findall(r"\w+:(freshgate\.[a-z_.]+)\{([^}]*)\}(?: by \{([^}]*)\})?", json.dumps(document)):
            metric, scope, grouped = query
            if metric not in emitted:
                assert absent({metric}, emitted) == set()
                continue
            known = {tag.partition(":")[0] for tag in emitted[metric]} | OF_THE_AGENT
            used = {part.partition(":")[0].partition(" ")[0].lstrip("$") for part in scope.split(" AND ")} - {"*"}
            used |= {label for label in grouped.split(",") if label}
            assert used <= known, query
            checked += len(used)
    assert checked > 100


def test_the_objectives_bucket_is_emitted_and_no_other(emitted: dict[str, set[str]]) -> None:
    for name in ("received", "occurred"):
        tags = emitted[f"freshgate.{name}_to_accepted_seconds.by_bound.bucket"]
        assert {tag for tag in tags if tag.startswith("upper_bound:")} == {"upper_bound:5.0"}


def test_a_metric_that_is_not_emitted_is_noticed(emitted: dict[str, set[str]]) -> None:
    assert absent(metrics_of({"q": "max:freshgate.made_up{*}"}), emitted) == {"freshgate.made_up"}


def faults(document: Any, model_name: str) -> list[str]:
    """The parts of the document that DataDog's model of a Dashboard or Monitor does not understand."""
    client = module("datadog_api_client")
    convert = module("datadog_api_client.model_utils").validate_and_convert_types
    models = module("datadog_api_client.v1.models")
    try:
        model = convert(document, (getattr(models, model_name),), ["it"], True, True, client.Configuration())
    except (TypeError, ValueError) as error:
        return [str(error)]
    return _unknown(model, document, "it")


def _unknown(model: Any, document: Any, where: str) -> list[str]:
    faults = []
    if isinstance(model, list):
        for at, (inner, part) in enumerate(zip(model, document, strict=True)):
            faults += _unknown(inner, part, f"{where}[{at}]")
        return faults
    if getattr(model, "_unparsed", False):
        return [f"{where}: not understood"]
    instances = getattr(model, "_composed_instances", None)
    if instances:
        return faults + [fault for inner in instances for fault in _unknown(inner, document, where)]
    if hasattr(model, "_data_store") and isinstance(document, dict):
        # A model stores keys that it does not know, and DataDog ignores them.
        types = {model.attribute_map.get(key, key) for key in model.openapi_types}
        faults += [f"{where}.{key}: no such key" for key in document if types and key not in types]
        for key, value in model._data_store.items():
            faults += _unknown(value, document.get(model.attribute_map.get(key, key)), f"{where}.{key}")
    return faults


def test_datadogs_models_understand_the_dashboards_and_monitors() -> None:
    assert {uid: faults(board, "Dashboard") for uid, board in documents("boards").items()} == dict.fromkeys(
        documents("boards"), []
    )
    for monitors in documents("monitors").values():
        for monitor in monitors:
            assert faults(monitor, "Monitor") == [], monitor["name"]
    logs = documents("logs")
    assert faults(logs["board"], "Dashboard") == faults(logs["pipeline"], "LogsPipeline") == []


def test_datadogs_model_understands_the_objectives() -> None:
    for objective in OBJECTIVES:
        assert faults(objective, "ServiceLevelObjectiveRequest") == [], objective["name"]
        assert faults({**objective, "type": "metrics"}, "ServiceLevelObjectiveRequest")


def test_json_that_datadog_would_not_understand_is_noticed() -> None:
    board = documents("boards")["freshgate-queues"]
    changes = (
        {"layout_type": "heap"},
        {"colour": "red"},
        {"widgets": [{"definition": {"type": "timeserie", "requests": []}}]},
        {"widgets": [{"definition": {"type": "timeseries", "requests": [{"display_type": "curve"}]}}]},
    )
    for change in changes:
        assert faults({**board, **change}, "Dashboard"), change
    without = {key: value for key, value in board.items() if key != "layout_type"}
    assert faults(without, "Dashboard")
    (dead,) = documents("monitors")["DeadMails"]
    assert faults({**dead, "type": "query"}, "Monitor")
    assert faults({**dead, "options": {"notify_odit": True}}, "Monitor")
