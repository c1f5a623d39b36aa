"""docker-compose.yml, the Dockerfile and .env.example: pinned, guarded, closed, and with settings that exist.

`stack.py` holds the checks; each also runs on a file that was broken on purpose.
"""

from __future__ import annotations

import copy
import fnmatch
import re
from pathlib import Path
from typing import Any

import pytest

from dashboards import objective
from deploy import prepare
from freshgate.errors import SettingsError
from freshgate.settings import Settings
from freshgate.settings_file import load
from freshgate.version import VERSION
from tests.deploy import stack
from tests.deploy.stack import FRESHGATE_SERVICES, ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
ENV = (ROOT / ".env.example").read_text(encoding="utf-8")


@pytest.fixture
def composed() -> dict[str, Any]:
    """A copy that a test may break."""
    return copy.deepcopy(stack.compose())


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, str]:
    """The secrets that deploy/prepare.py writes: name → text."""
    return dict(prepare.contents(tmp_path))


# ---- as it is


def test_it_has_all_that_the_manual_promises(composed: dict[str, Any]) -> None:
    always = {name for name, service in composed["services"].items() if not service.get("profiles")}
    wanted = "receiver worker timers redis prometheus alertmanager grafana otel-collector tempo"
    assert always == set(wanted.split())
    assert {name for name, service in composed["services"].items() if service.get("profiles") == ["demo"]} == {
        "sandbox",
        "traffic",
        "pager",
    }
    assert {name for name, service in composed["services"].items() if service.get("profiles") == ["logs"]} == {
        "loki",
        "alloy",
    }
    assert composed["services"]["people"]["profiles"] == ["people"]


def test_one_service_builds_the_image_and_the_others_use_it(composed: dict[str, Any]) -> None:
    """Several targets that export one tag make the current Compose fail where there is no image yet."""
    built = {name for name, service in composed["services"].items() if "build" in service}
    assert built == {"receiver"}
    assert {composed["services"][name]["pull_policy"] for name in set(FRESHGATE_SERVICES) - built} == {"never"}


def test_metrics_last_longer_than_the_objective(composed: dict[str, Any]) -> None:
    (retention,) = re.findall(r"retention\.time=(\d+)d", str(composed["services"]["prometheus"]["command"]))
    assert int(retention) > objective.DAYS


def test_the_store_may_take_its_time_to_load(composed: dict[str, Any]) -> None:
    """10 GB of append-only file take minutes; before that, Compose must not give up on what depends on it."""
    assert composed["services"]["redis"]["healthcheck"]["start_period"] == "15m"


def test_the_store_is_copied_on_the_schedule_that_the_manual_names(composed: dict[str, Any]) -> None:
    command = [
        stack.INTERPOLATED.sub(lambda at: at[2] or "", word) for word in composed["services"]["backup"]["command"]
    ]
    assert command == ["--every", "6h", "--keep", "28"]
    manual = (ROOT / "docs" / "DEPLOY.md").read_text(encoding="utf-8")
    assert "every six hours into the volume `backups`, and keeps 28 copies" in manual


def test_every_image_is_pinned(composed: dict[str, Any]) -> None:
    assert stack.unpinned(composed, DOCKERFILE) == []


def test_our_image_has_the_version_of_the_project(composed: dict[str, Any]) -> None:
    assert {composed["services"][name]["image"] for name in FRESHGATE_SERVICES} == {f"freshgate:{VERSION}"}


def test_both_stages_of_the_image_have_the_same_python() -> None:
    assert len(set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))) == 1


def test_no_service_may_do_more_than_it_needs(composed: dict[str, Any]) -> None:
    assert stack.unguarded(composed) == []


def test_only_this_machine_reaches_the_ports_and_nobody_the_metrics(composed: dict[str, Any]) -> None:
    assert stack.exposed(composed) == []


def test_the_store_and_the_metrics_have_no_way_out(composed: dict[str, Any]) -> None:
    assert composed["networks"]["store"] == composed["networks"]["metrics"] == {"internal": True}
    assert composed["services"]["redis"]["networks"] == ["store"]


def test_metrics_are_served_on_a_network_of_our_own_and_of_those_who_watch(composed: dict[str, Any]) -> None:
    """A process listens on the address of `scraped`, which is a name on the network metrics alone."""
    assert stack.scraped_elsewhere(composed) == []
    inside = {name for name, service in composed["services"].items() if "metrics" in service["networks"]}
    watching = {"prometheus", "alertmanager", "grafana", "otel-collector", "tempo", "loki", "alloy"}
    assert inside == {"receiver", "worker", "timers", "people"} | watching


def test_nothing_is_published_but_the_receiver_and_what_people_look_at(composed: dict[str, Any]) -> None:
    published = {name for name, service in composed["services"].items() if service.get("ports")}
    assert published == {"receiver", "people", "grafana", "sandbox", "pager"}
    assert {name for name in published if composed["services"][name].get("profiles")} == {"people", "sandbox", "pager"}


