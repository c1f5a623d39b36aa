"""The launcher, which `make run` starts: Valkey, receiver, worker, timers and sandbox, as children that it keeps alive.

`start_checks.py` first checks the folder and the ports; `processes.py` starts, watches and ends each child.
"""

from __future__ import annotations

import http.client
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from adapter import app, catalog_copy
from adapter.local import embedded
from adapter.local.example import cart_line, order_line, url_of, waiting_trigger
from adapter.local.processes import Child
from adapter.local.secrets import make_secrets
from adapter.local.start_checks import check_ports, lock_folder, prepare_folder, uses_sandbox, wait_for_leftovers
from adapter.sources import SOURCES
from freshgate import catalogs
from freshgate.catalogs import load_triggers
from freshgate.durations import format_duration
from freshgate.errors import CatalogError, FreshgateError
from freshgate.local_settings import is_sandbox, with_secrets
from freshgate.settings import Settings
from freshgate.settings_file import load
from freshgate.settings_parsing import split_hosts

POLL_INTERVAL_S = 0.1
READY_TIMEOUT_S = 60.0
# Nobody who tries the demo waits longer.
LONG_DELAY_MS = 60_000
# Nothing new comes in, what is under way is finished, and Redis writes to its disk last.
STOP_ORDER = ("receiver", "people", "timers", "worker", "sandbox", "redis")


def run(environ: Mapping[str, str]) -> int:
    """Starts everything, watches it until SIGINT or SIGTERM, ends everything. Returns the exit code.

    Raises FreshgateError when something cannot start; then nothing is left running.
    """
    settings = load(environ)
    var = prepare_folder(Path(settings.var))
    with ExitStack() as held:
        held.enter_context(lock_folder(var))
        wait_for_leftovers(var)
        check_ports(settings)
        make_secrets(settings, var)
        environ = with_secrets(environ, settings, var)
        environ["FRESHGATE_VAR"] = str(var)
        settings = load(environ)
        app.check(settings)
        catalog_copy.refresh(settings, environ)
        environ[catalogs.COPY] = str(catalog_copy.current_folder(settings))
        return Launcher(environ, var).run()


