"""Faults of operation: what each does to the series, what pages for it and within how many minutes.

`test_faults.py` holds them true with promtool and with Alertmanager's inhibitions, and dashboards/FAULTS.md to them.
Series are in promtool's notation with one value a minute; each fault begins in minute 90.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from tests.dashboards import cases
from tests.dashboards.cases import HEALTH, error, sends, unauthentic

BEGINS = 90
LASTS = 20
WORKER_UP = 'up{job="freshgate-worker",instance="w"}'
TIMERS_UP = 'up{job="freshgate-timers",instance="t"}'
# A healthy system with all its processes.
SYSTEM: Mapping[str, str] = {**HEALTH, WORKER_UP: "1+0", TIMERS_UP: "1+0"}
# What a worker serves itself, and what the timers read from Redis.
OF_WORKER = [
    name
    for name in SYSTEM
    if name.startswith(
        (
            "freshgate_received_to",
            "freshgate_occurred_to",
            "freshgate_sends_total",
            "freshgate_contradicted",
            "freshgate_queue_wait",
            "freshgate_esp_",
        )
    )
]
OF_TIMERS = [
    name
    for name in SYSTEM
    if name.startswith(("freshgate_queue_jobs", "freshgate_queue_oldest", "freshgate_workers", "freshgate_timers"))
    or name.startswith(("freshgate_desk", "freshgate_holds", "freshgate_redis", "freshgate_sends_late"))
]


def changed(series: str, growth: str) -> str:
    """The healthy series until the fault, then one that begins again at 0 and grows by so much a minute."""
    healthy = SYSTEM.get(series, "0+0")
    start, _, step = healthy.partition("+")
    last = float(start) + float(step) * BEGINS
    return f"{start}+{step}x{BEGINS} {last:g}+{growth}x200"


def waves(height: int) -> str:
    """All that waits is under way every other minute, as when an account pauses for as long as the ESP asks for."""
    return f"0+0x{BEGINS} " + " ".join(f"{height * number} 0" for number in range(1, LASTS))


def gone(series: str) -> str:
    return changed(series, "0").rpartition(" ")[0] + " stale _x200"


class Fault(NamedTuple):
    """pages: alert → within how many minutes somebody is woken. silenced: pages that it keeps quiet.

    shows: what the reader sees first. tickets: alert → within how many minutes it is there in the morning.
    """

    name: str
    series: Mapping[str, str]
    pages: Mapping[str, int]
    silenced: frozenset[str]
    shows: str
    tickets: Mapping[str, int] = MappingProxyType({})


# No mail is accepted any more, and each that comes due waits.
NO_MAILS: Mapping[str, str] = {
    **{
        name: changed(name, "0")
        for name in (cases.RECEIVED, cases.RECEIVED_5S, cases.OCCURRED, cases.OCCURRED_5S, sends("sent"))
    },
    cases.LATE_NOW: changed(cases.LATE_NOW, "10"),
}
# Once an account's breaker is open, a probe at most twice a minute is all that is called.
BREAKER_OPENS: Mapping[str, str] = {
    **NO_MAILS,
    cases.CALLED: changed(cases.CALLED, "1"),
    cases.BREAKER: f"0+0x{BEGINS} 1+0x200",
    cases.waiting("breaker_open"): changed(cases.waiting("breaker_open"), "10"),
}

FAULTS = (
    Fault(
        "the ESP answers 429",
        {
            **NO_MAILS,
            # The account pauses as long as the ESP asks for, here 5 s.
            cases.LATE_NOW: waves(20),
            error("retry"): changed(error("retry"), "12"),
            cases.CALLED: changed(cases.CALLED, "12"),
            cases.LIMIT: f"0+0x{BEGINS} 1+0x200",
            cases.waiting("limited"): waves(20),
        },
        {"EspFailing": 4},
        frozenset({"MailsLate"}),
        "*Failed ESP calls*, *Mails waiting, by account* and *Sends late* are red; *ESP errors by class* grows in "
        "`retry`, and *Breakers open* is 0.",
    ),
    Fault(
        "the ESP answers 500",
        {**BREAKER_OPENS, error("retry"): changed(error("retry"), "1")},
        {"BreakerOpen": 2},
        frozenset({"MailsLate"}),
        "*Failed ESP calls*, *Mails waiting, by account* and *Sends late* are red; *Breakers open* names the account; "
        "*ESP errors by class* says `retry`.",
    ),
    Fault(
        "the ESP hangs",
        {
            **BREAKER_OPENS,
            error("ambiguous"): changed(error("ambiguous"), "1"),
            sends("unknown"): changed(sends("unknown"), "1"),
        },
        {"BreakerOpen": 2},
        frozenset({"MailsLate"}),
        "The same, but *ESP errors by class* says `ambiguous`, and *For the operator* counts the mails that may have "
        "left.",
    ),
    Fault(
        "all workers stopped, or hang",
        {
            **{name: gone(name) for name in OF_WORKER},
            WORKER_UP: changed(WORKER_UP, "0").replace("1+0x200", "0+0x200"),
            # A worker that hangs is silent once its heartbeat is older than a minute.
            cases.IDLE: f"1+0x{BEGINS + 1} 0+0x200",
            cases.SILENT: f"0+0x{BEGINS + 1} 1+0x200",
            cases.AGE: changed(cases.AGE, "60"),
            cases.JOBS: changed(cases.JOBS, "4"),
            cases.LATE_NOW: changed(cases.LATE_NOW, "10"),
            cases.OVERDUE: changed(cases.OVERDUE, "60"),
        },
        {"NoWorker": 3},
        frozenset({"ScrapeDown", "WorkersStuck", "QueueOld", "TimersLate", "MailsLate"}),
        "*Processes up* and *Workers alive* are 0 and red; *Sends late* and *Error budget burn "
        "rate* grow, though no worker reports.",
    ),
    Fault(
        "the timers process stopped, or hangs",
        {**{name: gone(name) for name in OF_TIMERS}, TIMERS_UP: f"1+0x{BEGINS} 0+0x200"},
        {"NoTimers": 3},
        frozenset({"ScrapeDown"}),
        "*Processes up* has a red 0 for the timers; *Oldest job*, *Workers alive*, *Sends late* and *For "
        "the operator* are grey and ask for the timers.",
    ),
    Fault(
        "Redis stopped, or hangs",
        {
            **{name: gone(name) for name in OF_TIMERS if name != cases.REDIS_UP},
            cases.REDIS_UP: f"1+0x{BEGINS} 0+0x200",
            cases.answered(503): changed(cases.answered(503), "60"),
            cases.answered(200): changed(cases.answered(200), "0"),
            **{name: changed(name, "0") for name in (cases.RECEIVED, cases.RECEIVED_5S, sends("sent"))},
        },
        {"RedisDown": 2},
        frozenset({"ReceiverFailing"}),
        "*Processes up* has a red 0 for Redis; *5xx answers* is red; what is read from Redis is "
        "grey; *Requests by status* shows 503, which CDPs repeat.",
    ),
    Fault(
        "a CDP signs with another secret",
        {unauthentic("NotAuthentic"): changed(unauthentic("NotAuthentic"), "50")},
        {"SignaturesFail": 7},
        frozenset(),
        "*401 answers* is red; *Requests rejected with 401* names the source and `NotAuthentic`.",
    ),
    Fault(
        "a CDP sends batches without the token",
        {unauthentic("BatchWithoutToken"): changed(unauthentic("BatchWithoutToken"), "3")},
        {"BatchWithoutToken": 2},
        frozenset(),
        "*401 answers* rises; *Requests rejected with 401* names the source and `BatchWithoutToken`.",
    ),
    Fault(
        "a process crashes again and again, and others go on",
        {cases.STARTED: f"0+0x{BEGINS} 60+60x200"},
        {},
        frozenset(),
        "*Restarts* is red. In the folded row of the processes, *Restarts by process* names it, and *Memory by "
        "process* says whether it grew until then.",
        {"CrashLoop": 4},
    ),
    Fault(
        "a receiver is killed, and another one starts",
        {"freshgate_gap_mails": f"0+0x{BEGINS} 20 0x200", "freshgate_gap_wait_seconds": f"0+0x{BEGINS} 60 0x200"},
        {},
        frozenset(),
        "*After a gap* is yellow: how many mails with a delay wait for what the CDP repeats, and for how long yet. It "
        "is the triggers' `settle`, two minutes if nothing else is set; they leave by themselves.",
    ),
)
