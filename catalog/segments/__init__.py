"""The table of segments: groups of persons. A new one is a file beside this one, and a line in SEGMENTS.

A fallback names a segment (`Fallback(segment=…)`), and so does a condition of a trigger (`Needs(…)`): docs/TRIGGERS.md.
"""

from .viewed_category import VIEWED_CATEGORY

SEGMENTS = (VIEWED_CATEGORY,)

__all__ = ["SEGMENTS", "VIEWED_CATEGORY"]
