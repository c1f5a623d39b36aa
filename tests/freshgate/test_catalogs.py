"""A catalog that cannot be loaded is one error with file and line, from its own files as from a copy of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from adapter import catalog_copy
from freshgate import catalogs
from freshgate.catalogs import load_event_types, load_triggers
from freshgate.errors import CatalogError, SettingsError
from freshgate.settings import Settings
from freshgate.settings_file import load

SOUND = "from catalog import EVENTS, TRIGGERS\n"
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Write:
    """A function that writes a catalog's trigger file, and returns the catalog's name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    # A name of its own, since a module stays imported.
    package = "shop" + "".join(filter(str.isalnum, request.node.name.lower()))[:60]

    def call(text: str) -> str:
        folder = tmp_path / package / "catalog"
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / package / "__init__.py").touch()
        (folder / "__init__.py").write_text(f"from {package}.catalog.thanks import EVENTS, TRIGGERS\n")
        (folder / "thanks.py").write_text(text)
        return f"{package}.catalog"

    return call


WRONG = {
    "a syntax error": (SOUND + "TRIGGERS = (\n", "catalog/thanks.py:2: '(' was never closed"),
    "a name that does not exist": (SOUND + "\nX = nothing\n", "catalog/thanks.py:3: NameError: name 'nothing'"),
    "an error of Freshgate": (
        SOUND + "from msgspec.structs import replace\nX = replace(TRIGGERS[0], max_age='1 day')\n",
        "catalog/thanks.py:3: CatalogError: trigger order_confirmation: max_age is '1 day'; write it like \"30m\"",
    ),
    "a table that is a list": (SOUND + "TRIGGERS = [*TRIGGERS]\n", "has no table TRIGGERS: a tuple of Trigger"),
    "a module in a table": (SOUND + "import os\nEVENTS = (os,)\n", "has no table EVENTS: a tuple of EventType"),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_error_names_file_and_line(write: Write, case: str) -> None:
    text, message = WRONG[case]
    settings = Settings(catalog=write(text))
    with pytest.raises(CatalogError) as caught:
        load_event_types(settings)
    assert message in str(caught.value)
    with pytest.raises(CatalogError):
        load_triggers(settings)


def test_a_copy_is_refused_with_the_place_in_the_file_that_was_edited(write: Write, tmp_path: Path) -> None:
    name = write(SOUND)
    settings = Settings(catalog=name, var=str(tmp_path / "var"), pii_key="k")
    secrets = {f"FRESHGATE_SOURCES__{kind}__SECRETS": "s" for kind in ("SEGMENT", "TEALIUM", "MPARTICLE")}
    path = os.pathsep.join([str(tmp_path), str(Path(catalogs.__file__).parents[1])])
    environ = {**os.environ, **secrets, "FRESHGATE_CATALOG": name, "FRESHGATE_PII_KEY": "k", "PYTHONPATH": path}
    assert catalog_copy.refresh(settings, environ)
    write(SOUND + "TRIGGERS = (\n")
    with pytest.raises(CatalogError, match=r"catalog/thanks\.py:2: '\(' was never closed") as caught:
        catalog_copy.refresh(settings, environ)
    assert "var" not in str(caught.value)
    write(SOUND)
    with pytest.raises(CatalogError, match="^pii_key"):
        catalog_copy.refresh(settings, {**environ, "FRESHGATE_PII_KEY": ""})


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("DELAY", "2d", "with it max_age is 1d and delay 2d, so no mail could ever leave"),
        ("MAX_AGE", "10m", "with it max_age is 10m and delay 30m, so no mail could ever leave"),
        ("MAX_AGE", "0s", "with it max_age is 0ms and delay 30m"),
    ],
)
def test_an_override_with_which_nothing_leaves_is_the_settings_fault(variable: str, value: str, message: str) -> None:
    name = f"FRESHGATE_TRIGGERS__ABANDONED_CART__{variable}"
    with pytest.raises(SettingsError) as caught:
        load_triggers(load({name: value}))
    assert name in str(caught.value)
    assert message in str(caught.value)


def test_an_override_of_both_is_fine() -> None:
    head = "FRESHGATE_TRIGGERS__ABANDONED_CART__"
    triggers = {
        trigger.name: trigger for trigger in load_triggers(load({f"{head}DELAY": "2d", f"{head}MAX_AGE": "3d"}))
    }
    assert triggers["abandoned_cart"].max_age == 3 * 86_400_000


def test_an_override_of_no_trigger_names_its_variable() -> None:
    with pytest.raises(SettingsError, match=r"triggers\.nothing \(FRESHGATE_TRIGGERS__NOTHING\): no such trigger"):
        load_triggers(load({"FRESHGATE_TRIGGERS__NOTHING__DELAY": "1m"}))


def test_the_templates_of_fallbacks_are_set_in_the_order_of_the_catalog() -> None:
    variable = "FRESHGATE_TRIGGERS__ABANDONED_CART__FALLBACK_TEMPLATE_IDS"
    triggers = {trigger.name: trigger for trigger in load_triggers(load({variable: "d-mine"}))}
    assert [fallback.template_id for fallback in triggers["abandoned_cart"].fallbacks] == ["d-mine"]
    with pytest.raises(SettingsError, match="one for each fallback, in this order: d-abandoned-cart-without-prices"):
        load_triggers(load({variable: "d-mine,d-yours"}))
