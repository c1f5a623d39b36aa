"""Templates of the catalog, for ESPs that store none: compiled once at start, rendered for each mail. docs/TEMPLATES.md

Files are `catalog/templates/<name>[.<language>].{subject,txt,html,mjml}.j2`; a name that begins with _ is for others to
include. Workers render mails with it, `python -m adapter check` and `preview` try templates out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import DictLoader, StrictUndefined, Template, TemplateSyntaxError, UndefinedError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from freshgate.errors import CatalogError, TemplateError
from freshgate.printable import CONTROL
from freshgate.template_values import date, money

FOLDER = "templates"
SUFFIX = ".j2"
FILE = re.compile(r"([a-z][a-z0-9_]*)(?:\.([a-z]{2,3}(?:-[a-z0-9]{2,8})*))?\.(subject|txt|html|mjml)")
NAMING = "write <name>[.<language>].subject.j2, .txt.j2, .html.j2 or .mjml.j2, in small letters"
# What every template may use beside the trigger's own data: the first, only in marketing mail.
PROVIDED = ("unsubscribe_url", "language")
MAX_SUBJECT_LENGTH = 250
# Nothing of another host or file may decide how a mail looks, and no mail client would load it.
WEB_URL = re.compile(r"https?://[^\s/\\\"'<>][^\s\"'<>]*", re.IGNORECASE)
EXTERNAL_STYLE = re.compile(r"<link\b[^>]*stylesheet|@import\b|<mj-include\b", re.IGNORECASE)


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """A rendered mail. `html` is empty where the template has none; `language` is "" for the default."""

    subject: str
    text: str
    html: str = ""
    language: str = ""


class _Missing(StrictUndefined):
    """Its errors name what is missing and nothing else: jinja's own text may quote a value."""

    @property
    def _undefined_message(self) -> str:
        return self._undefined_hint or str(self._undefined_name)


class _Variant(msgspec.Struct, frozen=True):
    """The compiled templates of one name and language."""

    subject: Template
    text: Template
    html: Template | None
    inlines_css: bool


