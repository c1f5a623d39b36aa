"""What a kind of ESP can do, declared beside its code; docs/ESPS.md's table is made of it.

`courier.py` and the limits of an account read it; `python -m workers esps` prints it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

HOUR_S = 3600
DAY_S = 24 * HOUR_S


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a kind's API, as its vendor documents them. Mails in one call: the kind's `max_batch`.

    accepts        what a 2xx promises, for people
    idempotency_s  so long after a call, a second one with the same send id sends no second mail; 0 without a key
    schedule_s     how far ahead the API can be asked to send; 0 if it cannot. Freshgate's own timers wait instead
    templates      "by id": stored at the ESP; "ours": rendered from `catalog/templates`; "receiver": what gets the call
                   decides
    send_id        where our send id travels, and comes back from
    headers        whether a mail may have headers of ours, such as List-Unsubscribe
    asm_group      whether `asm_group_id` of a trigger is used
    max_calls      calls at once that the ESP allows an account; None where it names no number
    live_url       `base_url` (or the form of `url`) for real mail
    """

    accepts: str
    idempotency_s: int = 0
    schedule_s: int = 0
    templates: Literal["by id", "ours", "by id or ours", "receiver"] = "by id"
    send_id: str
    headers: bool = False
    asm_group: bool = False
    max_calls: int | None = None
    live_url: str
