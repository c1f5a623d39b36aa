"""The entry of a worker under `supervisor.py`: reserves the files of its metrics before any metric exists.

`python -m workers.supervised deliver --esp NAME` then is `python -m workers deliver --esp NAME`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from freshgate.telemetry.metric_files import FOLDER_VARIABLE, prepare_process


def main() -> int:
    prepare_process(Path(os.environ[FOLDER_VARIABLE]))
    # Declares the metrics, so it must come second.
    from workers.__main__ import run

    return run()


if __name__ == "__main__":
    sys.exit(main())
