"""`make observe`: starts the system, made-up shoppers, Prometheus and Alertmanager, without Docker.

The system is `python -m adapter run`; `preview/tools.py` finds Prometheus and Alertmanager, which load our rules.
"""

from __future__ import annotations

import argparse
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import yaml

from adapter.commands.post.traffic import first_source, refuse_live
from adapter.local.launcher import say
from adapter.local.processes import Child
from dashboards.preview.local import (
    DASHBOARDS,
    DEFAULT_PORTS,
    check_free,
    is_ok,
    make_folder,
    read_port,
    to_local_config,
    to_local_routes,
)
from dashboards.preview.tools import FOLDER, ROOT, alertmanager_command, find_program, prometheus_command
from freshgate.child_processes import die_with
from freshgate.errors import FreshgateError, SettingsError
from freshgate.local_settings import is_sandbox, load_local_settings
from freshgate.settings_file import load

EPILOG = """examples:
  python -m dashboards.observe
  python -m dashboards.observe --rate 0                         (no made-up shoppers)
  PROMETHEUS_PORT=9190 python -m dashboards.observe

Grafana is in no registry of packages: import dashboards/grafana/*.json into yours, or use docker compose."""
READY_WITHIN_S = 60.0
STOP_WITHIN_S = 60.0
POLL_INTERVAL_S = 0.1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dashboards.observe",
        description="run the system, demo traffic, Prometheus and Alertmanager; Ctrl-C stops everything",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rate", type=float, default=4.0, metavar="N", help="new made-up shoppers a second (4)")
    options = parser.parse_args(arguments)
    try:
        return ObserveLauncher(dict(os.environ), options.rate).run()
    except SettingsError as error:
        print(f"freshgate: {error}", file=sys.stderr)
        return 2
    except (FreshgateError, OSError) as error:
        print(f"freshgate: {error}", file=sys.stderr)
        return 1


