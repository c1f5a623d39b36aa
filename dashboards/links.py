"""Links from a series of a panel to the board that explains it, filtered by the series' own label.

`panels.py` adds them by the labels that a legend names.
"""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

# Label of a legend → the board that it leads to, and the words of the link.
TARGETS = {
    "source": ("freshgate-sources", "What this source sends"),
    "esp": ("freshgate-sources", "Calls to this ESP"),
    "trigger": ("freshgate-triggers", "What this trigger sends and withholds"),
    "queue": ("freshgate-queues", "This queue and its workers"),
    "instance": ("freshgate-queues", "This process alone"),
}
# What stays as the reader chose it.
STAYING = ("datasource", "cluster", "namespace")


def links_of(legends: Sequence[str]) -> list[Builder[model.DashboardLink]]:
    """One link for each label that all legends name."""
    return [
        _link(title, f"/d/{uid}?{_choices()}&var-{label}=${{__field.labels.{label}}}")
        for label, (uid, title) in TARGETS.items()
        if legends and all(f"{{{{{label}}}}}" in legend for legend in legends)
    ]


def column_link(label: str) -> dashboard.DashboardLink:
    """The link of a table's column that holds this label."""
    uid, title = TARGETS[label]
    return _link(title, f"/d/{uid}?{_choices()}&var-{label}=${{__value.text}}")


def board_link(title: str, uid: str) -> dashboard.DashboardLink:
    """The link to a whole board."""
    return _link(title, f"/d/{uid}?{_choices()}")


def _choices() -> str:
    return "&".join(["${__url_time_range}", *(f"${{{name}:queryparam}}" for name in STAYING)])


def _link(title: str, url: str) -> dashboard.DashboardLink:
    return dashboard.DashboardLink(title).url(url)
