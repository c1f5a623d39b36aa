"""`make observe` as its user runs it: everything starts, alerts arrive at Alertmanager, Ctrl-C stops everything.

The sandbox provokes a real alert; the real Alertmanager then shows which alerts it silences.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards import observe
from dashboards.generate import DASHBOARDS
from dashboards.preview import local
from dashboards.preview.tools import ABSOLUTE_TEMPLATES, RELATIVE_TEMPLATES, ToolMissing, with_relative_templates
from freshgate.errors import FreshgateError, SettingsError
from freshgate.settings import Settings
from freshgate.settings_file import load
from tests.dashboards import expressions
from tests.dashboards.observing import Observing, asked, fetch
from tests.dashboards.tools import ROOT
from tests.harness.ports import free_ports

# Labels that inhibitions require to be equal.
KEYS = ("service", "source", "esp", "slo", "cluster", "namespace")
LIVE = [pytest.mark.tools, pytest.mark.timeout(240)]


def labels_of(name: str, **more: str) -> dict[str, str]:
    """The labels that our rule gives the alert, and those of its series."""
    rule = next(rule for rule in expressions.rules() if rule.get("alert") == name)
    return {"alertname": name, **rule["labels"], **more}


def processes(var: Path) -> list[str]:
    """Command lines of all processes that were started with this folder; zombies have none."""
    command_lines = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and f"FRESHGATE_VAR={var}\0".encode() in (folder / "environ").read_bytes():
                command_lines.append((folder / "cmdline").read_text(encoding="utf-8").replace("\0", " "))
        except OSError:  # it has ended, or is not ours
            continue
    return [line for line in command_lines if line]


class TestObserve:
    pytestmark = LIVE

    def test_every_target_is_up(self, observing: Observing) -> None:
        def up() -> dict[str, str]:
            targets = asked(observing.prometheus, "/api/v1/targets")["data"]["activeTargets"]
            return {target["labels"]["job"]: target["health"] for target in targets}

        jobs = ("freshgate-receiver", "freshgate-worker", "freshgate-timers", "prometheus", "alertmanager")
        assert observing.wait_for(lambda: up() == dict.fromkeys(jobs, "up"))

    def test_all_rules_are_loaded_and_healthy(self, observing: Observing) -> None:
        def loaded() -> list[Any]:
            groups = asked(observing.prometheus, "/api/v1/rules")["data"]["groups"]
            return [rule for group in groups for rule in group["rules"]]

        observing.wait_for(lambda: all(rule["health"] == "ok" for rule in loaded()), 60)
        assert sorted(rule["name"] for rule in loaded()) == sorted(rule.where for rule in expressions.of_rules())

    def test_the_shoppers_events_flow_and_mails_leave(self, observing: Observing) -> None:
        observing.wait_for(lambda: observing.query('sum(freshgate_events_total{verdict="accepted"}) > 0'))
        observing.wait_for(lambda: observing.query('sum(freshgate_sends_total{outcome="sent"}) > 0'))

    def test_a_provoked_alert_reaches_whom_it_is_for_unless_something_worse_fires(self, observing: Observing) -> None:
        observing.wait_for(lambda: observing.query('sum(freshgate_sends_total{outcome="dead"}) >= 0'))
        assert observing.faults(kind="status", status=503, count=20, headers={"Retry-After": "30"}).status == 200
        for number in range(3):
            order = {"order_id": f"observed-{number}", "email": f"observed{number}@example.com"}
            event = {"type": "track", "event": "Order Completed", "userId": f"observed-{number}", "properties": order}
            assert observing.post(event).status == 200
        dead = observing.wait_for(lambda: observing.alerts().get("DeadMails"), 90)
        assert [receiver["name"] for receiver in dead["receivers"]] == ["ticket"]
        assert dead["status"]["state"] in ("active", "unprocessed")
        runbook = fetch(dead["annotations"]["runbook_url"])
        assert runbook.startswith("# DeadMails\n")
        assert re.match(r"http://127\.0\.0\.1:\d+/d/freshgate-", dead["annotations"]["dashboard_url"])
        assert not {"runbooks", "grafana"} & set(dead["labels"])
        # The demo's pager shows it, and its links.
        shown = observing.wait_for(lambda: [at for at in observing.paged() if at["alert"] == "DeadMails"], 90)
        assert (shown[0]["receiver"], shown[0]["runbook"]) == ("ticket", dead["annotations"]["runbook_url"])
        observing.tell(labels_of("RedisDown"))
        observing.wait_for(lambda: observing.alerts()["DeadMails"]["status"]["state"] == "suppressed")
        # It is sent again after a minute: at first, Prometheus may not have reached Alertmanager.
        watchdog = observing.wait_for(lambda: observing.alerts().get("Watchdog"), 90)
        assert (watchdog["status"]["state"], watchdog["receivers"]) == ("active", [{"name": "watchdog"}])

    def test_every_inhibition_holds(self, observing: Observing) -> None:
        config = yaml.safe_load((DASHBOARDS / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"))
        checked = 0
        for number, rule in enumerate(config["inhibit_rules"]):
            jobs = dict(re.findall(r"^(job) = (\S+)$", "\n".join(rule["target_matchers"]), re.MULTILINE))
            causes, effects = (named(rule[side]) for side in ("source_matchers", "target_matchers"))
            if not causes:
                causes, effects = ["MailsLate"], ["MailsLateSlowly"]
            for effect in effects or ["QueueOld"]:
                # Each has labels of its own, so that no other rule's cause or effect silences it.
                same, other = ({key: f"{number}-{effect}-{at}" for key in KEYS} | jobs for at in ("here", "there"))
                observing.tell(*(labels_of(name) | same for name in (*causes, effect)), labels_of(effect) | other)
                observing.wait_for(lambda effect=effect, same=same: is_suppressed(observing, effect, same))  # type: ignore[misc]  # a lambda's defaults have no types
                assert not is_suppressed(observing, effect, other), (rule, effect)
                checked += 1
        assert checked >= len(config["inhibit_rules"])

    def test_ctrl_c_leaves_no_process(self, observing: Observing) -> None:
        """This test and the next come last: they end the processes that all of them use."""
        assert len(processes(observing.var)) >= 9
        assert observing.launcher
        os.kill(observing.launcher.pid, signal.SIGINT)
        assert observing.launcher.wait(60) == 0, observing.console()
        assert processes(observing.var) == []
        assert "Traceback" not in observing.console()

    def test_it_starts_again_and_even_a_kill_leaves_no_process(self, observing: Observing) -> None:
        observing.start()
        assert observing.launcher
        observing.launcher.kill()
        observing.launcher.wait()
        observing.wait_for(lambda: processes(observing.var) == [])


def named(matchers: list[str]) -> list[str]:
    """Names of alerts in matchers that are not negated."""
    return [name for matcher in matchers if "!" not in matcher for name in re.findall(r"\b[A-Z]\w+", matcher)]


def is_suppressed(observing: Observing, name: str, labels: dict[str, str]) -> bool:
    """Whether the alert with that name and these labels is silenced now."""
    alerts = asked(observing.alertmanager, "/api/v2/alerts")
    (alert,) = (
        alert for alert in alerts if alert["labels"]["alertname"] == name and labels.items() <= alert["labels"].items()
    )
    return bool(alert["status"]["state"] == "suppressed")


COMPOSED = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
PORTS = {"prometheus": 1, "alertmanager": 2, "pager": 6}


def test_prometheus_gets_the_composed_ones_configuration_on_this_machine() -> None:
    config = local.to_local_config(
        COMPOSED, Settings(metrics_port=3, worker_metrics_port=4, timers_metrics_port=5), PORTS
    )
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert targets == {
        "freshgate-receiver": ["127.0.0.1:3"],
        "freshgate-worker": ["127.0.0.1:4"],
        "freshgate-timers": ["127.0.0.1:5"],
        "prometheus": ["127.0.0.1:1"],
        "alertmanager": ["127.0.0.1:2"],
    }
    assert sorted(config["rule_files"]) == sorted(str(file) for file in (DASHBOARDS / "prometheus").glob("*.yml"))
    assert config["alerting"]["alertmanagers"] == [{"static_configs": [{"targets": ["127.0.0.1:2"]}]}]
    links = {"runbooks": "http://127.0.0.1:6/runbooks", "grafana": "http://127.0.0.1:3000"}
    assert config["global"] == {**COMPOSED["global"], "external_labels": links}
    assert set(links) == set(COMPOSED["global"]["external_labels"])
    assert config["alerting"]["alert_relabel_configs"] == COMPOSED["alerting"]["alert_relabel_configs"]


def test_every_notification_goes_to_the_pager_on_this_machine() -> None:
    text = local.to_local_routes((DASHBOARDS / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"), PORTS)
    urls = [hook["url"] for at in yaml.safe_load(text)["receivers"] for hook in at["webhook_configs"]]
    assert urls == ["http://127.0.0.1:6/alerts"] * 3


def test_a_process_that_serves_no_metrics_is_not_scraped() -> None:
    config = local.to_local_config(
        COMPOSED, Settings(metrics_port=3, worker_metrics_port=0, timers_metrics_port=5), PORTS
    )
    assert "freshgate-worker" not in {job["job_name"] for job in config["scrape_configs"]}


def test_what_keeps_it_from_starting_is_one_line(tmp_path: Path) -> None:
    settings = load({})
    assert settings.metrics_port
    with pytest.raises(SettingsError, match="PROMETHEUS_PORT"):
        observe.ObserveLauncher({"PROMETHEUS_PORT": "many", "FRESHGATE_VAR": str(tmp_path)}, 1)
    live = {
        "FRESHGATE_ESPS__SENDGRID__LIVE": "true",
        "FRESHGATE_ESPS__SENDGRID__BASE_URL": "https://api.sendgrid.com",
        "FRESHGATE_ESPS__SENDGRID__API_KEY": "key",
        "FRESHGATE_ESPS__SENDGRID__FROM_EMAIL": "shop@example.com",
        "FRESHGATE_VAR": str(tmp_path),
    }
    with pytest.raises(SettingsError, match="made-up shoppers are for the sandbox only"):
        observe.ObserveLauncher(live, 1).run()
    (port,) = free_ports(1)

    with socket.create_server(("127.0.0.1", port)):
        taken = observe.ObserveLauncher({"ALERTMANAGER_PORT": str(port), "FRESHGATE_VAR": str(tmp_path)}, 1)
        with pytest.raises(FreshgateError, match="ALERTMANAGER_PORT"):
            taken.run()


def test_debians_alertmanager_finds_its_templates_where_it_is_unpacked() -> None:
    absolute, relative = ABSOLUTE_TEMPLATES, RELATIVE_TEMPLATES
    code = b"memory" + absolute + b"355" + absolute + b"/ui/1110" + absolute + b"/no-ui138"
    patched = with_relative_templates(code)
    assert patched == b"memory" + relative + b"355" + absolute + b"/ui/1110" + absolute + b"/no-ui138"
    assert len(patched) == len(code)
    for other in (b"no path at all", absolute + b"1" + absolute + b"2"):
        with pytest.raises(ToolMissing, match="as root"):
            with_relative_templates(other)