def test_whoever_reads_the_logs_of_all_containers_has_no_way_out_and_no_right_but_to_read(
    composed: dict[str, Any],
) -> None:
    alloy = composed["services"][stack.READS_LOGS]
    assert (alloy["networks"], alloy["cap_drop"], "cap_add" in alloy) == (["metrics"], ["ALL"], False)
    assert [volume for volume in alloy["volumes"] if not volume.endswith(":ro")] == ["positions:/positions"]
    assert [name for name, service in composed["services"].items() if "docker.sock" in str(service)] == []


def test_each_line_in_the_log_says_which_service_wrote_it(composed: dict[str, Any]) -> None:
    """Compose sets the labels; Docker's log driver writes them beside each line; Alloy reads them."""
    alloy = (ROOT / "deploy" / "alloy" / "config.alloy").read_text(encoding="utf-8")
    for name, service in composed["services"].items():
        labels = service["logging"]["options"]["labels"].split(",")
        assert labels == ["com.docker.compose.project", "com.docker.compose.service"], name
        assert [label for label in labels if f'"attrs.\\"{label}\\""' not in alloy] == []


def test_what_is_mounted_exists(composed: dict[str, Any], secrets: dict[str, str]) -> None:
    assert stack.missing_paths(composed, ROOT, secrets) == []
    assert {name for name in secrets if name not in composed["secrets"]} == set()


def test_a_secret_that_is_read_is_mounted(composed: dict[str, Any]) -> None:
    assert stack.unmounted_secrets(composed) == []


def test_the_services_that_are_called_are_there(composed: dict[str, Any]) -> None:
    for name, service in composed["services"].items():
        assert stack.unreachable(composed, name, f"{service.get('command')} {service.get('environment')}") == []
    assert stack.unreachable(composed, "worker", ENV) == []


@pytest.mark.parametrize("name", FRESHGATE_SERVICES)
def test_the_environment_of_every_process_is_accepted(
    name: str, composed: dict[str, Any], secrets: dict[str, str], tmp_path: Path
) -> None:
    for secret, text in secrets.items():
        (tmp_path / secret).write_text(text, encoding="utf-8")
    environment = stack.environment(composed["services"][name], stack.active(ENV))
    local = {key: value.replace("/run/secrets", str(tmp_path)) for key, value in environment.items()}
    settings = load(local, ROOT / "freshgate.toml")
    if name == "pager":
        return
    assert settings.esps["sendgrid"].base_url == "http://sandbox:8025"
    if name in ("receiver", "worker", "timers"):
        assert settings.metrics_host == "127.0.0.1,scraped"
        assert settings.pii_key and settings.redis_url.endswith("@redis:6379/0")
    if name == "sandbox":
        assert settings.sandbox_password == secrets["esp_api_key"].strip()


def test_every_variable_of_the_example_is_a_setting_or_used_by_compose() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    used = {match[1] for match in stack.INTERPOLATED.finditer(text)}
    variables = stack.named(ENV)
    settings = {name for name in variables if name.startswith("FRESHGATE_")}
    assert variables - settings == used | {"COMPOSE_PROFILES"}
    values = {
        "LIVE": "true",
        "WORKERS": "2",
        "THREADS": "4",
        "PROXIES": "1",
        "LEVEL": "info",
        "RATIO": "0.05",
        "DELAY": "1m",
        "EMAIL": "a@b.example",
    }
    environment = {name: values.get(name.rpartition("_")[2], "https://esp.example") for name in settings}
    assert load(environment, ROOT / "freshgate.toml").esps["sendgrid"].live


def test_the_processes_agree_on_everything_but_their_secrets(composed: dict[str, Any]) -> None:
    common = [
        {key: value for key, value in stack.environment(composed["services"][name], {}).items() if "__" not in key}
        for name in ("receiver", "worker", "timers")
    ]
    assert common[0] == common[1] == common[2]


def test_health_is_asked_where_the_process_listens(composed: dict[str, Any]) -> None:
    defaults = Settings()
    asked = {name: str(composed["services"][name]["healthcheck"].get("test")) for name in FRESHGATE_SERVICES}
    assert f":{defaults.port}/readyz" in asked["receiver"]
    assert f":{defaults.worker_metrics_port}/metrics" in asked["worker"]
    assert f":{defaults.timers_metrics_port}/metrics" in asked["timers"]
    assert f":{defaults.sandbox_port}/" in asked["sandbox"]
    assert ":8026/" in asked["pager"]
    assert f":{defaults.port}/readyz" in DOCKERFILE.split("HEALTHCHECK")[1]


