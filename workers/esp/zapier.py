"""Zapier's catch hook: a URL that is its own credential, and a 200 that promises nothing.

`hook.py` holds what all hooks share.
"""

from __future__ import annotations

from freshgate.settings import EspSettings
from workers.esp.capabilities import Capabilities
from workers.esp.hook import Hook


class Zapier(Hook):
    """One catch hook. Zapier answers 200 even if no Zap is behind the URL. Raises SettingsError."""

    capabilities = Capabilities(
        # help.zapier.com/hc/en-us/articles/8496288690317
        accepts="nothing: Zapier answers 200 also for a Zap that is off or gone",
        templates="receiver",
        send_id="`freshgate_send` in the body",
        live_url="https://hooks.zapier.com/hooks/catch/123456/abcdef/",
    )
    kind = "zapier"
    hosts = ("hooks.zapier.com",)

    def __init__(self, name: str, settings: EspSettings) -> None:
        super().__init__(name, settings)
