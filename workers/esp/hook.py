"""What all hooks share: a URL that is a secret, and one JSON document for each mail; what gets it sends the mail.

`webhook.py`, `zapier.py`, `make.py` and `azure_function.py` hold what differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from freshgate.errors import EspError, SettingsError
from freshgate.outbound import parse_url
from freshgate.settings import EspSettings
from freshgate.settings_parsing import setting_name
from workers.esp.base import Message
from workers.esp.base_url import checked_base_url, is_local
from workers.esp.connection import HttpResponse
from workers.esp.http_account import HttpAccount


class Hook(HttpAccount):
    """One URL that takes mails as JSON. Any 2xx is an acceptance, whatever its body. Raises SettingsError."""

    # The kind, as `ESPS` names it, and the hosts of its live URLs; () is any.
    kind: ClassVar[str]
    hosts: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        name: str,
        settings: EspSettings,
        *,
        headers: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        super().__init__(name, settings, url=self._checked_url(name, settings), headers=headers, secrets=secrets)

    def body(self, message: Message) -> dict[str, Any]:
        return document(message)

    def error(self, response: HttpResponse) -> EspError:
        if response.status == 410:
            # The hook is switched off: none of its mails can leave, and this one is not at fault.
            return EspError(self.text_of(response), blocked=True, status=response.status)
        return super().error(response)

    def _checked_url(self, name: str, settings: EspSettings) -> str:
        key, example = setting_name("esps", name, "url"), self.capabilities.live_url
        if not settings.url:
            if settings.live:
                raise SettingsError(f"{key}: {self.kind} needs the hook's URL; write one such as {example}")
            # The key is the sandbox's password, where it has one.
            url = "/".join(filter(None, (settings.base_url.rstrip("/"), "hooks", self.kind, quote(settings.api_key))))
            return checked_base_url(name, url, live=False, example=example)
        checked_base_url(name, settings.url, live=settings.live, field="url", example=example, query=True)
        target = parse_url(settings.url)
        if self.hosts and not is_local(target) and not target.host.endswith(self.hosts):
            raise SettingsError(f"{key}: {target.host} is not a host of {self.kind}; write one such as {example}")
        return settings.url


def document(message: Message) -> dict[str, Any]:
    """What a hook gets, without empty fields."""
    fields: dict[str, Any] = {
        "type": "freshgate.mail",
        "freshgate_send": message.send_id,
        "freshgate_trigger": message.trigger,
        "to": message.to,
        "template_id": message.template_id,
        "template_data": dict(message.template_data),
    }
    return {name: value for name, value in fields.items() if value}