class Templates:
    """All templates of a catalog. Safe for threads: rendering changes nothing.

    sources  file name without .j2 → its text. Raises CatalogError, with file and line, for one that cannot be used
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.sources = dict(sources)
        for name, text in sources.items():
            if EXTERNAL_STYLE.search(text):
                raise CatalogError(f"{FOLDER}/{name}{SUFFIX}: loads a style; write it into <style>, nothing is loaded")
        self._compiled = {
            name: _from_mjml(name, text) if name.endswith(".mjml") else text for name, text in sources.items()
        }
        self._environment = ImmutableSandboxedEnvironment(
            loader=DictLoader(self._compiled),
            autoescape=lambda name: name is None or name.endswith((".html", ".mjml")),
            undefined=_Missing,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals |= {"money": money, "date": date}
        self._environment.filters["web_url"] = web_url
        self._variants: dict[str, dict[str, _Variant]] = {}
        files: dict[tuple[str, str], dict[str, str]] = {}
        for name in sorted(self._compiled):
            template = self._compile(name)
            if name.startswith("_"):
                continue
            match = FILE.fullmatch(name)
            if match is None or template is None:
                raise CatalogError(f"{FOLDER}/{name}{SUFFIX}: not a template's name; {NAMING}")
            files.setdefault((match[1], match[2] or ""), {})[match[3]] = name
        for (name, language), parts in files.items():
            self._variants.setdefault(name, {})[language] = self._variant(name, language, parts)
        for name, variants in self._variants.items():
            if "" not in variants:
                only = ", ".join(variants)
                raise CatalogError(f"{FOLDER}/{name}: only for {only}; write {name}.subject{SUFFIX}, too")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._variants)

    def languages(self, name: str) -> tuple[str, ...]:
        """The languages of a template, "" (the default) first."""
        return tuple(sorted(self._variants.get(name, ())))

    def files(self, name: str, language: str = "") -> list[str]:
        """Which files make that template, without .j2."""
        head = f"{name}.{language}." if language else f"{name}."
        return [file for file in self.sources if file.startswith(head) and file.count(".") == head.count(".")]

    def render(self, name: str, template_data: Mapping[str, Any], locale: str = "") -> Content:
        """The mail in the person's language, else in the default one.

        locale  as a CDP has it: "de", "de-AT", "de_AT.UTF-8"
        Raises TemplateError where the data lacks what the template needs, or the template's own code fails.
        """
        variants = self._variants.get(name)
        if variants is None:
            raise TemplateError(f"there is no template {name!r}")
        language = next((tag for tag in language_tags(locale) if tag in variants), "")
        variant = variants[language]
        values = {"language": language, **_on_a_line(template_data)}
        html = _render(variant.html, values) if variant.html else ""
        return Content(
            subject=" ".join(_render(variant.subject, values).split())[:MAX_SUBJECT_LENGTH],
            text=_render(variant.text, values).strip() + "\n",
            html=self._inline(html) if variant.inlines_css else html,
            language=language,
        )

    def variables(self, file: str) -> dict[str, int]:
        """The variables that a file needs of its data, with the line where each stands first; partials included.

        Without those that a file tests with `is defined`, or gives a default.
        """
        lines: dict[str, int] = {}
        self._add_variables(file, lines, set())
        return lines

    def mentions(self, file: str, name: str) -> bool:
        """Whether the file, or one that it includes or extends, has this variable."""
        files, visited = [file], set[str]()
        while files:
            tree = self._parse(files.pop())
            if any(node.name == name for node in tree.find_all(nodes.Name)):
                return True
            others = {other for other in meta.find_referenced_templates(tree) if other in self.sources} - visited
            visited |= others
            files += others
        return False

    def _parse(self, file: str) -> nodes.Template:
        return self._environment.parse(self._compiled[file])

    def _add_variables(self, file: str, lines: dict[str, int], visited: set[str]) -> None:
        visited.add(file)
        tree = self._parse(file)
        names = meta.find_undeclared_variables(tree) - self._environment.globals.keys()
        tests = [node.node for node in tree.find_all(nodes.Test) if node.name in ("defined", "undefined")]
        tests += [node.node for node in tree.find_all(nodes.Filter) if node.name in ("default", "d") and node.node]
        names -= {node.name for node in tests if isinstance(node, nodes.Name)}
        for name in tree.find_all(nodes.Name):
            if name.name in names:
                lines.setdefault(name.name, name.lineno)
        for other in meta.find_referenced_templates(tree):
            if other in self.sources and other not in visited:
                self._add_variables(other, lines, visited)

    def _variant(self, name: str, language: str, parts: Mapping[str, str]) -> _Variant:
        head = f"{FOLDER}/{name}{'.' if language else ''}{language}"
        for part in ("subject", "txt"):
            if part not in parts:
                raise CatalogError(f"{head}.{part}{SUFFIX}: missing; every mail has a subject and a text")
        if "html" in parts and "mjml" in parts:
            raise CatalogError(f"{head}: has both .html{SUFFIX} and .mjml{SUFFIX}; keep one of them")
        html = parts.get("html") or parts.get("mjml")
        get = self._environment.get_template
        return _Variant(get(parts["subject"]), get(parts["txt"]), get(html) if html else None, "html" in parts)

    def _compile(self, name: str) -> Template | None:
        try:
            return self._environment.get_template(name)
        except TemplateSyntaxError as error:
            raise CatalogError(f"{FOLDER}/{error.name or name}{SUFFIX}:{error.lineno}: {error.message}") from None

    @cached_property
    def _inline(self) -> Callable[[str], str]:
        # Loaded where a template needs it: a native wheel.
        from css_inline import CSSInliner

        # Style tags stay, for their media queries.
        return CSSInliner(load_remote_stylesheets=False, keep_style_tags=True).inline


def load_templates(catalog: str) -> Templates:
    """The templates of a catalog's package; none where it has no folder for them. Raises CatalogError."""
    file = import_module(catalog).__file__ or ""
    folder = Path(file).parent / FOLDER
    if Path(file).name != "__init__.py" or not folder.is_dir():
        return Templates({})
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
        return Templates({path.name.removesuffix(SUFFIX): path.read_text(encoding="utf-8") for path in files})
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"{FOLDER}: cannot be read: {error}") from None


def language_tags(locale: str) -> list[str]:
    """From the exact language to the general one: "de_AT.UTF-8" → ["de-at", "de"]."""
    parts = locale.partition(".")[0].partition("@")[0].strip().replace("_", "-").lower().split("-")
    return ["-".join(parts[:count]) for count in range(len(parts), 0, -1)] if parts[0] else []


def web_url(value: Any) -> str:
    """A filter: the value if it is a link that may stand in a mail, else an empty text. A page may send any text."""
    text = str(value)
    return text if WEB_URL.fullmatch(text) else ""


def _render(template: Template, values: Mapping[str, Any]) -> str:
    try:
        return template.render(values)
    except UndefinedError as error:
        raise TemplateError(f"template {template.name} needs {error.message}") from None
    except Exception as error:  # The template's own code; its error may quote a customer.
        raise TemplateError(f"template {template.name} fails: {type(error).__name__}") from None


def _on_a_line(value: Any) -> Any:
    """Each text on one line, without control characters: a name with line feeds would write paragraphs of its own."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return CONTROL.sub("", " ".join(value.split()))
    if isinstance(value, Mapping):
        return {key: _on_a_line(item) for key, item in value.items()}
    return [_on_a_line(item) for item in value] if isinstance(value, list | tuple) else value


def _from_mjml(name: str, text: str) -> str:
    """The HTML of an MJML file, with its variables still in it: MJML is worked out once, at start."""
    from mrml import RenderOptions, to_html

    try:
        # No fonts: a mail that loads one tells its host who reads it.
        output = to_html(text, None, RenderOptions(fonts={}))
    except OSError as error:
        raise CatalogError(f"{FOLDER}/{name}{SUFFIX}: not MJML: {error}") from None
    html: str = output.content
    if unknown := re.search(r"<(mj-[a-z-]+)", html):
        raise CatalogError(f"{FOLDER}/{name}{SUFFIX}: MJML has no element {unknown[1]}")
    return html
