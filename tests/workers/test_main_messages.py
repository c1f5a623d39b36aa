"""What an account's worker needs before it starts: a template for each of its mails, and a link to unsubscribe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from freshgate.catalogs import load_triggers
from freshgate.errors import CatalogError, SettingsError
from freshgate.links import LinkTokens
from freshgate.settings import Settings
from freshgate.settings_file import load
from tests.adapter.commands.shop import SOUND
from workers.main import build_messages

LIVE = {
    "FRESHGATE_ESPS__MAIL__KIND": "smtp",
    "FRESHGATE_ESPS__MAIL__HOST": "smtp.example.com",
    "FRESHGATE_ESPS__MAIL__LIVE": "true",
}


@pytest.fixture(autouse=True)
def _without_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def build(settings: Settings) -> Any:
    return build_messages(settings, next(iter(settings.esps)), load_triggers(settings))


def settings(**more: str) -> Settings:
    return load({"FRESHGATE_PII_KEY": "k", **{f"FRESHGATE_{name}": value for name, value in more.items()}})


def live(**more: str) -> Settings:
    return load({"FRESHGATE_PII_KEY": "k", **LIVE, **{f"FRESHGATE_{name}": value for name, value in more.items()}})


def test_a_live_account_without_stored_templates_needs_a_public_url_for_marketing() -> None:
    with pytest.raises(SettingsError, match=r"^public_url .* missing; abandoned_cart is marketing"):
        build(live())
    assert build(live(PUBLIC_URL="https://mails.shop.example"))._links


def test_without_marketing_mail_it_starts_all_the_same() -> None:
    off = {f"TRIGGERS__{name}__ENABLED": "false" for name in ("ABANDONED_CART", "BROWSE_ABANDONMENT")}
    assert build(live(**off))._links is None


def test_a_live_account_of_another_kind_has_no_link_until_it_has_a_url() -> None:
    sendgrid = {"ESPS__SENDGRID__API_KEY": "k", "ESPS__SENDGRID__LIVE": "true"}
    sendgrid["ESPS__SENDGRID__BASE_URL"] = "https://api.sendgrid.com"
    assert build(settings(**sendgrid))._links is None
    assert build(settings(**sendgrid, PUBLIC_URL="https://mails.shop.example"))._links


def test_a_demo_links_to_this_machine_and_the_receiver_opens_it() -> None:
    links = build(settings(PORT="8123"))._links
    assert links._public_url == "http://127.0.0.1:8123"
    assert links._tokens._ciphers
    assert LinkTokens(b"k")


def test_a_trigger_without_a_template_does_not_start_where_the_esp_stores_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "shop_without_templates.py").write_text(SOUND)
    with pytest.raises(CatalogError, match="trigger thanks: .* catalog's templates; write templates/thanks.txt"):
        build(settings(CATALOG="shop_without_templates", ESPS__SMTP__FROM_NAME="Shop"))
    build(settings(CATALOG="shop_without_templates"))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("PUBLIC_URL", "mails.shop.example", "is not a URL; write one such as"),
        ("PUBLIC_URL", "http://mails.shop.example", "mailboxes only call https; write https://mails.shop.example"),
        ("PUBLIC_URL", "https://u:p@mails.shop.example", "credentials"),
        ("PUBLIC_URL", "https://mails.shop.example/?x=1", "without ?"),
        ("PUBLIC_URL", "https://mails.shop.example/#x", "#"),
        ("PUBLIC_URL", "https://mails .example", "character"),
        ("UNSUBSCRIBE_SECRETS", "short", "too short; write long random texts"),
    ],
)
def test_a_setting_that_cannot_be_meant_names_itself(name: str, value: str, text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        settings(**{name: value})
    assert str(raised.value).startswith(name.lower())
    assert text in str(raised.value)


def test_a_public_url_on_this_machine_may_be_http() -> None:
    assert settings(PUBLIC_URL="http://localhost:8080").public_url
