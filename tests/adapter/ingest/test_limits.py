"""How much a key that anybody can read may tell, and whom a limit holds for: over HTTP, on a real Valkey."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from msgspec.structs import replace
from prometheus_client import REGISTRY
from redis import Redis
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from adapter.ingest.limits import SETTINGS, client_network
from freshgate.settings import Settings, SourceSettings
from freshgate.state import keys
from freshgate.telemetry import metrics
from tests.adapter.sources.test_tracking import basic
from tests.harness.receiver import serving

PAGE = SourceSettings(kind="tracking", write_keys=("page-key",), trust="browser")
HOME_IP, OTHER_IP = "8.8.8.8", "9.9.9.9"
Shop = Callable[..., FlaskClient]


def counted(redis: Redis, pattern: str = "*") -> list[str]:
    """The keys under which limits are counted."""
    counters: Any = redis.keys(f"fg:{{main}}:limit:{pattern}")
    return sorted(key.decode() for key in counters)


def kinds(redis: Redis) -> list[str]:
    return [key.split(":")[3] for key in counted(redis)]


@pytest.fixture
def shop(redis: Redis) -> Iterator[Shop]:
    """A receiver behind one proxy. `shop(rate=…)` is a page's source with these settings."""
    with serving(redis) as serve:

        def make(proxies: int = 1, **changes: Any) -> FlaskClient:
            sources = {"page": replace(PAGE, **changes)}
            return serve(Settings(pii_key="for tests", sources=sources, trusted_proxies=proxies))

        yield make


class Page:
    """A visitor's browser; every event has an id of its own."""

    def __init__(self, client: FlaskClient, ip: str = HOME_IP) -> None:
        self._client = client
        self._headers = {**basic("page-key:"), "X-Forwarded-For": ip}
        self._posted = 0

    def tells(self, *emails: str | None, replay: bool = False) -> TestResponse:
        """One call, with an Identify for each address; None is an event without one."""
        batch = []
        for email in emails or (None,):
            self._posted += not replay
            event: dict[str, Any] = {"type": "page", "anonymousId": "x", "messageId": f"{id(self)}-{self._posted}"}
            batch.append(event | ({"type": "identify", "traits": {"email": email}} if email else {}))
        return self._client.post("/v1/batch", json={"batch": batch}, headers=self._headers)

    def is_limited(self, *emails: str | None) -> bool:
        return self.tells(*emails).status_code == 429


def limited(limit: str) -> float:
    return REGISTRY.get_sample_value("freshgate_rate_limited_total", {"source": "page", "limit": limit}) or 0.0


def test_beyond_its_rate_a_source_is_told_when_to_come_again(shop: Shop, redis: Redis) -> None:
    page = Page(shop(rate=(3, 60_000)))
    before = limited("source")
    assert [page.is_limited() for _ in range(5)] == [False, False, False, True, True]
    answer = page.tells()
    assert answer.get_json() == {"code": "rate_limited", "message": "too many requests"}
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert limited("source") == before + 3
    assert redis.llen(f"{keys.person('main', keys.person_id('main', None, 'x'))}:ev") == 3


def test_once_the_time_is_over_it_is_taken_again(shop: Shop, redis: Redis) -> None:
    page = Page(shop(rate=(1, 60_000)))
    assert [page.is_limited() for _ in range(2)] == [False, True]
    # As Redis does it when the minute is over.
    (key,) = counted(redis, "source:*")
    assert 0 < redis.pttl(key) <= 60_000
    redis.delete(key)
    assert not page.is_limited()


def test_a_batch_counts_for_its_events_and_one_that_is_larger_than_the_limit_still_passes(shop: Shop) -> None:
    page = Page(shop(rate=(10, 60_000)))
    # It is recorded in several parts, and counted once.
    assert [page.is_limited(*[None] * 600), page.is_limited()] == [False, True]


def test_one_visitors_flood_leaves_the_others_alone(shop: Shop) -> None:
    client = shop(rate_per_ip=(2, 60_000))
    assert [Page(client).is_limited() for _ in range(3)] == [False, False, True]
    assert not Page(client, OTHER_IP).is_limited()


def test_a_visitor_may_give_so_many_addresses_and_these_again_and_again(shop: Shop, redis: Redis) -> None:
    client = shop(addresses_per_ip=(2, 3_600_000))
    page = Page(client)
    assert [page.is_limited(email) for email in ("a@x.org", "B@x.org", "b@x.org ", "a@x.org")] == [False] * 4
    assert page.is_limited("c@x.org")
    assert not page.is_limited(None)
    assert not Page(client, OTHER_IP).is_limited("c@x.org")
    # No address and no visitor can be read from what is counted.
    (addresses,) = [key for key in counted(redis, "addresses:*") if redis.scard(key) == 2]
    stored = f"{counted(redis)} {redis.smembers(addresses)}"
    assert "x.org" not in stored
    assert HOME_IP not in stored


