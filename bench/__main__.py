"""`make bench`, `python -m bench`: measures the speed and size of Freshgate on this machine.

Machines are shared and noisy, so only figures of one run can be compared. Freshgate and a simpler program are measured
in turns, and a ratio is the median over these pairs, with its spread. A ratio under 1.3 is no difference.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from textwrap import indent
from types import ModuleType

import msgspec

from bench import (
    blocking,
    burst,
    deciding,
    esp,
    lanes,
    latency,
    memory,
    observability,
    people,
    reading,
    receiver,
    recording,
    timers,
    tracing,
)
from bench.lab import Lab
from bench.rows import Effort, Row, table

# In the order of the table. A part's docstring says what its rows measure; `--help` prints it.
PARTS: Mapping[str, ModuleType] = {
    "reading": reading,
    "receiver": receiver,
    "recording": recording,
    "blocking": blocking,
    "latency": latency,
    "burst": burst,
    "lanes": lanes,
    "timers": timers,
    "deciding": deciding,
    "esp": esp,
    "memory": memory,
    "observability": observability,
    "tracing": tracing,
    "people": people,
}


def main(argv: list[str] | None = None) -> int:
    options = parse_options(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rows: list[Row] = []
    failed: list[str] = []
    try:
        machine = environment()
        for name in options.only:
            started = time.monotonic()
            print_progress(f"{name} … ")
            try:
                rows += PARTS[name].measure(Effort(options.quick))
                result = "done"
            except (RuntimeError, OSError) as error:
                # The other parts start their own servers, so they can go on.
                failed.append(name)
                result = f"FAILED: {error!s:.2000}"
            print_progress(f"{result}, {time.monotonic() - started:.0f} s\n")
    except KeyboardInterrupt:
        print_progress("\nstopped; nothing is left running\n")
        return 130
    print(table(rows))
    print("\n" + "\n".join(f"{name}: {value}" for name, value in machine.items()))
    if options.json:
        report = {"environment": machine, "rows": rows}
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return 1 if failed else 0


def parse_options(argv: list[str] | None) -> argparse.Namespace:
    """`only` is a list of parts, in the order of the table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="\n\n".join(f"{name}\n{indent(str(part.__doc__).strip(), '  ')}" for name, part in PARTS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="two minutes instead of six; the figures are rougher")
    parser.add_argument("--only", metavar="PART,…", default=",".join(PARTS), help="some of: " + ", ".join(PARTS))
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the figures to this file")
    options = parser.parse_args(argv)
    selected = options.only.split(",")
    if unknown := set(selected) - set(PARTS):
        parser.error(f"--only: unknown part: {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}")
    options.only = [name for name in PARTS if name in selected]
    return options


def environment() -> dict[str, str]:
    """What the figures depend on. Durability is as the server itself reports it."""
    with Lab() as lab:
        client = lab.client(lab.valkey())
        config = client.config_get("append*")
        durability = ", ".join(f"{name} {config[name]}" for name in ("appendonly", "appendfsync"))
        server = client.info("server")
        redis = f"{server.get('server_name', 'redis')} {server.get('valkey_version', server['redis_version'])}"
    packages = ", ".join(f"{name} {version(name)}" for name in ("gunicorn", "flask", "rq", "redis"))
    return {
        "durability": f"{durability} ({redis}, unix socket)",
        "software": f"Python {platform.python_version()}, {packages}",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, load before {os.getloadavg()[0]:.1f}",
    }


def print_progress(text: str) -> None:
    """Writes to stderr: the table alone goes to stdout."""
    print(text, end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
