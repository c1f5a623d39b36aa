"""`python -m workers accounts`: the ESP accounts with breaker, limits and queue, and the operator's switch.

The state is in Redis (`freshgate/state/lua/account.lua`), so what is switched here holds for all workers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from typing import Any

from freshgate.durations import format_duration
from freshgate.errors import SettingsError
from freshgate.local_settings import connect_local_store
from freshgate.queue import queue_names
from freshgate.settings import EspSettings, Settings
from freshgate.state import keys
from freshgate.state.clock import RedisClock
from freshgate.state.store import fcall, with_library
from workers.account import Account
from workers.esp import with_max_calls
from workers.outcomes.destination import account_name, account_settings

HELP = "list the ESP accounts with breaker, limits and queue; close or open a breaker"
EPILOG = """examples:
  python -m workers accounts
  python -m workers accounts close newsletter      (the key is right again: do not wait for the next probe)
  python -m workers accounts open newsletter       (nothing leaves through it until it is closed)

An open breaker closes by itself, as soon as the ESP takes one mail; one that an operator opened does not. Mails wait in
their timers meanwhile, or leave through the account's `failover`, and are decided on once more when they leave."""


def add_command(commands: Any) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "accounts", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["list", "close", "open"], nargs="?", default="list")
    parser.add_argument("account", metavar="NAME", nargs="?", help="an account of the settings")


def run(settings: Settings, chosen: argparse.Namespace) -> int:
    """Do what the command line says; returns the exit code. Raises SettingsError for an unknown account."""
    client = connect_local_store(settings)
    accounts = {name: with_max_calls(account) for name, account in settings.esps.items()}
    # A shop's CDP has breaker and limits, too.
    accounts |= {account_name(shop): account_settings(wish) for shop, wish in settings.outcomes.items()}
    if chosen.action == "list":
        for name, account in accounts.items():
            if chosen.account in (None, name):
                print(_line(client, name, account))
        if chosen.account not in (None, *accounts):
            raise SettingsError(_unknown(accounts, chosen.account))
        return 0
    if chosen.account not in accounts:
        raise SettingsError(_unknown(accounts, chosen.account))
    key = keys.account(chosen.account)
    with_library(client, lambda: fcall(client, "breaker", key, "", chosen.action, "operator"))
    print(_line(client, chosen.account, accounts[chosen.account]))
    return 0


def _unknown(accounts: Iterable[str], name: str | None) -> str:
    known = ", ".join(accounts)
    return f"accounts: there is no account {name!r}; known: {known}" if name else f"accounts: name one of {known}"


def _line(client: Any, name: str, settings: EspSettings) -> str:
    clock = RedisClock()
    state = Account(client, name, settings, clock).state
    pipe = client.pipeline(transaction=False)
    for queue in queue_names(name):
        pipe.llen(f"rq:queue:{queue}")
    pipe.zcount(f"{keys.account(name)}flights", clock.now(), "+inf")
    pipe.hget(f"{keys.account(name)}state", "since")
    *queued, in_flight, since = pipe.execute()
    jobs = sum(queued)
    parts = [f"{name} ({settings.kind})"]
    if state.breaker == "closed":
        parts.append("breaker closed")
    else:
        text = f"breaker open since {_time(int(since or 0))} ({state.reason}; "
        if state.breaker == "held":
            text += "until an operator closes it)"
        else:
            text += f"probe {'under way' if state.breaker == 'probing' else 'at ' + _time(state.until)})"
        parts.append(text)
    if state.breaker != "closed" and settings.failover:
        parts.append(f"{settings.failover} sends in its place")
    if settings.rate:
        parts.append(f"rate {settings.rate[0]}/{format_duration(settings.rate[1])}")
    if state.learned:
        parts.append(f"learned limit {state.learned:.3g}/s")
    if state.pause > clock.now():
        parts.append(f"pauses until {_time(state.pause)}")
    if settings.max_in_flight:
        parts.append(f"{in_flight} of {settings.max_in_flight} calls at once")
    parts.append(f"{jobs} jobs queued")
    return "  ".join([parts[0], "; ".join(parts[1:])])


def _time(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ms / 1000))
