"""Which account's queue a trigger's sends go to, and what the settings may say about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from freshgate.catalogs import load_triggers
from freshgate.errors import SettingsError
from freshgate.routing import Routes, routes_of
from freshgate.settings_file import load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Settings with two accounts, of which `shop` comes first."""
    path = tmp_path / "shop.toml"
    path.write_text('[esps.shop]\nkind = "sendgrid"\n[esps.news]\nkind = "sendgrid"\n', encoding="utf-8")
    return path


def test_a_trigger_without_an_account_uses_the_first_one_of_the_settings(file: Path) -> None:
    settings = load({"FRESHGATE_TRIGGERS__ABANDONED_CART__ESP": "news"}, file)
    triggers = {trigger.name: trigger.esp for trigger in load_triggers(settings)}
    assert triggers["abandoned_cart"] == "news"
    assert triggers["order_confirmation"] == "shop"
    routes = routes_of(settings, load_triggers(settings))
    assert routes.accounts == ("shop", "news")
    assert routes.account("abandoned_cart") == "news"


@pytest.mark.parametrize(
    ("name", "text"),
    [("shopp", "did you mean 'shop'?"), ("x", "write one of: shop, news"), ("SHOP", "write one of: shop, news")],
)
def test_an_account_that_does_not_exist_stops_the_start(name: str, text: str, file: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_triggers(load({"FRESHGATE_TRIGGERS__WELCOME__ESP": name}, file))
    assert "triggers.welcome.esp (FRESHGATE_TRIGGERS__WELCOME__ESP): there is no account" in str(caught.value)
    assert text in str(caught.value)


def test_timers_are_sorted_into_the_queues_of_their_accounts_in_order() -> None:
    routes = Routes(["shop", "news"], {"abandoned_cart": "news", "welcome": "shop"})
    timers = ["welcome|p:u1", "abandoned_cart|p:u1", "lookback|p:u1", "abandoned_cart|p:u2", "removed|o:o1"]
    assert routes.by_queue(timers) == {
        "freshgate-shop": ["welcome|p:u1", "lookback|p:u1", "removed|o:o1"],
        "freshgate-news": ["abandoned_cart|p:u1", "abandoned_cart|p:u2"],
    }


def test_a_trigger_with_a_mail_for_each_value_goes_to_its_own_account() -> None:
    routes = Routes(["shop", "news"], {"back_in_stock": "news"})
    assert routes.by_queue(["back_in_stock#5f2a|p:u1"]) == {"freshgate-news": ["back_in_stock#5f2a|p:u1"]}
