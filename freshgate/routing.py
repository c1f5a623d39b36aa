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

    accounts  all accounts, the first one first
    """

    def __init__(self, accounts: Sequence[str], triggers: Mapping[str, str] | None = None) -> None:
        self.accounts = tuple(accounts)
        self._triggers = dict(triggers or {})

    def account(self, trigger: str) -> str:
        return self._triggers.get(trigger, self.accounts[0])

    def triggers(self, accounts: Iterable[str]) -> list[str]:
        """The known triggers of these accounts."""
        wanted = set(accounts)
        return [trigger for trigger, account in self._triggers.items() if account in wanted]

    def by_queue(self, timers: Iterable[str], instead: Mapping[str, str] | None = None) -> dict[str, list[str]]:
        """queue -> its timers ("abandoned_cart|p:u3f…"), in the order in which they come.

        instead  account -> the one that sends in its place now
        """
        queues: dict[str, list[str]] = {}
        for timer in timers:
            account = self.account(trigger_of(timer))
            queues.setdefault(queue_name((instead or {}).get(account, account)), []).append(timer)
        return queues


def routes_of(settings: Settings, triggers: Iterable[Trigger]) -> Routes:
    """The routes of the settings' accounts. `triggers` are those that `load_triggers` returned."""
    accounts = list(settings.esps) or ["sendgrid"]
    return Routes(accounts, {trigger.name: trigger.esp or accounts[0] for trigger in triggers})
