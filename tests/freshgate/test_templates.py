"""Templates of the catalog: what they render, which language, what they refuse, and what no page can do to them."""

from __future__ import annotations

import threading
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from freshgate.errors import CatalogError, TemplateError
from freshgate.templates import Templates, language_tags, load_templates, web_url

PLAIN = {"hi.subject": "Hello {{ name }}", "hi.txt": "Hello {{ name }}!"}
PRODUCT = {"product_id": "p-1", "name": "Mug", "price": "9.90", "quantity": 2, "url": "https://shop.example/mug"}
BUILT_IN: dict[str, dict[str, Any]] = {
    "abandoned_cart": {"first_name": "Ada", "products": [PRODUCT], "total": "19.80", "unsubscribe_url": "https://s/u"},
    "browse_abandonment": {"first_name": "Ada", "products": [PRODUCT], "unsubscribe_url": "https://s/u"},
    "order_confirmation": {
        "first_name": "Ada",
        "order_id": "1001",
        "total": "19.80",
        "currency": "EUR",
        "products": [PRODUCT],
    },
    "welcome": {"first_name": "Ada"},
}


def test_a_mail_has_subject_and_text_and_html_where_there_is_a_template() -> None:
    content = Templates({**PLAIN, "hi.html": "<p>Hello {{ name }}</p>"}).render("hi", {"name": "Ada"})
    assert (content.subject, content.text) == ("Hello Ada", "Hello Ada!\n")
    assert "<p>Hello Ada</p>" in content.html
    assert Templates(PLAIN).render("hi", {"name": "Ada"}).html == ""


@pytest.mark.parametrize(
    ("locale", "tags"),
    [("de_AT.UTF-8", ["de-at", "de"]), ("de", ["de"]), ("zh-Hant-TW", ["zh-hant-tw", "zh-hant", "zh"]), ("", [])],
)
def test_a_locale_is_tried_from_the_exact_language_to_the_general_one(locale: str, tags: list[str]) -> None:
    assert language_tags(locale) == tags


@pytest.mark.parametrize(
    ("locale", "subject"),
    [("de", "Hallo"), ("de_AT", "Servus"), ("DE-ch", "Hallo"), ("fr", "Hello"), ("", "Hello"), ("../etc", "Hello")],
)
def test_a_reader_gets_their_language_or_else_the_default(locale: str, subject: str) -> None:
    words = {"": "Hello", ".de": "Hallo", ".de-at": "Servus"}
    sources = {f"hi{tag}.{part}": word for tag, word in words.items() for part in ("subject", "txt")}
    assert Templates(sources).render("hi", {}, locale).subject == subject


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{{ total }}", "total"),
        ("{% if total %}x{% endif %}", "total"),
        ("{{ product.price }}", "price"),
        ("{% for line in lines %}x{% endfor %}", "lines"),
    ],
)
def test_what_the_data_lacks_is_named_with_the_file_and_never_a_value(text: str, field: str) -> None:
    with pytest.raises(TemplateError) as raised:
        Templates({**PLAIN, "hi.txt": text}).render("hi", {"name": "Ada", "product": {"name": "Secret"}})
    assert str(raised.value) == f"template hi.txt needs {field}"


def test_a_template_that_fails_is_named_without_the_value_that_it_failed_on() -> None:
    with pytest.raises(TemplateError, match=r"^template hi\.txt fails: TypeError$"):
        Templates({**PLAIN, "hi.txt": "{{ name + 1 }}"}).render("hi", {"name": "Ada"})


@pytest.mark.parametrize(
    "value", ["{{ 7 * 7 }}", "{% raw %}x", "{{ self.__init__ }}", "${7*7}", "<mj-include path='/'/>"]
)
def test_a_value_is_text_and_never_a_template(value: str) -> None:
    content = Templates({**PLAIN, "hi.html": "<p>{{ name }}</p>"}).render("hi", {"name": value})
    assert content.text == f"Hello {value}!\n"
    assert content.subject == f"Hello {value}"


def test_a_value_cannot_open_an_element_or_leave_an_attribute() -> None:
    html = Templates({**PLAIN, "hi.html": '<a href="{{ name }}" title="x">{{ name }}</a>'})
    content = html.render("hi", {"name": '"><script>alert(1)</script>'})
    parser = _Elements()
    parser.feed(content.html)
    assert parser.elements == [("html", []), ("head", []), ("body", []), ("a", ["href", "title"])]