class ObserveLauncher:
    """Starts, watches and stops the processes. rate: new made-up shoppers a second, 0 for none."""

    def __init__(self, environ: dict[str, str], rate: float) -> None:
        self.environ, self.rate = environ, rate
        self.settings = load(environ)
        self.ports = {name: read_port(environ, f"{name.upper()}_PORT", at) for name, at in DEFAULT_PORTS.items()}
        # The folders of `make run` belong to its own launcher.
        self.var = Path(self.settings.var).resolve() / "observe"
        self.children: list[Child] = []
        self.system: subprocess.Popen[bytes] | None = None
        self.stopping = False
        self._unfinished = b""

    def run(self) -> int:
        """Starts all, watches until SIGINT or SIGTERM, stops all. Returns the exit code. Raises FreshgateError."""
        if self.rate:
            refuse_live(self.settings)
        for name, port in self.ports.items():
            check_free(name, port)
        prometheus, alertmanager = prometheus_command(say), alertmanager_command(say)
        for folder in (self.var.parent, self.var / "log", self.var / "pids"):
            make_folder(folder)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)
        try:
            self._start_system()
            self._start("pager", self._pager_command(), "/")
            self._start("alertmanager", (*alertmanager, *self._alertmanager_options()), "/-/ready")
            self._start("prometheus", (*prometheus, *self._prometheus_options()), "/-/ready")
            if self.rate and not self.stopping:
                self._start_traffic()
            if not self.stopping:
                say(self._welcome())
            while not self.stopping:
                self._watch()
        finally:
            self._stop_all()
        return 0

    def _stop(self, _number: int, _frame: object) -> None:
        self.stopping = True

    def _start_system(self) -> None:
        """Starts `python -m adapter run`, shows its output until it is up. It watches over its own processes."""
        own_pid = os.getpid()
        self.system = subprocess.Popen(
            [sys.executable, "-m", "adapter", "run"],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: die_with(own_pid),  # noqa: PLW1509  # this process has one thread
        )
        output = b""
        while not self.stopping and b"Freshgate is up" not in output:
            output += self._show(POLL_INTERVAL_S)
            self._check_running()

    def _show(self, wait_s: float) -> bytes:
        """Waits for the system's output, prints its whole lines, and returns it."""
        assert self.system and self.system.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self.system.stdout, selectors.EVENT_READ)
            output = os.read(self.system.stdout.fileno(), 65_536) if selector.select(wait_s) else b""
        *lines, self._unfinished = (self._unfinished + output).split(b"\n")
        for line in lines:
            say(line.decode(errors="replace"))
        return output

    def _check_running(self) -> None:
        """Raises FreshgateError if the system has ended by itself."""
        if self.system and self.system.poll() is not None and not self.stopping:
            while self._show(0):
                pass
            raise FreshgateError("the system has ended; see above")

    def _start(self, name: str, command: tuple[str, ...], page: str = "") -> None:
        """page: a path that answers 200 when the process is ready."""
        if self.stopping:
            return
        child = Child(name, command, self.environ, self.var)
        child.rotate_log()
        self.children.append(child)
        child.start()
        deadline = time.monotonic() + READY_WITHIN_S
        while page and not self.stopping and not is_ok(f"http://127.0.0.1:{self.ports[name]}{page}"):
            if not child.alive or time.monotonic() > deadline:
                raise FreshgateError(f"{name} did not start: {child.last_line()} (log: {child.log})")
            time.sleep(POLL_INTERVAL_S)
        if not self.stopping:
            say(f"{name:12} is ready (log in {child.log})")

    def _start_traffic(self) -> None:
        settings = load_local_settings()
        first_source(settings)
        sandbox = [base for esp in settings.esps.values() if is_sandbox(base := esp.base_url, settings)]
        sandbox_options = ("--sandbox", f"http://127.0.0.1:{settings.sandbox_port}") if sandbox else ()
        command = (sys.executable, "-m", "adapter", "traffic", "--rate", f"{self.rate:g}")
        self._start("traffic", (*command, *sandbox_options))

    def _pager_command(self) -> tuple[str, ...]:
        return (sys.executable, "-IS", str(ROOT / "deploy" / "pager.py"), "--port", str(self.ports["pager"]))

    def _alertmanager_options(self) -> tuple[str, ...]:
        composed = (DASHBOARDS / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8")
        file = self.var / "alertmanager.yml"
        file.write_text(to_local_routes(composed, self.ports), encoding="utf-8")
        return (
            f"--config.file={file}",
            f"--storage.path={make_folder(self.var / 'alertmanager')}",
            f"--web.listen-address=127.0.0.1:{self.ports['alertmanager']}",
            "--cluster.listen-address=",
        )

    def _prometheus_options(self) -> tuple[str, ...]:
        composed = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
        config = to_local_config(composed, self.settings, self.ports)
        file = self.var / "prometheus.yml"
        file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        return (
            f"--config.file={file}",
            f"--storage.tsdb.path={make_folder(self.var / 'prometheus')}",
            f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}",
            "--enable-feature=exemplar-storage",
        )

    def _welcome(self) -> str:
        prometheus, alertmanager = (f"http://127.0.0.1:{self.ports[name]}" for name in ("prometheus", "alertmanager"))
        # Debian's program has only the older pages.
        pages = f"{prometheus}/classic" if FOLDER in find_program("prometheus").parents else prometheus
        return "\n".join(
            [
                "",
                f"Prometheus:   {prometheus}/  alerts: {pages}/alerts",
                f"Alertmanager: {alertmanager}/  its alerts: {alertmanager}/api/v2/alerts",
                f"Pager:        http://127.0.0.1:{self.ports['pager']}/  what would wake somebody, and the runbooks",
                "Grafana is in no registry of packages: import dashboards/grafana/*.json into yours and name this",
                "Prometheus as its data source, or use docker compose. The same holds for a store of traces.",
                "",
                "Ctrl-C stops everything.",
            ]
        )

    def _watch(self) -> None:
        self._show(POLL_INTERVAL_S)
        self._check_running()
        for child in self.children:
            child.watch(say)
        # A closed pipe is always readable, so the wait above would return at once.
        time.sleep(POLL_INTERVAL_S / 5)

    def _stop_all(self) -> None:
        """Stops the callers first; Prometheus last, so that it sees the end."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        traffic = [child for child in self.children if child.name == "traffic"]
        for child in traffic:
            child.stop()
        if self.system:
            with suppress(ProcessLookupError):
                self.system.terminate()
            deadline = time.monotonic() + STOP_WITHIN_S
            while self.system.poll() is None and time.monotonic() < deadline:
                self._show(POLL_INTERVAL_S)
            self._show(0)
        for child in reversed([child for child in self.children if child not in traffic]):
            child.stop()
        if self.children:
            say(f"{', '.join(child.name for child in self.children)} stopped, too")


if __name__ == "__main__":
    sys.exit(main())
