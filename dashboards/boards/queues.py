"""Board 2, the machinery: do the workers keep up, do timers fire, is Redis well?

Most of it is read from Redis by the timers process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards.boards.base import QUEUE, TRIGGER, Board, Panel
from dashboards.panels import falling, lines, numbers, rising, text
from dashboards.promql import SCRAPE_TIME, UP, WINDOW, highest, pick, quantile, ratio, total
from freshgate.telemetry import metrics

QUANTILES = (0.5, 0.95, 0.99)


def _queues() -> Sequence[Panel]:
    jobs = highest(metrics.QUEUE_JOBS, ["queue"], **QUEUE)
    # A worker counts what it takes, and nobody what is put in: that is what was taken, and by how much the queue grew.
    taken = total(metrics.QUEUE_WAIT, (), "count")
    growth = f"sum(max by (queue) (deriv({pick(metrics.QUEUE_JOBS, **QUEUE)}[{WINDOW}])))"
    falls = f"-max by (queue) (deriv({pick(metrics.QUEUE_JOBS, **QUEUE)}[{WINDOW}]))"
    workers = highest(metrics.WORKERS, ["queue", "state"], **QUEUE)
    busy = f"sum(max by (queue) (avg_over_time({pick(metrics.WORKERS, state='busy', **QUEUE)}[{WINDOW}])))"
    alive = f"sum({highest(metrics.WORKERS, ['queue', 'state'], state='~idle|busy', **QUEUE)})"
    return [
        lines(
            "Age of the oldest job",
            text(
                "Do the workers keep up? Age is what a shopper feels; depth is only how it looks.",
                "is a worker alive, and busy with what? Else start more of them: runbook QueueOld.",
            ),
            "s",
            [(highest(metrics.QUEUE_AGE, ["queue"], **QUEUE), "{{queue}}")],
            limits=rising(2.5, 1),
        ),
        lines(
            "Jobs that wait",
            text(
                "How deep is each queue? The timers stop at 20, so that more than that comes from webhooks.",
                "compare with the arrivals beside it: a burst drains, a rise that does not end is a lack of workers.",
            ),
            "short",
            [(jobs, "{{queue}}")],
            limits=rising(1000, 100),
        ),
        lines(
            "Arrival and completion",
            text(
                "Is more coming in than is worked on? Arrivals are what was taken plus the growth of the queue.",
                "arrivals above completions for minutes: more workers.",
            ),
            "ops",
            [(f"clamp_min({taken} + {growth}, 0)", "arriving"), (taken, "taken by a worker")],
        ),
        lines(
            "Time until the queue is empty",
            text(
                "At the present rate, when is the backlog worked off? It is cut off at 100 s a job where none falls.",
                "it grows while nothing arrives: the workers are stuck.",
            ),
            "s",
            [(f"{jobs} / clamp_min({falls}, 0.01)", "{{queue}}")],
            limits=rising(600, 60),
        ),
        lines(
            "Wait for a worker",
            text("How long did jobs wait, as the workers saw it?", "more workers, or a stuck one: runbook QueueOld."),
            "s",
            [(quantile(q, metrics.QUEUE_WAIT), f"p{q * 100:.0f}") for q in QUANTILES],
            limits=rising(2.5, 1),
        ),
        lines(
            "Jobs that failed within the last hour",
            text(
                "Did jobs raise? What they carried comes back from the timers after 30 s.",
                "the worker's log says `redis_unavailable` or a traceback.",
            ),
            "short",
            [(highest(metrics.QUEUE_FAILED, ["queue"], **QUEUE), "{{queue}}")],
            limits=rising(1),
        ),
        lines(
            "Workers by state",
            text(
                "How many are there, and what do they do? One is silent when it has not been heard of for a minute.",
                "runbook NoWorker; a silent one that stays was killed and is forgotten by itself.",
            ),
            "short",
            [(workers, "{{queue}} {{state}}")],
            stacked=True,
        ),
        lines(
            "Busy share of the workers",
            text(
                "Is there room for a burst?",
                "above 80 % for long there is none: more workers. A slow ESP keeps workers busy, too.",
            ),
            "percentunit",
            [
                (
                    ratio(busy, alive),
                    "busy",
                )
            ],
            limits=rising(0.8, 0.6),
        ),
    ]


def _timers() -> Sequence[Panel]:
    return [
        lines(
            "Lateness of timers",
            text(
                "Do timers fire when they are due, by Redis' clock?",
                "a full queue holds them back on purpose; else runbook TimersLate.",
            ),
            "s",
            [(quantile(q, metrics.TIMER_LATENESS), f"p{q * 100:.0f}") for q in QUANTILES],
            limits=rising(2.5, 0.5),
        ),
        lines(
            "Overdue timers",
            text("Are timers due that nobody has claimed?", "is a timers process alive? Runbook TimersLate."),
            "short",
            [
                (highest(metrics.TIMERS_OVERDUE), "overdue by more than 1 s"),
                (highest(metrics.TIMERS_OLDEST_OVERDUE), "lateness of the oldest, s"),
            ],
            limits=rising(100, 10),
        ),
        lines(
            "Timers that are set, and leases",
            text(
                "How many mails wait for their moment, and how many are under way?",
                "leases that rise without end: workers die at work. See the worker's log.",
            ),
            "short",
            [(highest(metrics.TIMERS_WAITING), "waiting"), (highest(metrics.LEASES), "under way")],
        ),
        lines(
            "Put off, by reason",
            text(
                "Why are sends put off? `moved` and `parked` are the daily business.",
                "`retry`: the ESP. `contended`, `internal`: the worker's log. `held`: `python -m workers release`.",
            ),
            "ops",
            [(total(metrics.RETIMED, ["reason"], **TRIGGER), "{{reason}}")],
            stacked=True,
        ),
        numbers(
            "For the operator",
            text(
                "What waits for a decision: sends of unknown fate, dead ones, elements in quarantine, holds?",
                "`python -m workers unknown list`, `python -m workers dead list`, `python -m workers release`.",
            ),
            "short",
            [
                (highest(metrics.SENDS_TO_REVIEW, ["state"]), "{{state}}"),
                (highest(metrics.QUARANTINED), "in quarantine"),
                (highest(metrics.HOLDS), "holds"),
            ],
            limits=rising(1),
        ),
        numbers(
            "Timers that came due",
            text("How many timers are claimed a second?", "none for long, while some are overdue: runbook TimersLate."),
            "ops",
            [(total(metrics.TIMERS_CLAIMED), "claimed")],
        ),
    ]


def _redis() -> Sequence[Panel]:
    used = highest(metrics.REDIS_MEMORY)
    return [
        numbers(
            "Redis is fit for state",
            text(
                "Does it answer, write its append-only file, and never throw keys away? Each must be 1.",
                "0 under any of them loses what shoppers did: runbooks RedisDown, RedisNotPersisting, RedisEvicting.",
            ),
            "short",
            [
                (f"min({pick(metrics.REDIS_UP)})", "answers"),
                (f"min({pick(metrics.REDIS_AOF)})", "append-only file"),
                (f"min({pick(metrics.REDIS_AOF_OK)})", "could be written"),
                (f"min({pick(metrics.REDIS_NOEVICTION)})", "no eviction"),
            ],
            limits=falling(1),
        ),
        numbers(
            "Processes that answer",
            text("Which of our processes can be scraped?", "runbook ScrapeDown."),
            "short",
            [(f"sum by (job) ({pick(UP, job='~freshgate.*')})", "{{job}}")],
            limits=falling(1),
        ),
        lines(
            "Redis: memory",
            text(
                "How full is it? Above 85 % of its limit the receiver answers 503, so that workers still can settle.",
                "runbook RedisFull.",
            ),
            "bytes",
            [(used, "used"), (f"{highest(metrics.REDIS_MAX_MEMORY)} > 0", "limit")],
        ),
        lines(
            "Redis: speed",
            text(
                "How long do some 400 small commands take together?",
                "a slow disk, a swapping host, or somebody who runs KEYS on it.",
            ),
            "s",
            [(highest(metrics.REDIS_LOOK), "one look")],
            limits=rising(0.5, 0.1),
        ),
        lines(
            "Redis: trouble",
            text(
                "Were keys thrown away, or did writes wait for the disk?",
                "evictions lose state: runbook RedisEvicting. Delayed syncs: a faster disk.",
            ),
            "ops",
            [
                (f"max(rate({pick(metrics.REDIS_EVICTED)}[{WINDOW}]))", "keys evicted"),
                (f"max(rate({pick(metrics.REDIS_DELAYED_FSYNCS)}[{WINDOW}]))", "delayed syncs"),
            ],
            limits=rising(0.1),
        ),
        lines(
            "Redis: connections",
            text("How many are connected?", "a rise without end is a leak: which process restarts?"),
            "short",
            [(highest(metrics.REDIS_CLIENTS), "connections")],
        ),
        lines(
            "Scrapes",
            text(
                "How long does reading the metrics take? It must not grow with what was ever processed.",
                "the receiver's folder of metric files holds those of many dead processes: restart it.",
            ),
            "s",
            [(f"max by (job) ({pick(SCRAPE_TIME, job='~freshgate.*')})", "{{job}}")],
            limits=rising(1, 0.25),
        ),
        lines(
            "Spans lost",
            text(
                "Do traces reach their collector? Mails leave whether they do or not.",
                "the collector is down or too slow: docs/TRACING.md. Sample less, by `trace_ratio`.",
            ),
            "ops",
            [(total(metrics.SPANS_LOST, ["job"]), "{{job}}")],
            limits=rising(1, 0.001),
        ),
    ]


def _rows() -> Mapping[str, Sequence[Panel]]:
    return {"Queues and workers": _queues(), "Timers and the desk": _timers(), "Redis": _redis()}


BOARD = Board(
    "freshgate-queues",
    "Freshgate: queues and workers",
    "Do the workers keep up, do timers fire, is Redis well?",
    ("queue", "trigger"),
    _rows,
)