def test_a_value_stays_on_its_line_and_writes_no_paragraph() -> None:
    content = Templates(PLAIN).render("hi", {"name": "Ada\r\n\r\nBcc: all@example.com\x00\u202e\u2028x"})
    assert content.subject == "Hello Ada Bcc: all@example.com x"
    assert content.text == "Hello Ada Bcc: all@example.com x!\n"
    assert not set("\r\x00\u202e\u2028") & set(content.text)


def test_values_in_lists_and_maps_stay_on_their_lines_too() -> None:
    templates = Templates({**PLAIN, "hi.txt": "{% for line in lines %}{{ line.name }}{% endfor %}"})
    assert templates.render("hi", {"name": "", "lines": [{"name": "a\nb"}]}).text == "a b\n"


def test_a_subject_is_one_line_of_bounded_length() -> None:
    subject = Templates({"hi.subject": "{% if 1 %}\nHi\n\n{{ name }}{% endif %}", "hi.txt": ""}).render(
        "hi", {"name": "x" * 9000}
    )
    assert subject.subject.startswith("Hi xxx")
    assert len(subject.subject) == 250


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ name.__class__ }}",
        "{{ lines.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ money.__globals__ }}",
    ],
)
def test_a_template_reaches_nothing_but_its_values(text: str) -> None:
    with pytest.raises(TemplateError):
        Templates({**PLAIN, "hi.txt": text}).render("hi", {"name": "Ada", "lines": []})


def test_the_helpers_of_the_catalog_are_there() -> None:
    text = "{{ money(total, 'JPY') }} {{ date(at, 'Europe/Berlin', '%d.%m.%Y %H:%M') }}"
    content = Templates({**PLAIN, "hi.txt": text}).render("hi", {"name": "", "total": "12.6", "at": 1_790_000_000_000})
    assert content.text == "13 21.09.2026 16:13\n"


@pytest.mark.parametrize(
    ("value", "link"),
    [
        ("https://shop.example/mug", "https://shop.example/mug"),
        ("HTTP://shop.example", "HTTP://shop.example"),
        ("javascript:alert(1)", ""),
        (" https://shop.example", ""),
        ("data:text/html,x", ""),
        ("//shop.example", ""),
        ("https:///x", ""),
        ('https://shop.example/"><script>', ""),
        (7, ""),
    ],
)
def test_only_web_links_pass_the_filter(value: Any, link: str) -> None:
    assert web_url(value) == link


