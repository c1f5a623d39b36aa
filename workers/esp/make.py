"""Make's custom webhook: a URL that is its own credential, perhaps an API key beside it, a queue that can be full.

`hook.py` holds what all hooks share.
"""

from __future__ import annotations

from freshgate.errors import EspError
from freshgate.settings import EspSettings
from workers.esp.capabilities import Capabilities
from workers.esp.connection import HttpResponse
from workers.esp.hook import Hook
from workers.esp.http_account import checked_key


class Make(Hook):
    """One custom webhook of a scenario. Raises SettingsError."""

    capabilities = Capabilities(
        accepts="queued; a scenario that is off keeps it there",
        templates="receiver",
        send_id="`freshgate_send` in the body",
        live_url="https://hook.eu1.make.com/abcdefghijklmnop",
    )
    kind = "make"
    hosts = (".make.com", ".make.celonis.com", ".integromat.com")

    def __init__(self, name: str, settings: EspSettings) -> None:
        # The key is optional, and travels as apps.make.com/gateway says.
        key = checked_key(name, settings, "Make") if settings.api_key else ""
        super().__init__(name, settings, headers={"x-make-apikey": key} if key else None, secrets=[key])

    def error(self, response: HttpResponse) -> EspError:
        if response.status == 400 and b"queue" in response.body.lower():
            return self.retry(response)
        return super().error(response)
