"""AWS Lambda: the mail as the function's payload, by Invoke with the type Event, or by a function URL.

`aws.py` signs the request, `hook.py` holds what all hooks share; `sandbox/lambda_api.py` plays the other side.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from freshgate.errors import EspError, SettingsError
from freshgate.settings import EspSettings
from freshgate.settings_parsing import setting_name
from workers.esp.aws import Signer
from workers.esp.base import Message
from workers.esp.base_url import checked_base_url
from workers.esp.capabilities import Capabilities
from workers.esp.connection import HttpResponse
from workers.esp.hook import Hook
from workers.esp.ses import error_name

# docs.aws.amazon.com/lambda/latest/api/API_Invoke.html: faults of the function's settings, and of no mail.
BLOCKED = {"ResourceNotFoundException", "InvalidRuntimeException", "KMSAccessDeniedException", "KMSDisabledException"}


class LambdaFunction(Hook):
    """One function: `function` is its name or ARN, behind `base_url`; or `url` is its function URL."""

    capabilities = Capabilities(
        accepts="queued (`function`): Lambda runs it, twice more if it fails; or what the function means by it (`url`)",
        templates="receiver",
        send_id="`freshgate_send` in the body",
        live_url="https://lambda.eu-central-1.amazonaws.com",
    )
    kind = "lambda"

    def __init__(self, name: str, settings: EspSettings) -> None:
        super().__init__(name, settings)
        self._signer = Signer(name, settings, "lambda", self._url)

    def prepare(self) -> None:
        self._signer.prepare()
        super().prepare()

    def headers(self, message: Message, body: bytes) -> Mapping[str, str]:
        headers = {"Content-Type": "application/json"}
        if not self.settings.url:
            headers["X-Amz-Invocation-Type"] = "Event"
        return self._signer.headers("POST", self._url, headers, body)

    def error(self, response: HttpResponse) -> EspError:
        name = error_name(response)
        if name in BLOCKED:
            return EspError(f"{self.text_of(response)} {name}", blocked=True, status=response.status)
        return super().error(response)

    def _checked_url(self, name: str, settings: EspSettings) -> str:
        if settings.url:
            self._url = super()._checked_url(name, settings)
            return self._url
        if settings.live and not settings.function:
            key = setting_name("esps", name, "function")
            raise SettingsError(f"{key}: write the function's name or ARN, or its function URL as url")
        base_url = checked_base_url(name, settings.base_url, live=settings.live, example=self.capabilities.live_url)
        self._url = f"{base_url}/2015-03-31/functions/{quote(settings.function or 'sandbox', safe='')}/invocations"
        return self._url