class _Elements(HTMLParser):
    """The elements of a document, each with the names of its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, [name for name, _ in attrs]))


class _Counting(HTTPServer):
    requests = 0


class _Handler(BaseHTTPRequestHandler):
    server: _Counting

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_css_is_written_into_the_elements_and_nothing_is_loaded(tmp_path: Path) -> None:
    server = _Counting(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    style = "<style>p { color: red } @media (max-width: 9px) { p { color: blue } }</style>"
    picture = f'<img src="{url}/x.png"><div style="background: url({url}/y.png)"></div>'
    content = Templates({**PLAIN, "hi.html": f"{style}<p>{{{{ name }}}}</p>{picture}"}).render("hi", {"name": "Ada"})
    server.shutdown()
    server.server_close()
    assert '<p style="color: red;">Ada</p>' in content.html
    assert "@media" in content.html
    assert server.requests == 0


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("hi.html", '<link rel="stylesheet" href="https://x/y.css">'),
        ("hi.html", "<LINK href=/etc/passwd rel=stylesheet>"),
        ("hi.html", "<style>@import url(https://x/y.css);</style>"),
        ("hi.mjml", '<mjml><mj-body><mj-include path="/etc/passwd" /></mj-body></mjml>'),
    ],
)
def test_a_template_that_would_load_a_style_or_a_file_does_not_start(file: str, text: str) -> None:
    with pytest.raises(CatalogError, match=rf"templates/{file}\.j2: loads a style"):
        Templates({**PLAIN, file: text})


def test_mjml_becomes_html_once_with_its_loops_in_place_and_without_fonts() -> None:
    mjml = (
        "<mjml><mj-body><mj-section><mj-column><mj-text>Hi {{ name }}</mj-text><mj-table>"
        "{% for line in lines %}<tr><td>{{ line }}</td></tr>{% endfor %}"
        "</mj-table></mj-column></mj-section></mj-body></mjml>"
    )
    html = Templates({**PLAIN, "hi.mjml": mjml}).render("hi", {"name": "<b>", "lines": ["a", "<i>"]}).html
    assert "Hi &lt;b&gt;" in html
    assert "<tr><td>a</td></tr><tr><td>&lt;i&gt;</td></tr></table>" in html
    assert "fonts.googleapis" not in html
    assert "<link" not in html


@pytest.mark.parametrize(
    ("sources", "text"),
    [
        ({**PLAIN, "hi.txt": "{% if %}"}, "templates/hi.txt.j2:1: "),
        ({**PLAIN, "Hi.txt": ""}, "templates/Hi.txt.j2: not a template's name"),
        ({**PLAIN, "hi.pdf": ""}, "templates/hi.pdf.j2: not a template's name"),
        ({"hi.subject": ""}, "templates/hi.txt.j2: missing"),
        ({"hi.txt": ""}, "templates/hi.subject.j2: missing"),
        ({**PLAIN, "hi.de.txt": ""}, "templates/hi.de.subject.j2: missing"),
        ({"hi.de.subject": "", "hi.de.txt": ""}, "templates/hi: only for de"),
        ({**PLAIN, "hi.html": "", "hi.mjml": "<mjml><mj-body></mj-body></mjml>"}, "keep one of them"),
        ({**PLAIN, "hi.mjml": "<mjml>"}, "templates/hi.mjml.j2: not MJML"),
        ({**PLAIN, "hi.mjml": "<mjml><mj-body><mj-txt /></mj-body></mjml>"}, "MJML has no element mj-txt"),
    ],
)
def test_a_folder_that_cannot_be_used_does_not_start_and_names_the_file(sources: dict[str, str], text: str) -> None:
    with pytest.raises(CatalogError) as raised:
        Templates(sources)
    assert text in str(raised.value)


@pytest.mark.parametrize("name", BUILT_IN)
def test_each_built_in_trigger_has_a_mail_with_text_and_html(name: str) -> None:
    templates = load_templates("catalog")
    for language in templates.languages(name):
        content = templates.render(name, BUILT_IN[name], language)
        assert content.subject
        assert "Ada" in content.text
        assert "Ada" in content.html
        assert ("https://s/u" in content.text) == ("unsubscribe_url" in BUILT_IN[name])
        assert ("https://s/u" in content.html) == ("unsubscribe_url" in BUILT_IN[name])


def test_a_german_reader_gets_the_german_cart_mail() -> None:
    content = load_templates("catalog").render("abandoned_cart", BUILT_IN["abandoned_cart"], "de-AT")
    assert content.language == "de"
    assert content.subject == "Ihr Warenkorb wartet auf Sie"
    assert "Summe" in content.html


def test_built_in_mails_leave_out_a_picture_and_a_link_that_are_none() -> None:
    product = {"product_id": "p-1", "quantity": 1, "url": "javascript:alert(1)", "image_url": "javascript:alert(2)"}
    content = load_templates("catalog").render("abandoned_cart", {"first_name": "", "products": [product]})
    assert "javascript" not in content.text + content.html
    assert "p-1" in content.html


def test_a_catalog_in_one_file_has_no_templates() -> None:
    assert load_templates("json").names == ()


def test_variables_are_listed_with_partials_and_without_optional_ones() -> None:
    templates = Templates(
        {
            **PLAIN,
            "hi.txt": "{{ name }}\n{% include '_foot.txt' %}{% if extra is defined %}{{ extra }}{% endif %}"
            "{{ other|default('') }}{{ money(total) }}{% for line in lines %}{{ line }}{% endfor %}",
            "_foot.txt": "\n{{ shop }}",
        }
    )
    assert templates.variables("hi.txt") == {"name": 1, "total": 2, "lines": 2, "shop": 2}
    assert templates.mentions("hi.txt", "shop")
    assert not templates.mentions("hi.txt", "unsubscribe_url")
