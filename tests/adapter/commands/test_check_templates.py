"""`python -m adapter check` on templates: what a mail would lack is found before any mail is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from adapter.commands.develop.check import find_faults
from freshgate.settings import Settings
from tests.adapter.commands.shop import SOUND

Check = Callable[[Mapping[str, str]], list[str]]
LINK = "{{ unsubscribe_url }}"


@pytest.fixture
def check(workdir: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Check:
    """The faults of the sound catalog as a package with these templates."""
    monkeypatch.syspath_prepend(str(workdir))
    name = "shop" + "".join(filter(str.isalnum, request.node.name.lower()))[:80]

    def call(templates: Mapping[str, str], old: str = "", new: str = "") -> list[str]:
        folder = workdir / name / "templates"
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").write_text(SOUND.replace(old, new, 1))
        for file, text in templates.items():
            (folder / f"{file}.j2").write_text(text)
        return [f"{fault.place}: {fault.text}".replace(name, "shop") for fault in find_faults(name, Settings())]

    return call


def test_sound_templates_have_no_fault(check: Check) -> None:
    assert check({"thanks.subject": "{{ plan }}", "thanks.txt": f"{{{{ plan }}}} {LINK}"}) == []


@pytest.mark.parametrize(
    ("templates", "fault"),
    [
        (
            {"thanks.subject": "x", "thanks.txt": f"a\n{{{{ plam }}}} {LINK}"},
            "shop/templates/thanks.txt.j2:2: trigger thanks: its template uses 'plam', but compose gives language, "
            "plan, unsubscribe_url",
        ),
        (
            {"thanks.subject": "x", "thanks.txt": "{{ plan }}"},
            "shop/templates/thanks.txt.j2:1: trigger thanks: marketing mail without unsubscribe_url; write "
            "{{ unsubscribe_url }} where readers unsubscribe",
        ),
        (
            {"thanks.subject": "{{ plan.price }}", "thanks.txt": LINK},
            "shop/templates/thanks.subject.j2:1: trigger thanks: template thanks.subject needs price where "
            "everything is known; write {% if … is defined %} around it",
        ),
        (
            {"thanks.subject": "x", "thanks.txt": f"{LINK}{{% for %}}"},
            "shop/templates/thanks.txt.j2:1: ",
        ),
        (
            {"thanx.subject": "x", "thanx.txt": LINK},
            "shop/templates/thanx.subject.j2:1: template thanx: no trigger has it; name it like one",
        ),
    ],
)
def test_a_mistake_is_a_line_with_its_place(check: Check, templates: dict[str, str], fault: str) -> None:
    faults = check(templates)
    assert faults[0].startswith(fault), faults


def test_a_language_is_tried_too(check: Check) -> None:
    templates = {
        "thanks.subject": "x",
        "thanks.txt": LINK,
        "thanks.de.subject": "x",
        "thanks.de.txt": "{{ plam }}" + LINK,
    }
    assert check(templates)[0].startswith("shop/templates/thanks.de.txt.j2:1: trigger thanks: its template uses 'plam'")
