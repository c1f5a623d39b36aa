"""Ids that identify nobody: the default of a source's `junk_ids`, and what reading a person's id compares with."""

from __future__ import annotations

# What broken tracking code sends for "nobody". Whoever shares such an id would become one person.
JUNK_IDS = (
    "",
    "null",
    "undefined",
    "0",
    "none",
    "guest",
    "anonymous",
    "nan",
    "nil",
    "00000000-0000-0000-0000-000000000000",
)
