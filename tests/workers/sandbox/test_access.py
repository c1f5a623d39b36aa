"""Who may call the sandbox: its own page and programs on this machine; with a password, whoever knows it."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from freshgate.errors import SettingsError
from tests.workers.sandbox.calls import call, send
from workers.sandbox.server import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
def test_other_sites_may_not_call(sandbox: Sandbox, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/messages"), ("DELETE", "/messages"), ("POST", "/faults"), ("POST", "/v3/mail/send")):
        assert call(sandbox, method, path, b"{}", **headers)[0] == 403


def test_its_own_page_may_call(sandbox: Sandbox) -> None:
    assert call(sandbox, "GET", "/messages", Origin=f"http://127.0.0.1:{sandbox.port}")[0] == 200


def test_beyond_loopback_it_does_not_start_without_a_password() -> None:
    with pytest.raises(SettingsError, match="FRESHGATE_SANDBOX_PASSWORD"):
        Sandbox("0.0.0.0")


def test_a_password_is_asked_for_on_every_path() -> None:
    def basic(password: str) -> str:
        return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()

    with Sandbox(password="opens") as sandbox:
        assert call(sandbox, "GET", "/")[0] == 401
        assert call(sandbox, "GET", "/", Authorization=basic("wrong"))[0] == 401
        assert call(sandbox, "GET", "/", Authorization="Basic %")[0] == 401
        assert call(sandbox, "GET", "/messages", Authorization="Bearer opens")[0] == 401
        assert call(sandbox, "GET", "/", Authorization=basic("opens"))[0] == 200
        assert send(sandbox, Authorization="Bearer wrong")[0] == 401
        assert send(sandbox, Authorization="Bearer opens")[0] == 202
