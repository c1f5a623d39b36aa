"""Measures the receiver's cold start on a serverless platform: `python deploy/cold_start.py lambda|azure`.

Each run is a new interpreter that imports the function, as the platform does. FRESHGATE_REDIS_URL names a Redis, to
which it connects; without one, nothing is connected to.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = {"lambda": "handler", "azure": "function_app"}
RUNS = 7
# Of the interpreter's own start it knows nothing, so that is measured apart.
CODE = """import time
started = time.perf_counter()
import {module}
print(round((time.perf_counter() - started) * 1000))
"""


def main(platform: str = "") -> int:
    if platform not in MODULES:
        print(f"usage: python deploy/cold_start.py {'|'.join(MODULES)}", file=sys.stderr)
        return 2
    environ = {
        "FRESHGATE_PII_KEY": "cold-start",
        "FRESHGATE_SOURCES__SEGMENT__SECRETS": "cold-start",
        "FRESHGATE_REDIS_URL": "redis://127.0.0.1:1/0",
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "deploy" / platform))),
    }
    # Where no freshgate.toml is: one source, the catalog as it is delivered.
    folder = ROOT / "deploy" / platform
    command = [sys.executable, "-c", CODE.format(module=MODULES[platform])]
    times = [
        int(subprocess.run(command, cwd=folder, env=environ, stdout=subprocess.PIPE, check=True).stdout)
        for _ in range(RUNS)
    ]
    print(f"{platform}: from the import to ready in {statistics.median(times)} ms (median of {RUNS}: {sorted(times)})")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