def test_the_manual_names_every_secret_and_every_port(composed: dict[str, Any]) -> None:
    manual = (ROOT / "docs" / "DEPLOY.md").read_text(encoding="utf-8")
    assert [name for name in composed["secrets"] if f"`{name}`" not in manual] == []
    ports = [port.rpartition(":")[2] for service in composed["services"].values() for port in service.get("ports", [])]
    assert [port for port in ports if f":{port}`" not in manual] == []


def test_the_image_holds_what_the_commands_need_and_no_secret() -> None:
    copied = re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, re.MULTILINE)
    rooms = {"freshgate", "adapter", "workers", "catalog", "freshgate_cli"}
    requirements = {"requirements.txt", "requirements-aws.txt", "requirements-memcached.txt"}
    assert set(copied) == {*requirements, *rooms, "deploy/probe.py", "deploy/freshgate"}
    assert [path for path in copied if not (ROOT / path).exists() or ignored(path)] == []
    excluded = [".env", "deploy/secrets/pii_key", "var/secrets/pii_key", ".git/config", "freshgate.toml", ".venv/x"]
    assert [path for path in excluded if not ignored(path)] == []


def ignored(path: str) -> bool:
    """Whether .dockerignore excludes the path. The last matching line decides; a line also matches what is below it."""
    is_ignored = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            parents = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
            if any(
                fnmatch.fnmatchcase(parent, pattern) and parent.count("/") == pattern.count("/") for parent in parents
            ):
                is_ignored = not line.startswith("!")
    return is_ignored


# ---- broken on purpose


def test_an_image_without_an_exact_version_or_digest_is_found(composed: dict[str, Any]) -> None:
    composed["services"]["tempo"]["image"] = "grafana/tempo:2.9.0"
    composed["services"]["redis"]["image"] = "valkey/valkey:9"
    composed["services"]["grafana"]["image"] = "grafana/grafana:latest"
    del composed["services"]["worker"]["pull_policy"]
    digest = "@sha256:" + "0" * 64
    assert stack.unpinned(
        composed, f"FROM python:3-slim{digest} AS a\nFROM a.example/b:1.2.3{digest}\nFROM c:1.2.3"
    ) == [
        "redis",
        "grafana",
        "tempo",
        "worker",
        f"python:3-slim{digest}",
        "c:1.2.3",
    ]


@pytest.mark.parametrize(
    ("change", "lack"),
    [
        ({"read_only": False}, "read_only"),
        ({"cap_drop": []}, "cap_drop"),
        ({"security_opt": []}, "no-new-privileges"),
        ({"user": "0:0"}, "user"),
        ({"deploy": {"resources": {"limits": {"cpus": "1"}}}}, "limits"),
        ({"restart": "no"}, "restart"),
        ({"privileged": True}, "isolation"),
    ],
)
def test_a_service_that_may_too_much_is_found(composed: dict[str, Any], change: dict[str, Any], lack: str) -> None:
    composed["services"]["worker"].update(change)
    assert stack.unguarded(composed) == [f"worker: {lack}"]


def test_a_missing_health_check_is_found(composed: dict[str, Any]) -> None:
    del composed["services"]["timers"]["healthcheck"]
    assert stack.unguarded(composed) == ["timers: healthcheck"]


@pytest.mark.parametrize("port", ["8080:8080", "0.0.0.0:80:8080", "${ADDRESS:-0.0.0.0}:80:8080", "127.0.0.1:1:9108"])
def test_an_open_port_is_found(composed: dict[str, Any], port: str) -> None:
    composed["services"]["receiver"]["ports"].append(port)
    assert stack.exposed(composed) == [f"receiver: {port}"]


def test_a_path_or_name_that_is_not_there_is_found(composed: dict[str, Any]) -> None:
    before = stack.missing_paths(composed, ROOT, composed["secrets"])
    composed["services"]["redis"]["volumes"] += ["./deploy/made_up.conf:/x:ro", "made_up:/y"]
    composed["services"]["redis"]["depends_on"] = {"nobody": {}}
    composed["secrets"]["pii_key"]["file"] = "./elsewhere"
    wrong = ["./deploy/made_up.conf", "made_up", "nobody", "./elsewhere"]
    assert [path for path in stack.missing_paths(composed, ROOT, composed["secrets"]) if path not in before] == wrong


def test_a_secret_that_was_not_given_is_found(composed: dict[str, Any]) -> None:
    composed["services"]["timers"]["secrets"].remove("pii_key")
    assert stack.unmounted_secrets(composed) == ["timers: pii_key"]


def test_a_service_that_cannot_be_reached_is_found(composed: dict[str, Any]) -> None:
    assert stack.unreachable(composed, "prometheus", '["redis:6379", "nobody:1234", "grafana:3000"]') == [
        "nobody",
        "redis",
    ]


def test_a_variable_that_is_no_setting_is_refused() -> None:
    with pytest.raises(SettingsError, match="metrics_hots"):
        load({"FRESHGATE_METRICS_HOTS": "0.0.0.0"}, ROOT / "freshgate.toml")
