"""Which ESP account a trigger's mails leave through, and so in which queue their jobs stand.

`catalogs.py` completes `Trigger.esp` from the settings; the receiver and the timers push by these routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from freshgate.declare import Trigger
from freshgate.queue import queue_name
from freshgate.settings import Settings
from freshgate.state.keys import trigger_of


class Routes:
    """trigger -> account -> queue. What names no known trigger goes to the first account: any worker can end it.

    accounts   all accounts, the first one first
    marketing  the triggers whose mails wait while transactional ones leave
    """

    def __init__(
        self, accounts: Sequence[str], triggers: Mapping[str, str] | None = None, marketing: Iterable[str] = ()
    ) -> None:
        self.accounts = tuple(accounts)
        self._triggers = dict(triggers or {})
        self._marketing = frozenset(marketing)

    def account(self, trigger: str) -> str:
        return self._triggers.get(trigger, self.accounts[0])

    def queue(self, trigger: str, *, timers: bool) -> str:
        """The queue of the trigger's sends; `timers` as `queue_name` has it."""
        return queue_name(self.account(trigger), marketing=trigger in self._marketing, timers=timers)

    def triggers(self) -> list[str]:
        """All known triggers."""
        return list(self._triggers)

    def by_queue(
        self, sends: Iterable[str], *, timers: bool = False, instead: Mapping[str, str] | None = None
    ) -> dict[str, list[str]]:
        """queue -> its sends, by their timers ("abandoned_cart|p:u3f…"), in the order in which they come.

        instead  account -> the one that sends in its place now
        """
        queues: dict[str, list[str]] = {}
        for send in sends:
            trigger = trigger_of(send)
            account = self.account(trigger)
            queue = queue_name(
                (instead or {}).get(account, account), marketing=trigger in self._marketing, timers=timers
            )
            queues.setdefault(queue, []).append(send)
        return queues


def routes_of(settings: Settings, triggers: Iterable[Trigger]) -> Routes:
    """The routes of the settings' accounts. `triggers` are those that `load_triggers` returned."""
    accounts = list(settings.esps) or ["sendgrid"]
    known = list(triggers)
    return Routes(
        accounts,
        {trigger.name: trigger.esp or accounts[0] for trigger in known},
        [trigger.name for trigger in known if trigger.kind == "marketing"],
    )
