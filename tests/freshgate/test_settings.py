"""freshgate/settings*.py: what may be written, what it becomes, and the error for everything else.

The text of an error is part of the promise: it names the key and what to write.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from freshgate.catalogs import load_triggers
from freshgate.errors import SettingsError
from freshgate.settings import EspSettings, Settings
from freshgate.settings_file import load, require_pii_key
from workers.main import esp_accounts


@pytest.fixture(autouse=True)
def _without_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "shop.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_without_any_setting_a_demo_can_run() -> None:
    settings = load({})
    assert settings.sources["segment"].kind == "segment"
    assert settings.esps["sendgrid"].base_url == "http://127.0.0.1:8025"


def test_the_shipped_file_says_the_same_as_no_file() -> None:
    shipped = load({}, Path(__file__).parents[2] / "freshgate.toml")
    assert shipped.esps["sendgrid"] == EspSettings(from_name="The Shop")
    assert shipped.sources == load({}).sources


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, 'port = 1000\norder_grace = "1m"\n')
    settings = load({"FRESHGATE_PORT": "2000"}, file)
    assert (settings.port, settings.order_grace) == (2000, 60_000)


def test_the_file_is_named_by_the_environment(tmp_path: Path) -> None:
    assert load({"FRESHGATE_CONFIG": str(written(tmp_path, "port = 1000"))}).port == 1000


def test_an_empty_variable_is_not_set() -> None:
    assert load({"FRESHGATE_PORT": "", "FRESHGATE_CONFIG": ""}) == load({})


@pytest.mark.parametrize("text", ["new,old", " new , old ", '["new", "old"]'])
def test_a_list_is_split_by_comma_or_is_json(text: str) -> None:
    assert load({"FRESHGATE_SOURCES__SHOP__SECRETS": text}).sources["shop"].secrets == ("new", "old")


def test_a_json_list_may_hold_commas() -> None:
    assert load({"FRESHGATE_SOURCES__SHOP__SECRETS": '["a,b"]'}).sources["shop"].secrets == ("a,b",)


def test_a_file_holds_one_secret_a_line(tmp_path: Path) -> None:
    file = written(tmp_path, "new\nold,with,commas\n\n")
    assert load({"FRESHGATE_SOURCES__SHOP__SECRETS_FILE": str(file)}).sources["shop"].secrets == (
        "new",
        "old,with,commas",
    )


@pytest.mark.parametrize(
    ("text", "ms"), [("250ms", 250), ("4s", 4000), ("30m", 1_800_000), ("24h", 86_400_000), ("2d", 172_800_000)]
)
def test_durations_become_milliseconds(text: str, ms: int) -> None:
    assert load({"FRESHGATE_TRIGGERS__ABANDONED_CART__DELAY": text}).triggers["abandoned_cart"].delay == ms


def test_a_cap_is_how_many_in_how_long() -> None:
    assert load({"FRESHGATE_TRIGGERS__ABANDONED_CART__CAP": "1/24h"}).triggers["abandoned_cart"].cap == (1, 86_400_000)


def test_every_trigger_keeps_to_the_cap_of_an_address() -> None:
    assert {trigger.address_cap for trigger in load_triggers(load({}))} == {(10, 3_600_000)}
    assert {trigger.address_cap for trigger in load_triggers(load({"FRESHGATE_ADDRESS_CAP": "3/10m"}))} == {
        (3, 600_000)
    }


def test_what_is_not_overridden_stays_with_the_catalog() -> None:
    trigger = load({"FRESHGATE_TRIGGERS__ABANDONED_CART__ENABLED": "false"}).triggers["abandoned_cart"]
    assert (trigger.enabled, trigger.delay, trigger.cap) == (False, None, None)


def test_the_esp_follows_the_sandbox_unless_it_is_named() -> None:
    moved = {"FRESHGATE_SANDBOX_PORT": "9000"}
    assert load(moved).esps["sendgrid"].base_url == "http://127.0.0.1:9000"
    named = {**moved, "FRESHGATE_ESPS__SENDGRID__BASE_URL": "http://127.0.0.1:7000"}
    assert load(named).esps["sendgrid"].base_url == "http://127.0.0.1:7000"


@pytest.mark.parametrize("name", ["FRESHGATE_TEST_ONLY", "FRESHGATE_SERVICE_HOST", "FRESHGATE_PORT_80_TCP"])
def test_variables_of_others_are_left_alone(name: str) -> None:
    assert load({name: "x"}) == load({})


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("FRESHGATE_POTR", "1", "did you mean 'port'?"),
        ("FRESHGATE_TRIGGERS__A__DELYA", "2s", "did you mean 'delay'?"),
        ("FRESHGATE_PORT", "eighty", "port (FRESHGATE_PORT): this value cannot be used; write a whole number"),
        ("FRESHGATE_PORT", "0", "write a number from 1 to 65535"),
        ("FRESHGATE_PORT", "65536", "write a number from 1 to 65535"),
        ("FRESHGATE_METRICS_PORT", "-1", "write a number from 0 to 65535"),
        ("FRESHGATE_ORDER_GRACE", "2", "order_grace (FRESHGATE_ORDER_GRACE): '2' is not a duration"),
        ("FRESHGATE_TRIGGERS__A__DELAY", "1.5h", "is not a duration"),
        ("FRESHGATE_TRIGGERS__A__CAP", "24h", 'such as "1/24h"'),
        ("FRESHGATE_ADDRESS_CAP", "many", 'such as "1/24h"'),
        ("FRESHGATE_ADDRESS_CAP", "1001/1h", "write at most 1000 mails"),
        ("FRESHGATE_ESPS__SENDGRID__CONCURRENCY", "257", "write a number from 1 to 256"),
        ("FRESHGATE_ESPS__SENDGRID__BATCH", "0", "write a number from 1 or more"),
        ("FRESHGATE_TRIGGERS__A__ENABLED", "maybe", "write true or false"),
        ("FRESHGATE_TRIGGERS__A__UNKNOWN", "retry", "write one of hold, resend"),
        ("FRESHGATE_DURABILITY", "ram", "write one of process, disk"),
        ("FRESHGATE_SOURCES__9A__KIND", "segment", "small letters, digits, _"),
        (
            "FRESHGATE_ESPS__9A__KIND",
            "sendgrid",
            "esps.9a: an account's name is part of its queue's; write small letters",
        ),
        ("FRESHGATE_SOURCES__SHOP__SECRETS", '["a"', "begins like a JSON list"),
        ("FRESHGATE_ESPS__SENDGRID__FROM_EMAIL", "shop", 'such as "shop@example.com"'),
        ("FRESHGATE_ESPS__SENDGRID__BASE_URL", "api.sendgrid.com", 'such as "https://api.sendgrid.com"'),
        ("FRESHGATE_ESPS__SENDGRID__LIVE", "true", "live = true, but mails would go to the sandbox"),
        ("FRESHGATE_PII_KEY_FILE", "/not/there", "cannot read /not/there"),
        ("FRESHGATE_CONFIG", "/not/there.toml", "FRESHGATE_CONFIG must name one that exists"),
    ],
)
def test_a_fault_names_the_key_and_what_to_write(variable: str, value: str, text: str) -> None:
    with pytest.raises(SettingsError) as fault:
        load({variable: value})
    assert text in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_value_and_its_file_together_are_a_contradiction(tmp_path: Path) -> None:
    both = {"FRESHGATE_PII_KEY": "a", "FRESHGATE_PII_KEY_FILE": str(written(tmp_path, "b"))}
    with pytest.raises(SettingsError, match="are both set"):
        load(both)


def test_broken_toml_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="shop.toml: not valid TOML"):
        load({}, written(tmp_path, "port = "))


def test_a_secret_in_the_file_is_warned_of_but_not_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load({}, written(tmp_path, '[sources.shop]\nkind = "segment"\nsecrets = ["hush"]\n'))
    assert "sources.shop.secrets" in caplog.text
    assert "hush" not in caplog.text


def test_without_a_key_for_addresses_nothing_starts() -> None:
    with pytest.raises(SettingsError, match="FRESHGATE_PII_KEY"):
        require_pii_key(load({}))


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"FRESHGATE_ESPS__A__KIND": "pigeon"}, "write which ESP it is: sendgrid"),
        # Without a kind it is the table's name, and never SendGrid by itself.
        ({"FRESHGATE_ESPS__SHOP__API_KEY": "k"}, r"esps.shop.kind \(FRESHGATE_ESPS__SHOP__KIND\): 'shop'; write which"),
    ],
)
def test_an_esp_that_would_be_passed_over_stops_the_start(environ: dict[str, str], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        esp_accounts(load(environ))


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Settings().port = 1  # type: ignore[misc]


def test_a_cluster_needs_a_redis_of_its_own_for_the_queues_and_nothing_else_has_one() -> None:
    cluster = {"FRESHGATE_REDIS_URL": "redis+cluster://a:1,b:2"}
    queues = {"FRESHGATE_QUEUE_REDIS_URL": "redis://c:3"}
    assert load(cluster | queues).queue_redis_url == "redis://c:3"
    for environ in (cluster, cluster | {"FRESHGATE_QUEUE_REDIS_URL": "redis+cluster://c:3"}, queues):
        with pytest.raises(SettingsError, match="queue_redis_url"):
            load(environ)


def test_three_lines_of_the_docs_send_by_three_kinds_side_by_side(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs" / "ESPS.md").read_text(encoding="utf-8")
    lines = text.partition("```toml\nesps.mailchimp")[2].partition("```")[0]
    assert len(lines.strip().splitlines()) == 3
    file = tmp_path / "freshgate.toml"
    file.write_text(f"esps.mailchimp{lines}{(root / 'freshgate.toml').read_text(encoding='utf-8')}", encoding="utf-8")
    settings = load({}, file)
    assert [esp.kind for esp in settings.esps.values()] == ["mailchimp_transactional", "smtp", "sendgrid"]
    assert {name: trigger.esp for name, trigger in settings.triggers.items()} == {
        "order_confirmation": "sendgrid",
        "abandoned_cart": "smtp",
    }


@pytest.mark.parametrize(
    ("environ", "advice"),
    [
        ({"FRESHGATE_OUTCOMES__SHOP__URL": "https://x.example"}, r"\[outcomes.main\]"),
        ({"FRESHGATE_OUTCOMES__MAIN__EVENTS": "Email Bounce"}, "did you mean 'Email Bounced'"),
        ({"FRESHGATE_OUTCOMES__MAIN__KIND": "segmnt"}, "segment, webhook"),
        ({"FRESHGATE_OUTCOMES__MAIN__BACKLOG": "0"}, "from 100 to"),
        ({"FRESHGATE_OUTCOMES__MAIN__WRITEKEY": "k"}, "did you mean 'write_key'"),
    ],
)
def test_what_is_wrong_with_outcomes_is_said_with_what_to_write(environ: dict[str, str], advice: str) -> None:
    with pytest.raises(SettingsError, match=advice):
        load(environ, Path("/dev/null"))