def test_aliases_of_one_mailbox_count_once(shop: Shop, redis: Redis) -> None:
    page = Page(shop(addresses_per_ip=(1, 3_600_000)))
    aliases = ("ada+1@x.org", "Ada+2@x.org", "ada@x.org")
    assert [page.is_limited(email) for email in aliases] == [False] * 3
    assert page.is_limited("a.da@x.org")
    gmail = Page(shop(addresses_per_ip=(1, 3_600_000)), OTHER_IP)
    assert [gmail.is_limited(email) for email in ("a.da+x@gmail.com", "ada@googlemail.com")] == [False] * 2


def test_a_source_may_give_so_many_addresses_however_many_visitors_it_has(shop: Shop, redis: Redis) -> None:
    client = shop(addresses=(2, 3_600_000))
    ips = (HOME_IP, OTHER_IP, "1.1.1.1")
    assert [Page(client, ip).is_limited(f"{ip}@x.org") for ip in ips] == [False, False, True]
    assert not Page(client, "1.1.1.1").is_limited(None)
    assert limited("source_addresses") >= 1


def test_a_visitor_records_so_many_bytes_and_the_others_do_not_notice(shop: Shop, redis: Redis) -> None:
    client = shop(recorded_bytes_per_ip=(20_000, 3_600_000))
    page = Page(client)
    # Some 0.9 KB an event.
    assert [page.is_limited(*[None] * 30) for _ in range(3)] == [False, True, True]
    answer = page.tells()
    assert (answer.status_code, 3500 < int(answer.headers["Retry-After"]) <= 3600) == (429, True)
    assert not Page(client, OTHER_IP).is_limited()


def test_a_source_records_so_many_bytes_from_however_many_visitors(shop: Shop, redis: Redis) -> None:
    client = shop(recorded_bytes=(10_000, 3_600_000))
    ips = [f"8.8.4.{number}" for number in range(30)]
    statuses = [Page(client, ip).tells().status_code for ip in ips]
    assert statuses == sorted(statuses)
    assert 5 < statuses.count(200) < 20
    assert limited("source_bytes") >= 10


# What the proxy adds to what the visitor sent.
FORWARDED = ["{}", "9.9.9.9, {}", '", {}', '"9.9.9.9, {}', '\\", {}', ",,, {}", "{}:4711", "9.9.9.9:1,{}"]


@pytest.mark.parametrize("forwarded", FORWARDED)
def test_nothing_that_a_visitor_sends_hides_the_address_that_the_proxy_adds(shop: Shop, forwarded: str) -> None:
    client = shop(rate_per_ip=(3, 60_000))
    assert [Page(client, forwarded.format("8.8.4.4")).is_limited() for _ in range(5)] == [False] * 3 + [True] * 2
    assert not Page(client, forwarded.format("8.8.4.5")).is_limited()


def test_an_address_of_ipv6_may_have_a_port_too(shop: Shop) -> None:
    client = shop(rate_per_ip=(2, 60_000))
    forwarded = ["[2a00:1450:1:2::1]:443", "2a00:1450:1:2::2", "[2a00:1450:1:2::3]"]
    assert [Page(client, address).is_limited() for address in forwarded] == [False, False, True]


def test_large_events_cost_what_they_record(shop: Shop, redis: Redis) -> None:
    client = shop(recorded_bytes_per_ip=(50_000, 3_600_000))
    headers = {**basic("page-key:"), "X-Forwarded-For": HOME_IP}
    lines = [{"product_id": f"{number}", "name": "n" * 200, "price": 1} for number in range(100)]
    statuses = []
    for number in range(5):
        event = {
            "type": "track",
            "event": "Cart Viewed",
            "anonymousId": f"x{number}",
            "properties": {"products": lines},
        }
        statuses.append(client.post("/v1/batch", json={"batch": [event]}, headers=headers).status_code)
    assert statuses == [200, 200, 429, 429, 429]


def test_a_page_that_has_used_up_its_bytes_leaves_the_servers_source_alone(redis: Redis) -> None:
    with serving(redis) as serve:
        sources = {
            "page": replace(PAGE, recorded_bytes=(500, 3_600_000)),
            "shop": SourceSettings(kind="segment", tokens=("t",)),
        }
        client = serve(Settings(pii_key="for tests", sources=sources, trusted_proxies=1))
        page = Page(client)
        assert [page.is_limited() for _ in range(2)] == [False, True]
        event = {"type": "track", "event": "Order Completed", "userId": "ada", "properties": {"order_id": "1"}}
        answer = client.post("/webhooks/shop", json=event, headers={"X-Freshgate-Token": "t"})
        assert (answer.status_code, answer.get_json()["accepted"]) == (200, 1)


