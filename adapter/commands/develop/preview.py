"""`python -m adapter preview`: renders a trigger's mail by the catalog's templates, for the terminal and as a page.

Writes nothing to Redis and sends nothing. `preview_state.py` finds the state that the mail is composed of.
"""

from __future__ import annotations

import argparse
import html
import re
import sys
from pathlib import Path
from typing import Any

from adapter.commands.develop.preview_state import State, known_state, sample_state
from adapter.commands.terminal import Paint
from freshgate.catalogs import load_triggers
from freshgate.declare import Trigger
from freshgate.errors import SettingsError
from freshgate.local_settings import load_local_settings
from freshgate.settings import Settings
from freshgate.templates import Content, load_templates

HELP = "render a trigger's mail to the terminal and to a page for the browser"
EPILOG = """examples:
  python -m adapter preview abandoned_cart
  python -m adapter preview abandoned_cart --language de
  python -m adapter preview order_confirmation --person ada@example.com

Without --person, the data is that of a payload in tests/payloads, or in a folder `payloads` beside the catalog's. The
page has the HTML part, closed off from the network, and the text part below it."""
# A page of our own around the mail: what the mail would load must not tell anybody who looks at a preview.
PAGE = """<!doctype html>
<html><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src https: data:; frame-src 'self'">
<style>body{{margin:0;font:15px/1.5 system-ui,sans-serif;background:#ddd;color:#222}}
header,pre{{max-width:700px;margin:0 auto;padding:12px 16px;background:#fff}}
iframe{{display:block;width:100%;max-width:732px;height:70vh;margin:12px auto;border:0;background:#fff}}
pre{{white-space:pre-wrap;margin-bottom:24px}}</style></head><body>
<header><b>{subject}</b><br>{heading}</header>
{frame}<pre>{text}</pre></body></html>
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "preview", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trigger", help="a trigger of the catalog")
    parser.add_argument("--person", default="", metavar="ID", help="a known person or order, by id or address")
    parser.add_argument("--language", default="", metavar="TAG", help="such as de; the person's own where left out")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page; var/preview/TRIGGER.html where left out")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = load_local_settings()
    triggers = {trigger.name: trigger for trigger in load_triggers(settings)}
    trigger = triggers.get(options.trigger)
    if trigger is None:
        raise SettingsError(f"preview {options.trigger}: no such trigger; known: {', '.join(sorted(triggers))}")
    state = known_state(settings, trigger, options.person) if options.person else sample_state(settings, trigger)
    content = render(settings, trigger, state, options.language)
    paint = Paint(sys.stdout)
    print(f"{paint.bold('Subject:')} {content.subject}")
    print(paint.dim(f"{trigger.kind}, language {content.language or 'default'}, data of {state.origin}"))
    print(f"\n{content.text}")
    file = options.out or Path(settings.var) / "preview" / f"{trigger.name}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page(trigger, content, state.origin), encoding="utf-8")
    print(paint.good(f"{file.resolve().as_uri()}"))
    return 0


def render(settings: Settings, trigger: Trigger, state: State, language: str = "") -> Content:
    """The mail. Raises SettingsError where no template is there, TemplateError where the data lacks something."""
    templates = load_templates(settings.catalog)
    name = trigger.template_name
    if name not in templates.names:
        raise SettingsError(f"preview {trigger.name}: write {name}.subject.j2 and {name}.txt.j2 in catalog/templates")
    if language and not re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*", language):
        raise SettingsError(f"--language: {language!r} is not a language; write one such as de or pt-BR")
    template_data = trigger.compose(state.person, state.about)
    if trigger.kind == "marketing":
        template_data = {**template_data, "unsubscribe_url": "https://shop.example/unsubscribe/preview"}
    return templates.render(name, template_data, language or state.person.trait("locale") or "")


def page(trigger: Trigger, content: Content, origin: str) -> str:
    """The mail in a page: its HTML in a frame that runs no script and has no origin."""
    frame = f'<iframe sandbox srcdoc="{html.escape(content.html)}"></iframe>\n' if content.html else ""
    return PAGE.format(
        title=html.escape(f"{trigger.name}: {content.subject}"),
        subject=html.escape(content.subject),
        heading=html.escape(f"{trigger.name}, language {content.language or 'default'}, data of {origin}"),
        frame=frame,
        text=html.escape(content.text),
    )
