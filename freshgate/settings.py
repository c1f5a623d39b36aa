"""The settings: frozen structs, each of whose fields says what it means. docs/SETTINGS.md is the reference.

`settings_file.py` reads them from freshgate.toml and the environment; everyone is handed the part that it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from freshgate.ids import JUNK_IDS

# What is never printed, and warned of where it stands in the settings file.
Secret = Annotated[str, msgspec.Meta(title="secret")]
Secrets = Annotated[tuple[str, ...], msgspec.Meta(title="secret")]
# At most n in a window: (n, window in milliseconds). Written "10/1h".
Cap = tuple[int, int]
# Mails of the first day, how many times as many each further day, and at how many a day it is over. Written
# "50/d x2 to 20000/d".
Ramp = tuple[int, float, int]


class SourceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One webhook endpoint: `[sources.<name>]`. All of `secrets`, `tokens` and `write_keys` are valid at once."""

    # The CDP's dialect, a key of `adapter.sources.SOURCES`; the table's name where it is not set.
    kind: str
    # Keys that sign the body, or whole values of the header Authorization, as the kind has it.
    secrets: Secrets = ()
    # Values of the header X-Freshgate-Token.
    tokens: Secrets = ()
    # Sources that share it mean the same person by the same user id, and the same order by the same order id.
    id_space: str = "main"
    # "browser": its key stands in a page, where anybody can read it.
    trust: Literal["server", "browser"] = "server"
    # The largest body, in bytes, and the longest batch. None is the kind's own (`SourceKind.max_bytes`).
    max_bytes: int | None = None
    max_elements: int = 4000
    # Ids that name nobody, whatever their case.
    junk_ids: tuple[str, ...] = JUNK_IDS
    # Kind `tracking`: the write keys of SDKs, and the pages that may use one; () allows every page.
    write_keys: Secrets = ()
    allowed_origins: tuple[str, ...] = ()
    # trust = "browser": hosts that links and pictures of its events may name; () is those of `allowed_origins`.
    link_hosts: tuple[str, ...] = ()
    # Events, email addresses and recorded bytes, of the source and of an IP address. None is the default of
    # `adapter/ingest/limits.py` for browser keys, and no limit for servers.
    rate: Cap | None = None
    rate_per_ip: Cap | None = None
    addresses: Cap | None = None
    addresses_per_ip: Cap | None = None
    recorded_bytes: Cap | None = None
    recorded_bytes_per_ip: Cap | None = None
    # Kind `mparticle`: the GDPR purposes whose refusal unsubscribes; () is all of them.
    consent_purposes: tuple[str, ...] = ()
    # Kind `mparticle`: the environments whose batches are read; () is all of them.
    environments: tuple[str, ...] = ()
    # Kind `tealium`: variables of the data layer that hold the user id and the person's own address, best first.
    user_id_keys: tuple[str, ...] = ("customer_id", "user_id")
    email_keys: tuple[str, ...] = ("customer_email", "email_address", "email")
    # Kind `tealium`: whether GET with the event in the query is taken.
    allow_get: bool = False


class TriggerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Overrides of a declared trigger: `[triggers.<name>]`. None keeps what the catalog says.

    `freshgate.Trigger` explains the fields. Durations in milliseconds.
    """

    enabled: bool | None = None
    delay: int | None = None
    settle: int | None = None
    max_age: int | None = None
    cap: Cap | None = None
    unknown: Literal["hold", "resend"] | None = None
    template_id: str | None = None
    # Of its fallbacks, in the order in which the catalog declares them.
    fallback_template_ids: tuple[str, ...] = ()
    kind: Literal["transactional", "marketing"] | None = None
    asm_group_id: int | None = None
    # The account that sends its mails, a name of `[esps.<name>]`.
    esp: str | None = None


class EspSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account at an ESP: `[esps.<name>]`."""

    # A key of `workers.esp.ESPS`; the table's name where it is not set.
    kind: str = "sendgrid"
    api_key: Secret = ""
    # The sandbox, unless it is set.
    base_url: str = "http://127.0.0.1:8025"
    from_email: str = "shop@example.com"
    from_name: str = ""
    # The hard deadline of one call, in seconds.
    timeout_s: float = 10.0
    # Calls of one worker process at once, and mails of one template in a call where the ESP takes several.
    concurrency: int = 32
    batch: int = 100
    # Over all workers: mails in a time, and calls at once. None is no limit, or the kind's own.
    rate: Cap | None = None
    max_in_flight: int | None = None
    # Marketing mails in a time, and how that grows from day to day; None sends them as they come.
    pace: Cap | None = None
    ramp: Ramp | None = None
    # How long the breaker stays open before its first probe.
    breaker_wait: int = 5000
    # The account that sends while the breaker is open.
    failover: str | None = None
    # Whether real mail may leave; without it, base_url must be on this machine.
    live: bool = False
    # Patterns such as "*@example.com": mail to anybody else is rejected. () allows every address.
    only_to: tuple[str, ...] = ()
    # Networks such as "10.0.0.0/8" that the host's name may lead to, beside the public internet.
    allow_networks: tuple[str, ...] = ()
    # Hooks: the URL, which is a secret. Kind `webhook`: the key that signs, "whsec_…"; two while one replaces another.
    url: Secret = ""
    signing_secret: Secret = ""
    # Kind `resend`: one mail a call, under its own key; without it several, and a call in doubt stays in doubt.
    idempotent: bool = True
    # Kind `postmark`: the message stream; the server's default where it is empty.
    message_stream: str = ""
    # Kind `smtp`: the server; without a host, the sandbox. A port of 0 is that of `tls`: 587, 465, or 25.
    host: str = ""
    port: int = 0
    username: str = ""
    password: Secret = ""
    # None is "starttls"; "none" on this machine, and nowhere else.
    tls: Literal["starttls", "implicit", "none"] | None = None
    # Signs by DKIM where a domain is set.
    dkim_domain: str = ""
    dkim_selector: str = ""
    dkim_key_file: str = ""
    # Kinds `resend`, `postmark`, `ses`: templates stored at the ESP, or those of the catalog.
    templates: Literal["stored", "catalog"] = "stored"
    # Kinds `ses` and `lambda`: the region, where the host does not name it; the function's name or ARN; the
    # configuration set.
    region: str = ""
    function: str = ""
    configuration_set: str = ""
    # Kind `mailchimp_marketing`: the audience, and what a member becomes who is new to it.
    list_id: str = ""
    status_if_new: Literal["subscribed", "pending", "transactional", "unsubscribed"] = "transactional"
    # Kind `sendgrid`: `sandbox_mode` checks mails and sends none; the others are as SendGrid's own, if not set.
    sandbox_mode: bool = False
    categories: tuple[str, ...] = ()
    click_tracking: bool | None = None
    open_tracking: bool | None = None
    # What verifies the ESP's webhook at /feedback/<name>, as its kind has it; all are valid at once.
    feedback_secrets: Secrets = ()
    # Kind `mailchimp_transactional`: that webhook's URL as it stands at Mailchimp, which signs it.
    feedback_url: str = ""
    # Kind `ses`: the ARN of the SNS topic that carries it.
    feedback_topic: str = ""
    # How long a send that may have left waits for the ESP's word before it is sent again (ms).
    feedback_wait: int = 600_000
    # Soft bounces in a row after which an address gets no mail.
    soft_bounces: int = 5
    # Shares of the mails of an hour above which the account's marketing mail is held; 1 turns that off.
    bounce_limit: float = 0.1
    complaint_limit: float = 0.01

    @property
    def wants_feedback(self) -> bool:
        return bool(self.feedback_secrets or self.feedback_topic)


class OutcomeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a shop hears what became of its mails: `[outcomes.<id space>]`."""

    # A key of `workers.outcomes.DESTINATIONS`; `segment` is its HTTP tracking API, which other CDPs have, too.
    kind: Literal["segment", "webhook"] = "segment"
    # Of the API, without /v1/batch, or of the webhook; the sandbox, unless it is set.
    url: str = ""
    # Kind `segment`: the write key of the source. Kind `webhook`: as that of an ESP account.
    write_key: Secret = ""
    signing_secret: Secret = ""
    # Of `freshgate.outcomes.EVENTS`; () is all of them.
    events: tuple[str, ...] = ()
    # Whether the recipient's address goes along.
    include_address: bool = False
    # How many may wait; beyond that the oldest go.
    backlog: int = 100_000
    # Outcomes in a time; None is no limit.
    rate: Cap | None = None
    # The hard deadline of one call, in seconds.
    timeout_s: float = 10.0
    # As that of an ESP account.
    allow_networks: tuple[str, ...] = ()


class AskSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source of truth that the catalog asks: `[asks.<name>]`. `freshgate.Ask` declares it."""

    # What stands before the path of its URL, where that is another host than the catalog's.
    base_url: str = ""
    # The value of `header`, such as "Bearer …"; without it no header is sent.
    secret: Secret = ""
    header: str = "Authorization"
    # Networks such as "10.0.0.0/8" that the host's name may lead to, beside the public internet.
    allow_networks: tuple[str, ...] = ()
    # Requests of one worker process at once.
    concurrency: int = 32
    # How long its host is left alone after it failed five times in a row, before the next one tries.
    breaker_wait: int = 5000


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings. Durations in milliseconds."""

    sources: Mapping[str, SourceSettings] = {}
    triggers: Mapping[str, TriggerSettings] = {}
    esps: Mapping[str, EspSettings] = {}
    outcomes: Mapping[str, OutcomeSettings] = {}
    asks: Mapping[str, AskSettings] = {}
    # The Python package with EVENTS and TRIGGERS.
    catalog: str = "catalog"
    # Empty: `make run` starts an embedded Valkey.
    redis_url: str = ""
    # The Redis of RQ's queues, beside a Cluster.
    queue_redis_url: str = ""
    # The key of the hashes of addresses; no process starts without one.
    pii_key: Secret = ""
    # Where readers reach the receiver, for links to unsubscribe; empty is this machine, which no live account takes.
    public_url: str = ""
    # Keys of those links: the first seals, all open. () derives one from `pii_key`.
    unsubscribe_secrets: Secrets = ()
    # Where the receiver, the sandbox and the metrics listen; a metrics port of 0 turns that endpoint off.
    host: str = "127.0.0.1"
    port: int = 8080
    sandbox_host: str = "127.0.0.1"
    sandbox_port: int = 8025
    # 0 is 1025 where an account of kind `smtp` sends to the sandbox, else off.
    sandbox_smtp_port: int = 0
    sandbox_password: Secret = ""
    # Whether the sandbox reports to /feedback what became of each mail, as ESPs do.
    sandbox_reports: bool = False
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 9108
    worker_metrics_port: int = 9109
    timers_metrics_port: int = 9110
    # Proxies before the receiver that add to X-Forwarded-For; 0 ignores the header.
    trusted_proxies: int = 0
    # Worker processes for each ESP account.
    worker_processes: int = 1
    # gunicorn's processes, and the threads of each, which most events do not need: adapter/server/tasks.py.
    receiver_workers: int = 2
    receiver_threads: int = 2
    # An order this much older than the cart's newest activity still cancels the cart mail.
    order_grace: int = 300_000
    # How far apart events of one id are at most that belong to one session.
    session_window: int = 1_800_000
    # Whether an address is an identity too. It only ever withholds mail.
    email_identity: bool = True
    # "proven": mail goes to addresses that a server gave; "any": marketing mail also to those that only a page gave.
    page_addresses: Literal["proven", "any"] = "proven"
    # Mails to one address, over all triggers.
    address_cap: Cap = (10, 3_600_000)
    # Where traces go; empty turns them off. And the share of the requests that is traced, 0 to 1.
    otlp_endpoint: str = ""
    trace_ratio: float = 0.05
    # Bearer tokens of the People API, all valid at once; without one it does not exist.
    api_tokens: Secrets = ()
    # Requests of one token.
    api_rate: Cap = (600, 60_000)
    # "memory", "redis", "off", or "memcached://HOST:PORT".
    people_cache: str = "memory"
    # Where the People API listens as a process of its own, on `host`; 0 has the receiver serve it.
    people_port: int = 0
    people_metrics_port: int = 9111
    # Its gunicorn processes; each has `receiver_threads` threads.
    people_workers: int = 1
    # The folder of `make run`: data, logs, secrets, metrics.
    var: str = "var"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    # When the embedded Valkey syncs: once a second, or at each write.
    durability: Literal["process", "disk"] = "process"


def secret_fields(struct: type[msgspec.Struct]) -> frozenset[str]:
    """Names of the struct's fields that hold a secret, or several."""
    return frozenset(field.name for field in msgspec.structs.fields(struct) if field.type in (Secret, Secrets))
