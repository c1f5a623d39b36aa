"""Makes the message of a claimed send: what an ESP needs, and how the mail is rendered where it stores no template.

`courier.py` calls it for each claim; an ESP decides whether it renders (`esp/base.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from freshgate.declare import Trigger
from freshgate.errors import EspError, TemplateError
from freshgate.links import TTL_MS, Links, LinkToken, unsubscribe_headers
from freshgate.needs import SEGMENT_KEY, Fallback
from freshgate.templates import Content, Templates
from workers.decisions import Decision, Records
from workers.esp.base import Message


class Messages:
    """The messages of one worker. Safe for threads.

    templates  of the catalog; without any, only ESPs that store templates can send
    links      by which readers unsubscribe; without them, marketing mail has none
    """

    def __init__(self, templates: Templates | None = None, links: Links | None = None) -> None:
        self._templates = templates or Templates({})
        self._links = links

    def build(
        self, trigger: Trigger, records: Records, decision: Decision, send_id: str, template_data: Mapping[str, Any]
    ) -> Message:
        """The message of one send; `template_data` is what the trigger composed."""
        locale = records.person.trait("locale") or ""
        fallback = decision.fallback
        url = self._unsubscribe_url(trigger, records, decision, send_id)
        values = {**template_data, "unsubscribe_url": url} if url else template_data
        return Message(
            send_id=send_id,
            trigger=trigger.name,
            to=decision.to,
            template_id=fallback.template_id if fallback else trigger.template_id,
            template_data=template_data,
            asm_group_id=trigger.asm_group_id,
            headers=unsubscribe_headers(url) if url else {},
            render=partial(self._render, _template_name(trigger, fallback), values, locale),
        )

    def _unsubscribe_url(self, trigger: Trigger, records: Records, decision: Decision, send_id: str) -> str:
        """The link of a marketing mail; empty for any other. It follows from the send, so that a retry has the same."""
        if trigger.kind != "marketing" or self._links is None or records.address is None:
            return ""
        token = LinkToken(
            shop=records.shop,
            address=records.address.id,
            send_id=send_id,
            topic=trigger.topic_name,
            expires_at=decision.occurred_at + TTL_MS,
        )
        return self._links.url(token)

    def _render(self, name: str, template_data: Mapping[str, Any], locale: str) -> Content:
        try:
            return self._templates.render(name, template_data, locale)
        except TemplateError as error:
            raise EspError(str(error), permanent=True) from None


def compose(trigger: Trigger, records: Records, decision: Decision) -> dict[str, Any]:
    """The template's data, of the state that the gate saw: what is missing or stale is left out, or answered."""
    composing = (decision.fallback and decision.fallback.compose) or trigger.compose
    template_data = composing(*records.answered(decision.answers))
    return {**template_data, SEGMENT_KEY: decision.segment} if decision.segment else template_data


def _template_name(trigger: Trigger, fallback: Fallback | None) -> str:
    return (fallback and fallback.template) or trigger.template_name
