"""The objectives → DataDog's service level objectives, over 30 days: it has no window of 28.

`dashboards/objective.py` defines them; DataDog cannot count what waits now, so only the boards do.
"""

from __future__ import annotations

from typing import Any

from dashboards.datadog.translate import parse, translate
from dashboards.objective import PATH_TARGET, TARGET, all_mails
from dashboards.promql import OBJECTIVE_LE, Metric, increase
from freshgate.telemetry import metrics

TIMEFRAME = "30d"
# The expression's window; DataDog takes that of the objective.
WINDOW = "1h"


def build_objectives() -> list[dict[str, Any]]:
    """The objectives as DataDog's API takes them."""
    return [
        _objective(
            "mails on time",
            "The ESP accepts a mail within 5 s of its being received and due. Dead and unknown mails are late, "
            "withheld ones do not count.",
            metrics.RECEIVED_TO_ACCEPTED,
            TARGET,
        ),
        _objective(
            "mails on time, the CDP's own delay included",
            "The ESP accepts a mail within 5 s of its event and the trigger's delay.",
            metrics.OCCURRED_TO_ACCEPTED,
            PATH_TARGET,
        ),
    ]


def _objective(name: str, description: str, histogram: Metric, target: float) -> dict[str, Any]:
    within = increase(histogram, (), "bucket", WINDOW, le=OBJECTIVE_LE)
    return {
        "name": f"Freshgate: {name}",
        "description": description,
        "type": "metric",
        "query": {
            "numerator": translate(parse(within)).inline(),
            "denominator": translate(parse(all_mails(WINDOW))).inline(),
        },
        "thresholds": [{"timeframe": TIMEFRAME, "target": round(100 * target, 2)}],
        "tags": ["service:freshgate"],
    }
