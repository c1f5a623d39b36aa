"""The hooks (webhook, Zapier, Make, Azure): the contract of all ESPs, the signature, and URLs that are secrets."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from freshgate.errors import SettingsError
from freshgate.settings import EspSettings
from tests.workers.esp.contract import MESSAGE, EspContract, ScriptedServer, answers
from workers.esp import ESPS
from workers.esp.base import Esp
from workers.esp.webhook import signature
from workers.sandbox.hook_api import VALIDATOR

SECRET = "whsec_" + base64.b64encode(b"a secret of at least 24 bytes").decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"another one that will be gone").decode()


class HookContract(EspContract):
    kind: str
    accepted = staticmethod(answers(200))
    provider_id = ""
    reset_in_7_s = staticmethod(answers(429, Retry_After="7"))
    validator = VALIDATOR

    def make(self, base_url: str, timeout_s: float, key: str) -> Esp:
        return ESPS[self.kind](self.kind, EspSettings(url=f"{base_url}/hooks/{key}/", timeout_s=timeout_s))

    def test_a_hook_that_is_gone_blocks_the_account(self, esp: Esp, server: ScriptedServer) -> None:
        assert self.failure(esp, server, answers(410)).blocked

    @pytest.mark.parametrize("status", [200, 201, 202, 204])
    def test_any_2xx_is_an_acceptance(self, esp: Esp, server: ScriptedServer, status: int) -> None:
        server.steps = [answers(status)]
        assert esp.send(MESSAGE).status == status


class TestZapier(HookContract):
    kind = "zapier"

    def test_the_hook_is_called_by_its_own_url(self, esp: Esp, server: ScriptedServer) -> None:
        head, body = self.sent(esp, server, MESSAGE)
        assert head.startswith("POST /hooks/the-secret-key/ HTTP/1.1\r\n")
        assert body == {
            "type": "freshgate.mail",
            "freshgate_send": "s-1",
            "freshgate_trigger": "welcome",
            "to": "ada@example.com",
            "template_id": "d-1",
            "template_data": {"first_name": "Ada"},
        }


class TestMake(HookContract):
    kind = "make"

    def make(self, base_url: str, timeout_s: float, key: str) -> Esp:
        return ESPS["make"]("make", EspSettings(url=f"{base_url}/x", api_key=key, timeout_s=timeout_s))

    def test_the_key_stands_in_its_header(self, esp: Esp, server: ScriptedServer) -> None:
        assert "\r\nx-make-apikey: the-secret-key\r\n" in self.sent(esp, server, MESSAGE)[0]

    def test_a_full_queue_is_tried_again(self, esp: Esp, server: ScriptedServer) -> None:
        error = self.failure(esp, server, answers(400, b"Queue is full."))
        assert (error.permanent, error.ambiguous, error.blocked) == (False, False, False)


class TestAzureFunction(HookContract):
    kind = "azure_function"

    def make(self, base_url: str, timeout_s: float, key: str) -> Esp:
        return ESPS["azure_function"]("azure", EspSettings(url=f"{base_url}/api/x", api_key=key, timeout_s=timeout_s))

    def test_the_key_stands_in_its_header(self, esp: Esp, server: ScriptedServer) -> None:
        assert "\r\nx-functions-key: the-secret-key\r\n" in self.sent(esp, server, MESSAGE)[0]


class TestWebhook(HookContract):
    kind = "webhook"

    def make(self, base_url: str, timeout_s: float, key: str) -> Esp:
        settings = EspSettings(
            url=f"{base_url}/mail?shop=1", signing_secret=f"{SECRET} {OLD_SECRET}", timeout_s=timeout_s
        )
        return ESPS["webhook"]("webhook", settings)

    @pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
    def test_the_standards_own_library_verifies_the_signature(
        self, esp: Esp, server: ScriptedServer, secret: str
    ) -> None:
        server.steps = [self.accepted]
        esp.send(MESSAGE)
        head, _, body = server.requests[0][1].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /mail?shop=1 HTTP/1.1\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        assert headers["webhook-id"] == "s-1"
        assert Verifier(secret).verify(body, headers) == json.loads(body)


def test_the_signature_is_that_of_the_standards_example() -> None:
    """The vector of the specification's own text."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("kind", "key", "settings"),
    [
        ("zapier", "url", {"live": True}),
        ("zapier", "url", {"live": True, "url": "https://hooks.zapier.com.example.org/hooks/catch/1/x"}),
        ("zapier", "url", {"live": True, "url": "http://hooks.zapier.com/hooks/catch/1/x"}),
        ("zapier", "live", {"url": "https://hooks.zapier.com/hooks/catch/1/x"}),
        ("make", "url", {"live": True, "url": "https://make.example.com/x"}),
        ("azure_function", "url", {"live": True, "url": "https://a.azurewebsites.net/api/x?code=k", "api_key": "k"}),
        ("azure_function", "api_key", {"live": True, "url": "https://a.azurewebsites.net/api/x"}),
        ("webhook", "signing_secret", {"live": True, "url": "https://mail.example.com/x"}),
        ("webhook", "signing_secret", {"signing_secret": "whsec_c2hvcnQ="}),
        ("webhook", "signing_secret", {"signing_secret": "a secret of at least 24 bytes"}),
        ("webhook", "url", {"live": True, "url": "https://user:secret@mail.example.com/x", "signing_secret": SECRET}),
        ("webhook", "url", {"live": True, "url": "https://2130706433/x", "signing_secret": SECRET}),
        ("webhook", "url", {"live": True, "url": "https://mail.example.com:25/x", "signing_secret": SECRET}),
        ("webhook", "url", {"live": True, "url": "https://mail.example.com:1023/x", "signing_secret": SECRET}),
        ("webhook", "url", {"live": True, "url": "https://mail.example.com/x#part", "signing_secret": SECRET}),
    ],
)
def test_unsafe_settings_do_not_start_and_name_the_key(kind: str, key: str, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=rf"^esps\.hook\.{key} ") as raised:
        ESPS[kind]("hook", EspSettings(**settings))
    assert "/hooks/catch/1/x" not in str(raised.value)
    assert "secret@" not in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("zapier", {"url": "https://hooks.zapier.com/hooks/catch/1/x/"}),
        ("make", {"url": "https://hook.eu1.make.com/abc"}),
        ("azure_function", {"url": "https://a.azurewebsites.net/api/x", "api_key": "k"}),
        ("webhook", {"url": "https://mail.example.com/x?shop=1", "signing_secret": SECRET}),
        ("webhook", {"url": "https://mail.example.com:1024/x", "signing_secret": SECRET}),
    ],
)
def test_a_live_hook_starts(kind: str, settings: dict[str, Any]) -> None:
    ESPS[kind]("hook", EspSettings(live=True, **settings)).close()