def test_addresses_in_one_batch_are_no_way_around_it(shop: Shop, redis: Redis) -> None:
    page = Page(shop(addresses_per_ip=(2, 3_600_000)))
    answer = page.tells("a@x.org", "b@x.org", "c@x.org")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3600")
    assert not redis.exists(keys.person("main", keys.person_id("main", None, "x")))
    assert not page.is_limited("a@x.org", "b@x.org")


def test_an_address_in_a_customers_form_counts_too(shop: Shop, redis: Redis) -> None:
    client = shop(addresses_per_ip=(1, 3_600_000))
    headers = {**basic("page-key:"), "X-Forwarded-For": HOME_IP}
    statuses = []
    for email in ("a@x.org", "b@x.org"):
        event = {"type": "track", "event": "Product Added", "userId": "ada", "anonymousId": "x"}
        body = {"batch": [event | {"properties": {"product_id": "p1", "email": email}}]}
        statuses.append(client.post("/v1/batch", json=body, headers=headers).status_code)
    assert statuses == [200, 429]


def test_what_was_refused_is_taken_when_it_comes_again(shop: Shop, redis: Redis) -> None:
    page = Page(shop(rate=(1, 60_000)))
    page.tells()
    assert page.tells().status_code == 429
    redis.delete(*counted(redis))
    assert page.tells(replay=True).status_code == 200
    person = keys.person("main", keys.person_id("main", None, "x"))
    trail: Any = redis.lrange(f"{person}:ev", 0, -1)
    assert [entry.partition(b"\t")[0] for entry in trail] == [b"ok"] * 2


def test_no_job_is_made_for_what_is_refused_and_one_for_what_is_not(shop: Shop, redis: Redis) -> None:
    client = shop(rate=(1, 60_000), trust="server")
    headers = basic("page-key:")
    for user in ("ada", "bob"):
        event = {"userId": user, "event": "Order Completed", "properties": {"order_id": user, "email": f"{user}@x.org"}}
        client.post("/v1/track", json=event, headers=headers)
    queues: Any = redis.keys("rq:queue:*")
    assert [redis.llen(queue) for queue in queues] == [1]


def test_a_page_has_limits_by_itself_and_a_server_has_none(shop: Shop, redis: Redis) -> None:
    Page(shop()).tells("a@x.org")
    assert kinds(redis) == sorted(SETTINGS)
    redis.flushdb()
    Page(shop(trust="server")).tells("a@x.org")
    assert kinds(redis) == []


def test_a_webhook_has_them_where_they_are_set(shop: Shop) -> None:
    client = shop(kind="segment", tokens=("t",), trust="server", rate=(1, 60_000))
    event = {"type": "page", "userId": "ada"}
    answers = [client.post("/webhooks/page", json=event, headers={"X-Freshgate-Token": "t"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1].get_json() == {"error": "too many requests"}
    assert int(answers[1].headers["Retry-After"]) > 0


def test_without_a_trusted_proxy_nobody_can_say_who_he_is(shop: Shop, redis: Redis) -> None:
    client = shop(proxies=0, rate_per_ip=(1, 60_000))
    # The header is ignored, and the address that remains is a proxy's: all visitors would share one limit.
    assert [Page(client, ip).is_limited() for ip in (HOME_IP, HOME_IP)] == [False, False]
    assert kinds(redis) == ["source", "source_bytes"]


def test_whoever_stands_before_the_proxy_cannot_choose_an_address(shop: Shop) -> None:
    client = shop(rate_per_ip=(1, 60_000))
    assert [Page(client, f"{liar}, {HOME_IP}").is_limited() for liar in ("1.1.1.1", "2.2.2.2")] == [False, True]


def test_the_log_names_the_setting_once_in_a_flood(shop: Shop) -> None:
    page = Page(shop(rate=(1, 60_000)))
    with capture_logs() as lines:
        for _ in range(5):
            page.tells()
    (line,) = [line for line in lines if line["event"] == "rate_limited"]
    assert "sources.page.rate (FRESHGATE_SOURCES__PAGE__RATE)" in line["hint"]


@pytest.mark.parametrize(
    ("remote", "network"),
    [
        ("8.8.8.8", "8.8.8.8"),
        ("2001:4860:4860:aaaa::1", "2001:4860:4860:aaaa"),
        ("2001:4860:4860:aaaa:ffff::2", "2001:4860:4860:aaaa"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
        ("127.0.0.1", ""),
        ("10.1.2.3", ""),
        ("100.64.0.1", ""),
        ("fe80::1%eth0", ""),
        ("fd00::1", ""),
        ("", ""),
        ("unix", ""),
    ],
)
def test_whom_a_limit_per_ip_holds_for(remote: str, network: str) -> None:
    assert client_network(remote) == network


def test_every_limit_is_counted() -> None:
    assert tuple(SETTINGS) == metrics.LIMITS
