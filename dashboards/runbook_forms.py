"""The commands of a runbook for Docker Compose and for Kubernetes, written below those for `make run`.

A runbook is written by hand for `make run`. `make dashboards` writes what stands between the two marks, and a test
compares. In Kubernetes the parts are called as below; SERVICES names them.
"""

from __future__ import annotations

import re

BEGIN, END = "<!-- `make dashboards` writes what follows -->", "<!-- up to here -->"
GENERATED = re.compile(rf"\n*{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
# Service of docker-compose.yml → how `kubectl` finds it.
KUBERNETES = {
    "receiver": "deploy/freshgate-receiver",
    "worker": "deploy/freshgate-worker",
    "timers": "deploy/freshgate-timers",
    "redis": "statefulset/freshgate-redis",
}
# Port on the machine of `make run` → the service that serves it, or the variable with its address in a cluster.
# Compose publishes next to none of them, so they are asked within the containers.
SERVED_BY_PROCESSES = {"8080": "receiver", "9108": "receiver", "9109": "worker", "9110": "timers"}
SERVED_BY_WATCHERS = {"9090": "prometheus", "9093": "alertmanager"}
PUBLISHED = {"8080": "RECEIVER_URL", "9090": "PROMETHEUS_URL", "9093": "ALERTMANAGER_URL"}
# Of the checkout: the shell of whoever is woken has not activated it.
PYTHON = ".venv/bin/python"
# Has the secrets that the commands need, also those of workers/: the worker may be what is down.
COMMANDS_RUN_IN = "receiver"


def with_forms(text: str) -> str:
    """The runbook with each block of commands followed by its other forms. Calling it again changes nothing."""
    written = GENERATED.sub("", text)
    return BLOCK.sub(lambda block: f"{block[0]}{_forms(block[1].splitlines())}", written)


def by_hand(text: str) -> str:
    """The runbook without what is generated."""
    return GENERATED.sub("", text)


def to_compose(command: str) -> str:
    """A command of `make run` as it is pasted beside docker-compose.yml. Raises ValueError for one without a form."""
    return _translate(command, "docker compose exec -T {name} ", "docker compose logs --tail {lines} {name}", COMPOSE)


def to_kubernetes(command: str) -> str:
    """A command of `make run` as it is pasted where `kubectl` uses the namespace. Raises ValueError as to_compose."""
    for port, variable in PUBLISHED.items():
        command = command.replace(f"http://127.0.0.1:{port}/", f'"${variable}"/')
    return _translate(command, "kubectl exec -i {target} -- ", "kubectl logs --tail {lines} {target}", CLUSTER)


COMPOSE = {
    "restart": "docker compose restart {name}",
    "backup": "docker compose run --rm backup --keep 28",
    "more": "docker compose up -d --no-recreate --scale worker=4",
}
CLUSTER = {
    "restart": "kubectl rollout restart {target}",
    "backup": "kubectl create job --from=cronjob/freshgate-backup freshgate-backup-by-hand",
    "more": "kubectl scale --replicas=4 deploy/freshgate-worker",
}


def _forms(commands: list[str]) -> str:
    parts = [f"\n\n{BEGIN}"]
    for title, form in (("Docker Compose", to_compose), ("Kubernetes", to_kubernetes)):
        lines = "\n".join(form(command) for command in commands)
        parts.append(f"\n{title}:\n\n```sh\n{lines}\n```")
    return "\n".join([*parts, END])


def _translate(command: str, run: str, logs: str, actions: dict[str, str]) -> str:
    """Each part of a pipe in the place where its program and its figures are."""
    return " | ".join(_translate_part(part, run, logs, actions) for part in command.split(" | "))


def _translate_part(command: str, run: str, logs: str, actions: dict[str, str]) -> str:  # noqa: PLR0911  # one a form
    def fill(form: str, service: str, **values: str) -> str:
        return form.format(name=service, target=KUBERNETES[service], **values)

    if command.startswith("FRESHGATE_WORKER_METRICS_PORT="):
        return actions["more"]
    if match := re.fullmatch(r'kill (?:-KILL )?"\$\(cat var/pids/(\w+)\)"', command):
        return fill(actions["restart"], match[1])
    if match := re.fullmatch(r"tail -n (\d+) var/log/(\w+)\.log", command):
        return fill(logs, match[2], lines=match[1])
    if match := re.fullmatch(r"curl -sS --max-time (\d+) (http://127\.0\.0\.1:(\d+)/\S+)", command):
        if match[3] in SERVED_BY_PROCESSES:
            return fill(run, SERVED_BY_PROCESSES[match[3]]) + f"python -IS deploy/probe.py --show {match[2]}"
        return run.format(name=SERVED_BY_WATCHERS[match[3]]) + f"timeout {match[1]} wget -q -O - {match[2]}"
    if command == f"{PYTHON} -m workers backup FOLDER":
        return actions["backup"]
    if command == "df -h":
        return fill(run, "redis") + "df -h /data"
    if match := re.fullmatch(rf"{re.escape(PYTHON)} -m (adapter|workers) (.*?)( [\w-]+\.json| FILE)?", command):
        # The file is on this side, so the command reads it from its standard input.
        end = f" - <{match[3]}" if match[3] else ""
        return fill(run, COMMANDS_RUN_IN) + f"python -m {match[1]} {match[2]}{end}"
    if command.startswith(("grep ", "head ", 'curl -sS --max-time 5 "$')):
        return command
    raise ValueError(f"no form for other places: {command}")
