"""`make bench`, `python -m bench`: measures the speed and size of Freshgate on this machine, as ratios.

Machines are shared and noisy: only figures of one run can be compared, so both sides of each pair are measured in
turns, and a ratio is the median over such pairs, with its spread. A ratio under 1.3 is no difference.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import msgspec

from bench import burst, esp, latency, memory, observability, reading, receiver, timers, tracing
from bench.lab import Lab
from bench.rows import Effort, Row, table

# In the order of the table.
PARTS: Mapping[str, Callable[[Effort], list[Row]]] = {
    "reading": reading.measure,
    "receiver": receiver.measure,
    "latency": latency.measure,
    "burst": burst.measure,
    "timers": timers.measure,
    "esp": esp.measure,
    "memory": memory.measure,
    "observability": observability.measure,
    "tracing": tracing.measure,
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two minutes instead of six; the figures are rougher")
    parser.add_argument("--only", metavar="PART,…", default=",".join(PARTS), help="some of: " + ", ".join(PARTS))
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to this file, too")
    chosen = parser.parse_args(argv)
    wanted = chosen.only.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"--only: no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rows: list[Row] = []
    failed: list[str] = []
    try:
        where = environment()
        for name, measure in PARTS.items():
            if name in wanted:
                begun = time.monotonic()
                say(f"{name} … ")
                try:
                    rows += measure(Effort(chosen.quick))
                    said = "done"
                except (RuntimeError, OSError) as error:
                    # The other parts start servers of their own and are none the worse for it.
                    failed.append(name)
                    said = f"FAILED: {error!s:.2000}"
                say(f"{said}, {time.monotonic() - begun:.0f} s\n")
    except KeyboardInterrupt:
        say("\nstopped; nothing is left running\n")
        return 130
    print(table(rows))
    print("\n" + "\n".join(f"{name}: {value}" for name, value in where.items()))
    if chosen.json:
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode({"environment": where, "rows": rows})) + b"\n")
    return 1 if failed else 0


def environment() -> dict[str, str]:
    """What the figures depend on. The server is asked, not our settings."""
    with Lab() as lab:
        client = lab.client(lab.valkey())
        asked = client.config_get("append*")
        durability = ", ".join(f"{name} {asked[name]}" for name in ("appendonly", "appendfsync"))
        server = client.info("server")
        redis = f"{server.get('server_name', 'redis')} {server.get('valkey_version', server['redis_version'])}"
    packages = ", ".join(f"{name} {version(name)}" for name in ("gunicorn", "flask", "rq", "redis"))
    return {
        "durability": f"{durability} ({redis}, unix socket)",
        "software": f"Python {platform.python_version()}, {packages}",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, load before {os.getloadavg()[0]:.1f}",
    }


def say(text: str) -> None:
    """Progress, apart from the table."""
    print(text, end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
