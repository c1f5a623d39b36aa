"""The kinds of ESP, in one table: a new kind is one file and one line.

`base.py` says what each offers; `main.py` builds one for the `[esps.NAME]` of the settings.
"""

from __future__ import annotations

from collections.abc import Callable

from freshgate.settings import EspSettings
from workers.esp.base import Esp
from workers.esp.sendgrid import Sendgrid

ESPS: dict[str, Callable[[str, EspSettings], Esp]] = {"sendgrid": Sendgrid}
