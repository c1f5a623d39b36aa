"""The configuration of Prometheus, Grafana, the collector and Tempo: it names services, ports and files that exist.

`stack.py` reads docker-compose.yml. Whether a program accepts its file is tested elsewhere, or at the first start.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from yamllint import linter
from yamllint.config import YamlLintConfig

from dashboards.alerts.monitoring import MONITORS
from dashboards.boards import BOARDS, lines
from deploy import pager
from freshgate.settings import Settings
from tests.deploy import stack
from tests.deploy.stack import ROOT

CONFIGS = {
    "prometheus": "deploy/prometheus/prometheus.yml",
    "otel-collector": "deploy/otel/collector.yml",
    "tempo": "deploy/tempo/tempo.yml",
    "loki": "deploy/loki/loki.yml",
    "alloy": "deploy/alloy/config.alloy",
    "grafana": "deploy/grafana/provisioning/datasources/freshgate.yml",
}
YAML_FILES = [ROOT / "docker-compose.yml", ROOT / ".yamllint.yml", *sorted((ROOT / "deploy").rglob("*.yml"))]


ALLOY = (ROOT / CONFIGS["alloy"]).read_text(encoding="utf-8")


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def mounted(service: str) -> dict[str, str]:
    """Path in the container → path in this repository."""
    volumes = [stack.INTERPOLATED.sub("/", volume) for volume in stack.compose()["services"][service]["volumes"]]
    return {parts[1]: stack.committed(parts[0]) for parts in (volume.split(":") for volume in volumes)}


@pytest.mark.parametrize(("service", "path"), CONFIGS.items())
def test_a_configuration_calls_services_that_it_reaches(service: str, path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert stack.unreachable(stack.compose(), service, text) == []


@pytest.mark.parametrize("service", [*CONFIGS, "redis", "alertmanager"])
def test_the_command_names_a_file_that_is_mounted(service: str) -> None:
    composed = stack.compose()["services"][service]
    named = [
        word.rpartition("=")[2] for word in composed.get("command", []) if word.endswith((".yml", ".conf", ".alloy"))
    ]
    local = [
        ROOT / file.replace(folder, source, 1)
        for file in named
        for folder, source in mounted(service).items()
        if file.startswith(folder)
    ]
    assert len(local) == len(named)
    assert [file for file in local if not file.is_file()] == []
    assert named or service == "grafana"


def test_every_process_of_ours_is_scraped_on_its_port() -> None:
    jobs = {job["job_name"]: job for job in read(CONFIGS["prometheus"])["scrape_configs"]}
    ports = Settings()
    assert jobs["freshgate-receiver"]["static_configs"] == [{"targets": [f"receiver:{ports.metrics_port}"]}]
    for name, port in (("worker", ports.worker_metrics_port), ("timers", ports.timers_metrics_port)):
        (asked,) = jobs[f"freshgate-{name}"]["dns_sd_configs"]
        assert (asked["names"], asked["type"], asked["port"]) == ([name], "A", port)
    # Compose cannot check the health of these two.
    assert set(stack.WITHOUT_SHELL) <= set(jobs)


def test_every_program_that_watches_is_watched() -> None:
    """By an alert: ours by ScrapeDown, the others by MonitoringDown."""
    jobs = {job["job_name"] for job in read(CONFIGS["prometheus"])["scrape_configs"]}
    foreign = {name for name in jobs if not name.startswith("freshgate-")}
    composed = {"prometheus", "alertmanager", "grafana", "otel-collector", "tempo", "loki", "alloy"}
    assert foreign == composed
    assert composed <= set(stack.compose()["services"])
    assert set(MONITORS.removeprefix("~").split("|")) == composed


def test_prometheus_reads_the_rules_and_tells_the_alertmanager() -> None:
    config = read(CONFIGS["prometheus"])
    assert mounted("prometheus")["/etc/prometheus/rules"] == "./dashboards/prometheus"
    assert [file for file in config["rule_files"] if not file.startswith("/etc/prometheus/rules/")] == []
    assert config["alerting"]["alertmanagers"] == [{"static_configs": [{"targets": ["alertmanager:9093"]}]}]
    # They are for the texts alone: with them, an alert of a moved Grafana would be another alert.
    assert set(config["global"]["external_labels"]) == {"runbooks", "grafana"}
    assert config["alerting"]["alert_relabel_configs"] == [{"action": "labeldrop", "regex": "runbooks|grafana"}]


def test_there_are_boards_and_rules_where_they_are_looked_for() -> None:
    assert sorted((ROOT / "dashboards/grafana").glob("*.json"))
    rules = [Path(file).name for file in read(CONFIGS["prometheus"])["rule_files"]]
    assert [name for name in rules if not (ROOT / "dashboards/prometheus" / name).is_file()] == []


def test_the_boards_are_provisioned_from_where_they_are_mounted() -> None:
    (provider,) = read("deploy/grafana/provisioning/dashboards/freshgate.yml")["providers"]
    assert mounted("grafana")[provider["options"]["path"]] == "./dashboards/grafana"
    assert provider["allowUiUpdates"] is False
    assert provider["disableDeletion"] is True


def test_grafana_opens_on_the_first_board() -> None:
    home = stack.compose()["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    (provider,) = read("deploy/grafana/provisioning/dashboards/freshgate.yml")["providers"]
    folder = provider["options"]["path"]
    assert home == f"{folder}/{BOARDS[0].uid}.json"
    assert (ROOT / home.replace(folder, mounted("grafana")[folder])).is_file()


def test_a_runbooks_link_opens_in_the_demo() -> None:
    """The links lead to the pager's published port, which serves the folder that is mounted where it looks."""
    composed = stack.compose()["services"]
    address = stack.INTERPOLATED.sub(
        lambda match: match[2] or "", composed["prometheus"]["environment"]["RUNBOOKS_URL"]
    )
    (port,) = composed["pager"]["ports"]
    published = stack.INTERPOLATED.sub(lambda match: match[2] or "", port).rpartition(":")[0]
    assert address == f"http://{published}/runbooks"
    looks_in = f"/app/{pager.RUNBOOKS.relative_to(ROOT)}"
    assert mounted("pager")[looks_in] == f"./{pager.RUNBOOKS.relative_to(ROOT)}"


