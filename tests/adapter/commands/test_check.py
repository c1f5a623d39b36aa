"""`python -m adapter check`: each kind of fault is found with its file and line, and a sound catalog has none.

The broken catalogs are small packages written by the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from adapter.__main__ import main
from adapter.commands.develop.check import find_faults
from adapter.sources import SOURCES
from freshgate.settings import Settings, TriggerSettings
from tests.adapter.commands.conftest import ROOT

HEAD = "from freshgate import DAY, EventType, Fallback, From, Needs, Segment, Trigger\n\n"
EVENT = """RENEWED = EventType(
    name="Renewed",
    fields={"plan": "text"},
    sources={"segment": From(when={"type": "track", "event": "Renewed"}, paths={"plan": "properties.plan"})},
    marks=("renewed",),
    profile=("plan",),
)
"""
TRIGGER = """THANKS = Trigger(
    name="thanks",
    on=("Renewed",),
    about="renewed",
    version="renewed",
    kind="transactional",
    max_age=DAY,
    template_id="d-thanks",
    withdrawn=lambda person, order: None,
    compose=lambda person, order: {"plan": person.trait("plan") or ""},
)
"""
TABLES = "EVENTS = (RENEWED,)\nTRIGGERS = (THANKS,)\n"

Check = Callable[..., list[str]]


@pytest.fixture
def check(workdir: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Check:
    """The faults, as `file:line: text`, of the sound catalog in which `old` is replaced by `new`."""
    monkeypatch.syspath_prepend(str(workdir))
    # A name of its own, since a module stays imported.
    name = "shop" + "".join(filter(str.isalnum, request.node.name.lower()))[:80]

    def call(old: str = "", new: str = "", settings: Settings | None = None) -> list[str]:
        text = HEAD + EVENT + TRIGGER + TABLES
        assert old in text
        (workdir / f"{name}.py").write_text(text.replace(old, new, 1))
        faults = find_faults(name, settings or Settings(catalog=name))
        return [f"{fault.place}: {fault.text}".replace(name, "shop") for fault in faults]

    return call


def test_a_sound_catalog_has_no_fault(check: Check) -> None:
    assert check() == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            '"properties.plan"',
            '"propertes.plan"',
            "shop.py:6: Renewed from segment: path 'propertes.plan' of 'plan' begins with 'propertes', "
            "which no element has; is properties meant?",
        ),
        (
            '"properties.plan"',
            '"properties..plan"',
            "shop.py:6: Renewed from segment: path 'properties..plan' of 'plan' has an empty step",
        ),
        (
            '"plan": "properties.plan"',
            '"plan": "properties.plan", "colour": "properties.colour"',
            "shop.py:6: Renewed from segment: the path of 'colour' has no field; declare it in `fields`",
        ),
        (
            '{"plan": "text"}',
            '{"plan": "text", "total": "money"}',
            "shop.py:5: Renewed: nobody fills field 'total'; no source has a path",
        ),
        (
            'profile=("plan",)',
            'profile=("plan", "colour")',
            "shop.py:8: Renewed: profile keeps 'colour', which is not a field",
        ),
        ('marks=("renewed",),', 'marks=("renewed",), cart="add",', "Renewed: cart='add' needs the field 'product'"),
        ('"segment": From', '"fax": From', "shop.py:6: Renewed: no source kind 'fax'; known: "),
        ('"segment": From', '"fax": From', "shop.py:6: Renewed: no source can say it; give it a From in `sources`"),
        (
            '{"type": "track", "event": "Renewed"}',
            '{"event": "Renewed"}',
            "`when` takes `type`, and `event` for tracks",
        ),
        ('on=("Renewed",)', "on=()", "shop.py:12: trigger thanks: starts on nothing: `on` is empty"),
        (
            'on=("Renewed",)',
            'on=("Renewd",)',
            "shop.py:12: trigger thanks: starts on 'Renewd', but there is no such event type",
        ),
        (
            'about="renewed"',
            'about="paid"',
            "shop.py:12: trigger thanks: is about 'paid', which 'Renewed' does not mark",
        ),
        (
            'version="renewed"',
            'version="paid"',
            "shop.py:14: trigger thanks: its version is 'paid', which no event type marks",
        ),
        ("max_age=DAY", "max_age=DAY, delay=2 * DAY", "shop.py:16: trigger thanks: max_age is shorter than its delay"),
        ("max_age=DAY", 'max_age=DAY, needs=("sum",)', "trigger thanks: needs 'sum', which 'Renewed' never has"),
        (
            'person.trait("plan")',
            'person.trait("colour")',
            "shop.py:19: trigger thanks: compose asks for the trait 'colour', which no event type keeps",
        ),
        (
            "withdrawn=lambda person, order: None",
            'withdrawn=lambda person, order: person.mark("paused") and None',
            "shop.py:18: trigger thanks: withdrawn asks for the mark 'paused', which no event type marks",
        ),
        (
            'person.trait("plan") or ""',
            'person.trait("plan").upper()',
            "shop.py:19: trigger thanks: compose fails where only the start is known: AttributeError",
        ),
        (
            "max_age=DAY",
            'max_age=DAY, subject=("plam",)',
            "shop.py:16: trigger thanks: its subject is 'plam', which 'Renewed' never has; is 'plan' meant?",
        ),
        ("max_age=DAY", "max_age=DAY, subject=()", "shop.py:16: trigger thanks: its subject names no field; write one"),
        (
            "max_age=DAY",
            'max_age=DAY, subject=("plan",), marks=("paused",)',
            "trigger thanks: marks has 'paused', which no event type with plan marks",
        ),
        (
            "max_age=DAY",
            'max_age=DAY, marks=("renewed",)',
            "trigger thanks: `marks` are for a subject of fields, such as",
        ),
        (
            "withdrawn=lambda person, order: None",
            'subject=("plan",), withdrawn=lambda person, subject: subject.mark("paused") and None',
            "trigger thanks: withdrawn asks for the subject's mark 'paused', which is neither its `about` nor in its",
        ),
        (
            'profile=("plan",)',
            'profile=("plan",), carries={"renewed": ("colour",)}',
            "Renewed: 'renewed' carries 'colour', which is not a field",
        ),
        (
            'profile=("plan",)',
            'profile=("plan",), carries={"paused": ("plan",)}',
            "Renewed: carries has 'paused', which is not in its `marks`",
        ),
        (
            'marks=("renewed",)',
            'marks=("renewed", "view"), carries={"view": ("plan",)}',
            "Renewed: the mark 'view' carries products already",
        ),
        ('name="thanks"', 'name="thanks#1"', "cannot be imported: CatalogError: trigger thanks#1: a name has no |"),
        (
            "max_age=DAY",
            'max_age=DAY, needs=(Needs("profile.plam"),)',
            "needs 'profile.plam', which no event type keeps in its `profile`; is 'plan' meant?",
        ),
        ("max_age=DAY", 'max_age=DAY, needs=(Needs("cart.price"),)', "needs 'cart.price', which a cart does not have"),
        ("max_age=DAY", 'max_age=DAY, needs=(Needs("viev"),)', "needs 'viev', which no event type marks"),
        (
            "max_age=DAY",
            'max_age=DAY, needs=(Needs("renewed.plan"),)',
            "needs 'renewed.plan', which the mark 'renewed' does not carry",
        ),
        ("max_age=DAY", 'max_age=DAY, needs=(Needs("order.total"),)', 'which is of an order; write subject="order"'),
        (
            "max_age=DAY",
            'max_age=DAY, needs=(Needs("subject.plan"),)',
            "needs 'subject.plan', which no mark of its subject carries",
        ),
        (
            "max_age=DAY",
            'max_age=DAY, needs=(Needs("profile.plan", placeholder="profile.x"),)',
            "needs 'profile.x', which no event type keeps",
        ),
        (
            "max_age=DAY",
            'max_age=DAY, needs=(Needs(Segment(name="vip", value=lambda person: None)),)',
            "trigger thanks: the segment 'vip' stands in no table; add it to SEGMENTS",
        ),
        (
            "max_age=DAY",
            'max_age=DAY, needs=(Needs("profile.plan", otherwise=Fallback(template_id="d", needs=(Needs("nope"),))),)',
            "needs 'nope', which no event type marks",
        ),
        (
            "max_age=DAY",
            'max_age=DAY, needs=(Needs("profile.plan", '
            'otherwise=Fallback(template_id="d", compose=lambda person, about: {"x": {1}})),)',
            "trigger thanks: compose returns 'x' as set, which is not JSON",
        ),
        (
            "max_age=DAY",
            'max_age=DAY, needs=(Needs("profile.plan", fresh_for="a day"),)',
            "cannot be imported: CatalogError: Needs('profile.plan'): fresh_for is 'a day'",
        ),
        ("TRIGGERS = (THANKS,)", "TRIGGERS = (THANKS,)\nSEGMENTS = [1]", "SEGMENTS is not a tuple of Segment"),
        ("(RENEWED,)", "(RENEWED, RENEWED)", "shop.py:3: event type 'Renewed' stands in EVENTS twice"),
        ("TRIGGERS = (THANKS,)", "", "shop.py:1: the catalog has no tuple TRIGGERS"),
        ("(RENEWED,)", "(RENEWED", "cannot be imported: '(' was never closed"),
        ("(RENEWED,)", "(RENEWD,)", "shop.py:21: cannot be imported: NameError"),
    ],
)
def test_each_fault_is_printed_with_its_place(check: Check, old: str, new: str, fault: str) -> None:
    faults = check(old, new)
    assert any(fault in text for text in faults), faults


def test_two_event_types_of_one_spelling_are_a_fault_of_the_second(check: Check) -> None:
    second = EVENT.replace("RENEWED", "PAID").replace('name="Renewed"', 'name="Paid"').replace("profile", "shares")
    second = second.replace("    shares", "    profile=('plan',),\n    shares")
    faults = check(TABLES, second + TABLES.replace("(RENEWED,)", "(RENEWED, PAID)"))
    assert faults == ["shop.py:24: Paid from segment: 'Renewed' is Renewed already"]


def test_a_spelling_that_nobody_reads_is_a_fault(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "copycat", replace(SOURCES["segment"], name="copycat", reads="segment"))
    read = [SOURCES[kind].spelling for kind in ("copycat", "segment", "mparticle")]
    assert read == ["segment", "segment", "mparticle"]
    (fault,) = check('"segment": From', '"copycat": From')
    assert fault == "shop.py:6: Renewed: copycat reads the spelling of 'segment'; write it there"


def test_an_override_of_no_trigger_is_a_fault(check: Check, request: pytest.FixtureRequest) -> None:
    name = "shop" + "".join(filter(str.isalnum, request.node.name.lower()))[:80]
    settings = Settings(catalog=name, triggers={"thnks": TriggerSettings(enabled=False)})
    assert check(settings=settings) == ["shop.py:1: the settings override triggers.thnks, but there is no such trigger"]


def test_an_override_that_makes_marketing_without_a_cap_is_a_fault(
    check: Check, request: pytest.FixtureRequest
) -> None:
    name = "shop" + "".join(filter(str.isalnum, request.node.name.lower()))[:80]
    (fault,) = check(settings=Settings(catalog=name, triggers={"thanks": TriggerSettings(kind="marketing")}))
    assert fault == (
        "shop.py:1: the settings make thanks marketing without a cap; write triggers.thanks.cap "
        "(FRESHGATE_TRIGGERS__THANKS__CAP), such as 1/24h"
    )
    capped = TriggerSettings(kind="marketing", cap=(1, 86_400_000))
    assert check(settings=Settings(catalog=name, triggers={"thanks": capped})) == []


def test_missing_halved_and_unfilled_payload_pairs_are_faults(check: Check, workdir: Path) -> None:
    folder = workdir / "payloads" / "segment"
    folder.mkdir(parents=True)
    assert check() == ["shop.py:6: Renewed from segment: no payload pair; write payloads/segment/renewed__full.json"]
    expected = folder / "renewed__full.expected.json"
    expected.write_text('{"fill in": "by hand"}')
    assert check() == [
        "payloads/segment/renewed__full.expected.json:1: the other half of the pair is missing; "
        "write payloads/segment/renewed__full.json",
        "payloads/segment/renewed__full.expected.json:1: fill in: by hand",
    ]
    (folder / "renewed__full.json").write_text("{}")
    expected.write_text('{"verdict": "refused", "reason": "no_type"}')
    assert check() == ["shop.py:6: Renewed from segment: no payload pair; write payloads/segment/renewed__full.json"]


def test_the_shipped_catalog_has_no_fault(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    code = main(["check", "--catalog", "catalog"])
    assert capsys.readouterr().out.splitlines()[-1].endswith("no fault")
    assert code == 0


def test_the_command_line_prints_the_faults_and_is_1(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(workdir))
    text = (HEAD + EVENT + TRIGGER + TABLES).replace("properties.plan", "plan")
    (workdir / "brokenshop.py").write_text(text)
    assert main(["check", "--catalog", "brokenshop"]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("brokenshop.py:6: Renewed from segment: path 'plan'")
    assert printed.err == "1 fault in catalog brokenshop\n"
