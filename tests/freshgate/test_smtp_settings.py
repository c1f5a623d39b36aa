"""Accounts of kind `smtp` in the settings: the sandbox without a host, and errors that say what to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapter.local.start_checks import uses_sandbox
from freshgate.errors import SettingsError
from freshgate.settings import Settings
from freshgate.settings_file import load
from workers.esp import ESPS


@pytest.fixture(autouse=True)
def _without_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def account(**fields: str) -> Settings:
    return load({f"FRESHGATE_ESPS__MAIL__{name.upper()}": value for name, value in {"kind": "smtp", **fields}.items()})


def test_without_a_host_mails_go_to_the_sandbox() -> None:
    settings = account()
    mail = settings.esps["mail"]
    assert (mail.host, mail.port, mail.tls) == ("127.0.0.1", 1025, "none")
    assert settings.sandbox_smtp_port == 1025
    assert uses_sandbox(settings)
    ESPS["smtp"]("mail", mail).close()


def test_the_sandboxs_port_can_be_another() -> None:
    settings = load({"FRESHGATE_ESPS__SMTP__FROM_NAME": "Shop", "FRESHGATE_SANDBOX_SMTP_PORT": "2525"})
    assert (settings.esps["smtp"].port, settings.sandbox_smtp_port) == (2525, 2525)


def test_with_a_host_there_is_no_sandbox() -> None:
    settings = account(host="smtp.example.com", live="true", username="u", password="p")
    assert settings.sandbox_smtp_port == 0
    assert not uses_sandbox(settings)


def test_other_kinds_need_no_smtp_port() -> None:
    assert load({}).sandbox_smtp_port == 0


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"live": "true"}, r"^esps\.mail\.host .* live = true, but mails would go to the sandbox"),
        ({"base_url": "https://smtp.example.com"}, r"^esps\.mail\.base_url .* write host and port"),
        ({"tls": "tls"}, r"^esps\.mail\.tls .* write one of starttls, implicit, none"),
        ({"host": "smtp.example.com", "port": "0"}, r"^esps\.mail\.port .* out of range"),
        ({"kind": "sendgrid", "host": "smtp.example.com"}, r'^esps\.mail\.host .* only for kind = "smtp"'),
        ({"hots": "smtp.example.com"}, r"did you mean"),
    ],
)
def test_what_cannot_be_meant_names_the_key(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        account(**fields)