def test_the_data_sources_have_fixed_uids_and_traces_are_linked() -> None:
    sources = {source["uid"]: source for source in read(CONFIGS["grafana"])["datasources"]}
    assert set(sources) == {"prometheus", "tempo", "alertmanager", "loki"}
    assert [uid for uid, source in sources.items() if source.get("isDefault")] == ["prometheus"]
    (link,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    # The name that `test_live.py` finds in the exemplars.
    assert (link["name"], link["datasourceUid"]) == ("trace_id", "tempo")


def test_a_span_leads_to_the_lines_of_its_trace_and_a_line_to_its_trace_and_send() -> None:
    sources = {source["uid"]: source["jsonData"] for source in read(CONFIGS["grafana"])["datasources"][1:3]}
    lines_of_trace = sources["tempo"]["tracesToLogsV2"]
    assert lines_of_trace["datasourceUid"] == "loki"
    # Grafana replaces a single dollar by a variable of its environment.
    assert "| trace_id=`$${__trace.traceId}`" in lines_of_trace["query"]
    trace, send = sources["loki"]["derivedFields"]
    assert trace["datasourceUid"] == "tempo"
    assert send["url"] == f"/d/{lines.UID}?var-send=$${{__value.raw}}"
    # Grafana takes the first label that the pattern fits, so a part of a name would do: `^send$`, not `send`.
    assert (trace["matcherRegex"], send["matcherRegex"]) == ("^trace_id$", "^send$")
    for field in ("trace_id", "send"):
        assert re.search(rf'stage.structured_metadata {{\s+values = {{[^}}]*\b{field} = ""', ALLOY)


def test_the_labels_of_lines_are_few_and_those_that_the_board_asks_for() -> None:
    """Each value of a label is a stream of its own: an id among them would be the end of Loki."""
    labels = set(re.findall(r"(\w+) = \"\"", " ".join(re.findall(r"stage\.labels {\s+values = {([^}]*)}", ALLOY))))
    assert labels == {"project", "service", "level"}
    board = json.dumps(lines.as_dict())
    assert set(re.findall(r"[{ ,](\w+)=~", board)) <= labels
    assert {"send", "trace_id"} <= set(re.findall(r"\| (\w+)=`", board))


def test_lines_go_from_docker_through_alloy_to_the_log_store_and_are_removed_in_time() -> None:
    loki = read(CONFIGS["loki"])
    assert f'url = "http://loki:{loki["server"]["http_listen_port"]}/loki/api/v1/push"' in ALLOY
    assert set(re.findall(r"forward_to\s+= \[([\w.]+)\]", ALLOY)) == {
        "loki.process.lines.receiver",
        "loki.write.loki.receiver",
    }
    assert "/var/log/containers" in mounted("alloy")
    # Lines of others on this machine go no further.
    assert re.search(
        r'stage\.match {\s+selector = "{filename=~\\"\.\+\\", service=\\"\\"}"\s+action   = "drop"\s+}', ALLOY
    )
    assert '"/var/log/containers/*/*-json.log"' in ALLOY
    assert (loki["compactor"]["retention_enabled"], loki["limits_config"]["retention_period"]) == (True, "336h")
    (schema,) = loki["schema_config"]["configs"]
    assert schema["schema"] == "v13"
    # Loki does not start without it where lines are removed.
    assert loki["compactor"]["delete_request_store"] == schema["object_store"] == "filesystem"
    # Docker's envelope; `test_compose_live.py` compares it with what Docker writes.
    envelope = re.findall(r'(output|time)\s+= "(\w+)"', ALLOY)
    assert envelope == [("output", "log"), ("time", "time")]
    assert re.search(r'stage\.timestamp {\s+source = "time"\s+format = "RFC3339Nano"\s+}', ALLOY)
    assert loki["common"]["path_prefix"] in mounted("loki")


def test_spans_go_from_the_collector_to_the_trace_store() -> None:
    collector, tempo = read(CONFIGS["otel-collector"]), read(CONFIGS["tempo"])
    pipeline = collector["service"]["pipelines"]["traces"]
    assert pipeline["processors"][0] == "memory_limiter"
    for part in ("receivers", "processors", "exporters"):
        assert set(pipeline[part]) == set(collector[part])
    listens = tempo["distributor"]["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    assert collector["exporters"]["otlp_http/tempo"]["endpoint"] == f"http://tempo:{listens.rpartition(':')[2]}"


def test_the_files_of_the_trace_store_lie_on_its_volume() -> None:
    paths = [part["path"] for part in read(CONFIGS["tempo"])["storage"]["trace"].values() if isinstance(part, dict)]
    assert len(paths) == 2
    assert [path for path in paths if not path.startswith("/var/tempo/")] == []
    assert "/var/tempo" in mounted("tempo")


def test_the_store_keeps_what_it_promised() -> None:
    lines = (ROOT / "deploy/valkey.conf").read_text(encoding="utf-8").splitlines()
    config = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    assert (config["appendonly"], config["maxmemory-policy"]) == ("yes", "noeviction")
    assert config["dir"] in mounted("redis")
    assert Path(config["aclfile"]).name in stack.compose()["services"]["redis"]["secrets"]


@pytest.mark.parametrize("file", YAML_FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_yamllint_is_content(file: Path) -> None:
    config = YamlLintConfig((ROOT / ".yamllint.yml").read_text(encoding="utf-8"))
    assert [str(problem) for problem in linter.run(file.read_text(encoding="utf-8"), config)] == []
