"""The People API as a process of its own: what it needs, and how gunicorn knows that it is this one.

`commands/people.py` starts it; `gunicorn_conf.py` and `app.py` build it.
"""

from __future__ import annotations

from freshgate.errors import SettingsError
from freshgate.settings import Settings
from freshgate.settings_parsing import setting_name

# Environment variable: which of gunicorn's apps this process is; and the name of this one.
VARIABLE, NAME = "FRESHGATE_PROCESS", "people"


def check(settings: Settings) -> None:
    """Raises SettingsError for what keeps the process from starting."""
    if not settings.people_port:
        raise SettingsError(f"{setting_name('people_port')}: missing; write the port of the People API, such as 8082")
    if not settings.api_tokens:
        raise SettingsError(f"{setting_name('api_tokens')}: missing; nobody could ask the People API")
