"""The sandbox's outbox page: the accepted mails as cards, newest first. It loads nothing from other hosts.

`server.py` serves it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from jinja2.sandbox import SandboxedEnvironment

MAX_CARDS = 100
MAX_TEXT_LENGTH = 2000
# The newest mails with HTML stand in frames; the page reloads every few seconds, so the others are links.
MAX_FRAMES = 3
# Send and time of a mail.
RENDERED_PATH = re.compile(r"/rendered/([0-9a-z-]{1,64})/([0-9]{1,16})")
# A mail is a stranger's text: it runs nothing, loads nothing and has no origin.
RENDERED_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "Referrer-Policy": "no-referrer",
}
STYLE = """
:root{color-scheme:light dark;--paper:#f6f5f2;--card:#fff;--ink:#1d1d1f;--soft:#6b6b70;--line:#e4e2dc;--mark:#0b6e4f}
@media (prefers-color-scheme:dark){:root{--paper:#141416;--card:#1e1e21;--ink:#ececee;--soft:#9a9aa0;--line:#333338;
--mark:#5fd0a5}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:46rem;margin:0 auto;padding:2rem 1rem 4rem}h1{font-size:1.5rem;margin:0}p{margin:.3rem 0}
.soft{color:var(--soft);font-size:.875rem}article{background:var(--card);border:1px solid var(--line);
border-radius:12px;padding:1.1rem 1.3rem;margin-top:1rem}h2{font-size:1.05rem;margin:0;color:var(--mark)}
header.row{display:flex;justify-content:space-between;gap:1rem;align-items:baseline;flex-wrap:wrap}
article,td,th{overflow-wrap:anywhere}table{width:100%;border-collapse:collapse;margin:.8rem 0 .4rem}
th{text-align:left;font-weight:500;color:var(--soft);font-size:.8rem}th,td{padding:.35rem .4rem .35rem 0;
border-bottom:1px solid var(--line)}.n{text-align:right;font-variant-numeric:tabular-nums;padding-right:0;
white-space:nowrap}tfoot td{border:0;font-weight:600}code{font:.85em ui-monospace,monospace}
pre{white-space:pre-wrap;font:.9rem/1.5 ui-monospace,monospace;margin:.6rem 0}
iframe{width:100%;height:24rem;border:1px solid var(--line);border-radius:8px;background:#fff;margin:.6rem 0}
.empty{text-align:center;padding:3rem 1rem}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
PAGE_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
TEMPLATE = SandboxedEnvironment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Outbox ({{ total }})</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><meta http-equiv="refresh" content="3">
<style>{{ style|safe }}</style></head><body><main>
<header class="row"><h1>Outbox</h1><span class="soft">{{ total }} accepted{% if total > cards|length %}, the newest
{{ cards|length }} shown{% endif %}; nothing leaves this machine</span></header>
{% for card in cards %}
<article><header class="row"><h2>{{ card.trigger }}</h2><time class="soft">{{ card.time }}</time></header>
<p>to <strong>{{ card.to }}</strong>{% if card.first_name %} ({{ card.first_name }}){% endif %}</p>
<p class="soft">{{ card.provider }}, template <code>{{ card.template }}</code>{% if card.order %}
, order <code>{{ card.order }}</code>{% endif %}</p>
{% if card.products %}
<table><thead><tr><th scope="col">Product</th>
<th scope="col" class="n">Quantity</th><th scope="col" class="n">Price</th></tr></thead>
<tbody>{% for product in card.products %}
<tr><td>{{ product.name }}</td><td class="n">{{ product.quantity }}</td><td class="n">{{ product.price }}</td></tr>
{% endfor %}</tbody>
{% if card.sum %}<tfoot><tr><td colspan="2">Total</td><td class="n">{{ card.sum }}</td></tr></tfoot>{% endif %}
</table>
{% elif card.sum %}<p>Total <strong>{{ card.sum }}</strong></p>{% endif %}
{% if card.subject %}
<p><strong>{{ card.subject }}</strong></p><pre>{{ card.text }}</pre>
{% if card.framed %}
<iframe sandbox src="{{ card.rendered }}" title="the mail to {{ card.to }}" referrerpolicy="no-referrer"></iframe>
{% endif %}
{% if card.rendered %}
<p><a href="{{ card.rendered }}" target="_blank" rel="noopener">as a reader sees it</a></p>
{% endif %}
{% endif %}
<p class="soft">send <code>{{ card.send }}</code></p></article>
{% else %}
<article class="empty"><h2>No mail yet</h2><p>Post an event to the receiver, such as the <code>curl</code> line that
<code>make run</code> printed: an order's confirmation appears here within a second.</p>
<p class="soft">This page reloads every three seconds.</p></article>
{% endfor %}
</main></body></html>
""")


def page(outbox: Sequence[bytes]) -> bytes:
    """The page as UTF-8; `outbox` holds mails as JSON, newest last."""
    total = len(outbox)
    newest = islice(reversed(tuple(outbox)), MAX_CARDS)
    cards = [_card(json.loads(message)) for message in newest]
    for card in islice((card for card in cards if card["rendered"]), MAX_FRAMES):
        card["framed"] = True
    return TEMPLATE.render(cards=cards, total=total, style=STYLE).encode("utf-8", "replace")


def _card(message: dict[str, Any]) -> dict[str, Any]:
    template_data, custom_args = message["template_data"], message["custom_args"]
    products = template_data.get("products")
    total, currency = _text(template_data.get("total")), _text(template_data.get("currency"))
    received_at = datetime.fromtimestamp(message["received_at_ms"] / 1000, UTC)
    return {
        "trigger": custom_args.get("freshgate_trigger") or "(no trigger named)",
        "send": custom_args.get("freshgate_send") or "(no id)",
        "time": received_at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "to": message["to"],
        "provider": message["provider"],
        "template": message["template_id"] or "(none)",
        **_rendered(message),
        "first_name": _text(template_data.get("first_name")),
        "order": _text(template_data.get("order_id")),
        "sum": f"{total} {currency}".strip() if total else "",
        "products": [_product(p) for p in products[:50] if isinstance(p, dict)] if isinstance(products, list) else [],
    }


def _rendered(message: dict[str, Any]) -> dict[str, str]:
    """Subject, text and the link to the HTML of a mail that came with them."""
    subject, text, html = _content(message["raw"] if isinstance(message["raw"], dict) else {})
    link = f"/rendered/{message['custom_args'].get('freshgate_send') or '-'}/{message['received_at_ms']}"
    return {
        "subject": _text(subject),
        "text": text[:MAX_TEXT_LENGTH],
        "rendered": link if html else "",
    }


def _content(raw: dict[str, Any]) -> tuple[str, str, str]:
    """Subject, text and HTML, under the names of SMTP and Resend, Postmark, or SES; "" for what is not there."""
    simple = raw.get("Content", {}).get("Simple") if isinstance(raw.get("Content"), dict) else None
    if isinstance(simple, dict):
        parts = [simple.get("Subject"), *(simple.get("Body", {}).get(name) for name in ("Text", "Html"))]
        values = [part.get("Data") if isinstance(part, dict) else "" for part in parts]
    else:
        names = (("subject", "Subject"), ("text", "TextBody"), ("html", "HtmlBody"))
        values = [raw.get(name) or raw.get(other) for name, other in names]
    subject, text, html = (value if isinstance(value, str) else "" for value in values)
    return subject, text, html


def rendered(outbox: Sequence[bytes], path: str) -> bytes | None:
    """The HTML of the mail to which a card links; None where it is not, or no longer, in the outbox."""
    match = RENDERED_PATH.fullmatch(path)
    if match is None:
        return None
    for raw in reversed(tuple(outbox)):
        message = json.loads(raw) if match[2].encode() in raw else {}
        if message and _rendered(message)["rendered"] == path:
            return _content(message["raw"])[2].encode("utf-8", "replace")
    return None


def _product(product: dict[str, Any]) -> dict[str, str]:
    return {
        "name": _text(product.get("name")) or _text(product.get("product_id")) or "(no name)",
        "quantity": _text(product.get("quantity")) or "1",
        "price": _text(product.get("price")),
    }


def _text(value: object) -> str:
    """Text and numbers as text; anything else as an empty text."""
    return str(value)[:300] if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
