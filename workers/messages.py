"""Makes the message of a claimed send: what an ESP needs, and how the mail is rendered where it stores no template.

`courier.py` calls it for each claim; an ESP decides whether it renders (`esp/base.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from freshgate.declare import Trigger
from freshgate.errors import EspError, TemplateError
from freshgate.templates import Content, Templates
from workers.esp.base import Message
from workers.gate import Decision, Records


class Messages:
    """The messages of one worker. Safe for threads.

    templates  of the catalog; without any, only ESPs that store templates can send
    """

    def __init__(self, templates: Templates | None = None) -> None:
        self._templates = templates or Templates({})

    def build(
        self, trigger: Trigger, records: Records, decision: Decision, send_id: str, template_data: Mapping[str, Any]
    ) -> Message:
        """The message of one send; `template_data` is what the trigger composed."""
        locale = records.person.trait("locale") or ""
        return Message(
            send_id=send_id,
            trigger=trigger.name,
            to=decision.to,
            template_id=trigger.template_id,
            template_data=template_data,
            asm_group_id=trigger.asm_group_id,
            render=partial(self._render, trigger.template_name, template_data, locale),
        )

    def _render(self, name: str, template_data: Mapping[str, Any], locale: str) -> Content:
        try:
            return self._templates.render(name, template_data, locale)
        except TemplateError as error:
            raise EspError(str(error), permanent=True) from None
