"""How much of what a CDP sends is taken or shown, and the error for a body with too many elements."""

from __future__ import annotations

from freshgate.errors import TooLarge
from freshgate.settings import SourceSettings
from freshgate.settings_parsing import setting_name

# Of the name under which an operator sees what the catalog does not map.
MAX_NAME_LENGTH = 100


class TooManyElements(Exception):
    """The body has more elements than the source takes."""


def too_many_elements(name: str, settings: SourceSettings, advice: str) -> TooLarge:
    """The error of a source's request; `advice` says how the operator makes the CDP send less at once."""
    return TooLarge(
        f"more than {settings.max_elements} elements",
        f"{name}: {advice}, or raise {setting_name('sources', name, 'max_elements')}",
    )