class Launcher:
    """The children, and whether a signal asked to stop or to reload."""

    def __init__(self, environ: dict[str, str], var: Path) -> None:
        self.environ = environ
        self.settings = load(environ)
        self.var = var
        self.children: list[Child] = []
        self.redis: embedded.Embedded | None = None
        self.stopping = False
        self.reloading = False
        self._had_terminal = _has_terminal()

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._reload_or_stop)
        try:
            self._start_all()
            if not self.stopping:
                say(_welcome(self.settings, self.environ))
            while not self.stopping:
                if self.reloading:
                    self._reload()
                for child in self.children:
                    child.watch(say)
                    for line in child.new_warnings():
                        say(f"{child.name}: {line}")
                time.sleep(POLL_INTERVAL_S)
        finally:
            self._stop_all()
        return 0

    def _stop(self, _number: int, _frame: object) -> None:
        self.stopping = True

    def _reload_or_stop(self, number: int, frame: object) -> None:
        if self._had_terminal and not _has_terminal():
            # SIGHUP because the terminal was closed, not by `kill -HUP`.
            self._stop(number, frame)
        else:
            self.reloading = True

    def _reload(self) -> None:
        """Loads a changed catalog; a broken one is refused, and everything goes on with the old one."""
        self.reloading = False
        try:
            changed = catalog_copy.refresh(self.settings, self.environ)
        except (CatalogError, OSError) as error:
            say(f"the changed catalog is refused, the old one stays: {error}")
            return
        if not changed:
            say("the catalog has not changed")
            return
        for child in self.children:
            if child.name == "receiver":
                # Its workers are replaced one by one, so no request is lost.
                child.reload()
            elif child.name in ("worker", "timers"):
                # It finishes what is under way.
                child.stop()
                child.start()
        say("the changed catalog is in use")

    def _start_all(self) -> None:
        settings = self.settings
        if settings.redis_url:
            # Of a Cluster each process asks by itself.
            if not embedded.wait_for(
                settings.queue_redis_url or settings.redis_url, lambda: not self.stopping, timeout_s=5
            ):
                advice = "start it, correct the URL, or leave it out for an embedded Valkey"
                raise FreshgateError(f"redis_url (FRESHGATE_REDIS_URL): that Redis does not answer; {advice}")
        else:
            self._start_redis()
        python = sys.executable
        if uses_sandbox(settings):
            self._start("sandbox", (python, "-m", "workers", "sandbox"))
        self._start("worker", (python, "-m", "workers", "deliver"))
        self._start("timers", (python, "-m", "workers", "timers"))
        gunicorn = (python, "-m", "gunicorn", "-c", "python:adapter.gunicorn_conf", "adapter.app:from_environment()")
        self._start("receiver", gunicorn)
        metrics_host = split_hosts(settings.metrics_host)[0]
        if settings.people_port and settings.api_tokens:
            self._start("people", (python, "-m", "adapter", "people"))
        pages = {
            "sandbox": (settings.sandbox_host, settings.sandbox_port, "/"),
            "worker": (metrics_host, settings.worker_metrics_port, "/metrics"),
            "timers": (metrics_host, settings.timers_metrics_port, "/metrics"),
            "receiver": (settings.host, settings.port, "/readyz"),
            "people": (settings.host, settings.people_port, "/readyz"),
        }
        for child in self.children:
            if child.name in pages:
                self._wait_until_ready(child, *pages[child.name])

    def _start_redis(self) -> None:
        log = self.var / "log" / "redis.log"
        server = embedded.prepare(self.var / "redis", log=log, durability=self.settings.durability)
        self.redis = server
        self.environ["FRESHGATE_REDIS_URL"] = server.url
        child = self._start("redis", server.command, lambda: (embedded.lock_data(server),))
        if not embedded.wait_for(server.url, lambda: child.alive and not self.stopping) and not self.stopping:
            raise FreshgateError(f"the embedded Valkey did not start: {child.last_line()}; its log is {log}")
        say("redis     is ready (embedded Valkey, append-only file in " + _relative(server.folder) + ")")

    def _start(self, name: str, command: tuple[str, ...], pass_fds: Callable[[], tuple[int, ...]] = tuple) -> Child:
        child = Child(name, command, self.environ, self.var, pass_fds)
        child.rotate_log()
        self.children.append(child)
        child.start()
        return child

    def _wait_until_ready(self, child: Child, host: str, port: int, path: str) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while port and not self.stopping and not _is_ready(host, port, path):
            if not child.alive or time.monotonic() > deadline:
                raise FreshgateError(f"{child.name} did not start: {child.last_line()} (log: {child.log})")
            time.sleep(POLL_INTERVAL_S / 2)
        if not self.stopping:
            say(f"{child.name:9} is ready (log in {_relative(child.log)})")

    def _stop_all(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        say("stopping")
        for child in sorted(self.children, key=lambda child: STOP_ORDER.index(child.name)):
            child.stop()
        if self.redis:
            embedded.forget(self.redis)
        say("stopped; nothing is left running")


def _has_terminal() -> bool:
    with suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
        return True
    return False


def say(text: str) -> None:
    """Prints to the console. A terminal that is gone must not keep the launcher from stopping in order."""
    with suppress(OSError):
        print(text, flush=True)


def _is_ready(host: str, port: int, path: str) -> bool:
    connection = http.client.HTTPConnection({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port, timeout=2)  # nosec B104
    try:
        connection.request("GET", path)
        # The sandbox may ask for its password.
        return connection.getresponse().status in (http.client.OK, http.client.UNAUTHORIZED)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _relative(path: Path) -> str:
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _where(environ: Mapping[str, str], source: str, field: str) -> str:
    """Where a source's secrets of one sort stand; never the secrets, which a screen or a recording would keep."""
    variable = f"FRESHGATE_SOURCES__{source.upper()}__{field.upper()}"
    if file := environ.get(f"{variable}_FILE"):
        return f"in {_relative(Path(file))}"
    return f"in {variable}" if variable in environ else "in the settings file"


def _welcome(settings: Settings, environ: Mapping[str, str]) -> str:
    lines = ["", f"Freshgate is up. Webhooks go to {url_of(settings)}/webhooks/<source>:"]
    for name, source in settings.sources.items():
        if SOURCES[source.kind].endpoint == "tracking_api":
            lines.append(f"  {name:10} write key {_where(environ, name, 'write_keys')}   at {url_of(settings)}/v1/")
            continue
        sorts = {"secret": source.secrets, "token": source.tokens}
        places = [f"{sort} {_where(environ, name, f'{sort}s')}" for sort, values in sorts.items() if values]
        lines.append(f"  {name:10} {'   '.join(places)}")
    if uses_sandbox(settings):
        smtp = f" (SMTP: 127.0.0.1:{settings.sandbox_smtp_port})" if settings.sandbox_smtp_port else ""
        lines.append(f"Mails end up in the sandbox: http://127.0.0.1:{settings.sandbox_port}/{smtp}")
        if any(is_sandbox(wish.url, settings) for wish in settings.outcomes.values()):
            lines.append(f"What became of them: http://127.0.0.1:{settings.sandbox_port}/outcomes")
    ports = (settings.metrics_port, settings.worker_metrics_port, settings.timers_metrics_port)
    lines.append("Metrics: " + "  ".join(f"http://127.0.0.1:{port}/metrics" for port in ports if port))
    order = order_line(settings)
    if order:
        lines += ["", "Paste this order, then look at the sandbox:", "", order, *_cart_lines(settings)]
    return "\n".join([*lines, "", "Ctrl-C stops everything."])


def _cart_lines(settings: Settings) -> list[str]:
    """A cart to leave behind, when its mail comes, and how it comes within seconds."""
    trigger = waiting_trigger(load_triggers(settings))
    if trigger is None:
        return []
    when = f"its mail ({trigger.name}) comes after {format_duration(trigger.delay)} of quiet"
    lines = ["", f"Or leave this cart behind; {when}:", "", cart_line(settings)]
    if trigger.delay > LONG_DELAY_MS:
        variable = f"FRESHGATE_TRIGGERS__{trigger.name.upper()}__DELAY"
        lines += ["", f"To see it within seconds, start with: {variable}=10s make run"]
    return lines
