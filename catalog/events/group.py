"""Group: a person belongs to an account.

Recorded on the trail; starts no mail. The traits are the account's, so an address in them is not the person's.

Segment: docs, connections/spec/group.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

GROUP = EventType(
    name="Group",
    fields={"group_id": "id", "group_name": "text"},
    sources={
        "segment": From(
            when={"type": "group"},
            paths={
                "group_id": ("groupId", "group_id"),
                "group_name": "traits.name",
            },
        ),
    },
)
