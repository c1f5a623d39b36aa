"""An Azure Function with an HTTP trigger: the mail as JSON, and the function's key in a header.

`hook.py` holds what all hooks share.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from freshgate.errors import SettingsError
from freshgate.settings import EspSettings
from freshgate.settings_parsing import setting_name
from workers.esp.capabilities import Capabilities
from workers.esp.hook import Hook
from workers.esp.http_account import checked_key


class AzureFunction(Hook):
    """One function. It should queue the mail and answer 202: Azure ends a call after 230 s. Raises SettingsError."""

    capabilities = Capabilities(
        accepts="what the function means by it; 204 without a body is Azure's default",
        templates="receiver",
        send_id="`freshgate_send` in the body",
        live_url="https://shop.azurewebsites.net/api/mail",
    )
    kind = "azure_function"

    def __init__(self, name: str, settings: EspSettings) -> None:
        # A key in the query would stand in the access logs of every proxy.
        if "code=" in urlsplit(settings.url).query:
            key = setting_name("esps", name, "api_key")
            raise SettingsError(f"{setting_name('esps', name, 'url')}: write it without ?code=, and the key to {key}")
        key = checked_key(name, settings, "Azure")
        super().__init__(name, settings, headers={"x-functions-key": key}, secrets=[key])
