"""The People API over HTTP: what is known of a person, how old it is, and who may ask."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import repeat
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from redis import Redis
from structlog.testing import capture_logs

from adapter.app import check
from adapter.people.bounded_sockets import BoundedSockets
from adapter.people.caches import CachedDocument, MemcachedCache, MemoryCache, RedisCache, Seal, build_cache
from adapter.people.document import Document
from adapter.sources.segment.signature import prove
from freshgate.errors import SettingsError
from freshgate.settings import Settings, SourceSettings
from freshgate.state import keys
from freshgate.state.store import fcall
from freshgate.telemetry import metrics
from tests.engine.world import START, World
from tests.harness.receiver import Serve, serving

SECRET = "abc123"
TOKEN = "a token of the tests"
ADA = "ada@example.com"
AUTH = {"Authorization": f"Bearer {TOKEN}"}


def settings(**changes: Any) -> Settings:
    sources = {
        "shop": SourceSettings(kind="segment", secrets=(SECRET,), tokens=("t",)),
        "other": SourceSettings(kind="segment", secrets=(SECRET,), tokens=("t",), id_space="other"),
    }
    return Settings(pii_key="for tests", sources=sources, **({"api_tokens": ("old", TOKEN)} | changes))


@pytest.fixture
def serve(redis: Redis) -> Iterator[Serve]:
    with serving(redis) as serve:
        yield serve


@pytest.fixture
def client(serve: Serve) -> FlaskClient:
    return serve(settings())


NUMBER = iter(range(10**6))
STARTED = time.time() - 5


def post(client: FlaskClient, source: str = "shop", ago_s: int = 0, **element: Any) -> None:
    """One event of Segment, which occurred so long ago."""
    number = next(NUMBER)
    # Each a millisecond later than the one before, whatever the clock says.
    moment = datetime.fromtimestamp(STARTED - ago_s + number / 1000, UTC).isoformat(timespec="milliseconds")
    body = json.dumps({"messageId": f"m{number}", "timestamp": moment, **element}).encode()
    response = client.post(f"/webhooks/{source}", data=body, headers=prove(SECRET, body))
    assert response.get_json()["accepted"] == 1


def identify(client: FlaskClient, user: str = "ada", **traits: Any) -> None:
    post(client, type="identify", userId=user, traits=traits)


def add_to_cart(client: FlaskClient, product: str, ago_s: int = 0, user: str = "ada") -> None:
    properties = {"product_id": product, "name": product.title(), "price": 12.5, "quantity": 2}
    post(client, ago_s=ago_s, type="track", event="Product Added", userId=user, properties=properties)


def get(client: FlaskClient, path: str, **query: str) -> Any:
    response = client.get(f"/api/people/{path}", headers=AUTH, query_string=query)
    assert response.status_code == 200, response.get_json()
    assert response.headers["Cache-Control"] == "no-store"
    return response.get_json()


def test_what_is_known_is_shown_with_its_age_and_source(client: FlaskClient) -> None:
    identify(client, email=ADA, firstName="Ada")
    add_to_cart(client, "lamp", ago_s=60)
    person = get(client, "ada")
    email = person["fields"]["email"]
    assert (email["value"], email["source"], email["trust"]) == (ADA, "shop", "server")
    assert 0 <= email["age_s"] < 3600
    (line,) = person["cart"]
    assert (line["product"]["product_id"], line["quantity"], line["source"]) == ("lamp", 2, "shop")
    assert line["age_s"] >= 59
    assert person["consent"] == {
        "unsubscribed": None,
        "bounced": None,
        "spam": None,
        "marketing": True,
        "transactional": True,
    }


@pytest.mark.parametrize("searched_id", ["ada", ADA, "ADA@example.com", "phone", " ada "])
def test_a_person_is_found_by_any_id(client: FlaskClient, searched_id: str) -> None:
    post(client, type="identify", userId="ada", anonymousId="phone", traits={"email": ADA})
    assert get(client, searched_id)["person"] == get(client, "ada")["person"]


def test_an_event_shows_at_once_and_the_newest_value_wins(client: FlaskClient) -> None:
    for name in ("Ada", "Augusta"):
        identify(client, firstName=name)
        assert get(client, "ada")["fields"]["first_name"]["value"] == name
    post(client, ago_s=3600, type="identify", userId="ada", traits={"firstName": "Older"})
    assert get(client, "ada")["fields"]["first_name"]["value"] == "Augusta"


def test_a_merge_shows_what_both_ids_were_told(client: FlaskClient) -> None:
    post(client, type="track", event="Product Viewed", anonymousId="phone", properties={"product_id": "lamp"})
    assert "first_name" not in get(client, "phone")["fields"]
    identify(client, firstName="Ada")
    post(client, type="identify", userId="ada", anonymousId="phone", traits={})
    assert {"first_name", "view"} <= get(client, "phone")["fields"].keys()


def test_fresh_for_says_of_each_field_whether_it_is_fresh(client: FlaskClient) -> None:
    identify(client, firstName="Ada")
    add_to_cart(client, "lamp", ago_s=7200)
    person = get(client, "ada", fresh_for="profile.first_name:365d,cart:1h")
    assert person["fields"]["first_name"]["fresh"] is True
    assert person["cart"][0]["fresh"] is False
    assert "fresh" not in get(client, "ada")["fields"]["first_name"]
    assert get(client, "ada", fresh_for="3h")["cart"][0]["fresh"] is True


@pytest.mark.parametrize("fresh_for", ["soon", "email:", "email:1x", ",".join(["a:1h"] * 51)])
def test_an_age_that_cannot_be_read_is_the_callers_fault(client: FlaskClient, fresh_for: str) -> None:
    response = client.get("/api/people/ada", headers=AUTH, query_string={"fresh_for": fresh_for})
    assert response.status_code == 400
    assert "fresh_for" in response.get_json()["error"]


def test_recent_actions_come_newest_first_and_fifty_at_most(client: FlaskClient) -> None:
    for number in range(55):
        add_to_cart(client, f"p{number}", ago_s=100 - number)
    post(client, ago_s=500, type="track", event="Product Viewed", userId="ada", properties={"product_id": "late"})
    recent = get(client, "ada/recent")["recent"]
    assert len(recent) == 50
    assert [entry["at"] for entry in recent] == sorted((entry["at"] for entry in recent), reverse=True)
    assert (recent[0]["event"], recent[0]["source"]) == ("Product Added", "shop")


def test_an_unsubscribe_is_shown_as_consent(client: FlaskClient) -> None:
    identify(client, email=ADA)
    post(client, type="track", event="Unsubscribed", userId="ada", properties={"email": ADA})
    consent = get(client, "ada")["consent"]
    assert consent["unsubscribed"] and (consent["marketing"], consent["transactional"]) == (False, True)


def test_what_the_owner_of_a_mailbox_refused_is_not_shown_of_its_alias(client: FlaskClient) -> None:
    identify(client, email="ada+shop@example.com")
    identify(client, user="owner", email=ADA)
    post(client, type="track", event="Unsubscribed", userId="owner", properties={"email": ADA})
    assert get(client, "ada")["consent"]["unsubscribed"] is None


@pytest.mark.parametrize("path", ["nobody", "nobody/recent", "nobody@example.com", "a/b/c"])
def test_whom_nobody_knows_is_404(client: FlaskClient, path: str) -> None:
    assert client.get(f"/api/people/{path}", headers=AUTH).status_code == 404


def test_an_id_of_any_form_is_looked_up(client: FlaskClient) -> None:
    for user in ("a/b", "ä ö", "100%", "x" * 200):
        identify(client, user, firstName="Ada")
        assert client.get("/api/people/" + user.replace("%", "%25"), headers=AUTH).status_code == 200, user
    assert client.get("/api/people/" + "x" * 600, headers=AUTH).status_code == 400


def test_the_same_id_in_two_shops_is_two_persons(client: FlaskClient) -> None:
    identify(client, firstName="Ada")
    post(client, source="other", type="identify", userId="ada", traits={"firstName": "Other"})
    names = [get(client, "ada", shop=shop)["fields"]["first_name"]["value"] for shop in ("main", "other")]
    assert names == ["Ada", "Other"]
    assert client.get("/api/people/ada?shop=none", headers=AUTH).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer \xff"},
    ],
)
@pytest.mark.parametrize("path", ["ada", "ada/recent"])
def test_whoever_has_no_token_learns_nothing(client: FlaskClient, headers: dict[str, str], path: str) -> None:
    identify(client, firstName="Ada")
    response = client.get(f"/api/people/{path}", headers=headers)
    assert response.status_code == 401
    assert b"Ada" not in response.data


def test_a_flood_of_strangers_is_not_a_flood_of_lines(client: FlaskClient) -> None:
    with capture_logs() as lines:
        for number in range(5):
            client.get("/api/people/ada", headers={"Authorization": f"Bearer {number}"})
    assert [line["event"] for line in lines] == ["people_refused"]


def test_each_of_several_tokens_is_valid(client: FlaskClient) -> None:
    identify(client, firstName="Ada")
    assert client.get("/api/people/ada", headers={"Authorization": "bearer old"}).status_code == 200


def test_without_tokens_the_api_does_not_exist(serve: Serve) -> None:
    client = serve(settings(api_tokens=()))
    assert client.get("/api/people/ada", headers={"Authorization": "Bearer "}).status_code == 404


def test_a_token_that_asks_too_often_is_told_when_to_come_again(serve: Serve) -> None:
    client = serve(settings(api_rate=(3, 60_000)))
    identify(client, firstName="Ada")
    statuses = [client.get("/api/people/ada", headers=AUTH).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    response = client.get("/api/people/ada/recent", headers=AUTH)
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert client.get("/api/people/ada", headers={"Authorization": "Bearer old"}).status_code == 200


def looks(result: str) -> float:
    return float(metrics.PEOPLE_CACHE.labels(result)._value.get())


@pytest.mark.parametrize("cache", ["memory", "redis", "off"])
def test_a_cache_spares_work_and_never_shows_what_is_over(serve: Serve, cache: str) -> None:
    client = serve(settings(people_cache=cache))
    identify(client, firstName="Ada")
    hits, ages = looks("hit"), REGISTRY.get_sample_value("freshgate_people_cache_age_seconds_count") or 0
    values = [get(client, "ada")["fields"]["first_name"]["value"] for _ in range(2)]
    assert values == ["Ada", "Ada"]
    assert (looks("hit") > hits) == (cache != "off")
    # How old what it answered with was, once for each.
    assert (REGISTRY.get_sample_value("freshgate_people_cache_age_seconds_count") or 0) - ages == looks("hit") - hits
    identify(client, firstName="Augusta")
    assert get(client, "ada")["fields"]["first_name"]["value"] == "Augusta"


@pytest.mark.parametrize("by_address", [False, True])
def test_after_a_restore_the_cache_shows_nothing_of_what_was_lost(
    client: FlaskClient, redis: Redis, by_address: bool
) -> None:
    def change(name: str) -> None:
        if by_address:
            event = "Unsubscribed" if name == "lost" else "Email Marked as Spam"
            post(client, type="track", event=event, properties={"email": ADA})
        else:
            identify(client, firstName=name)

    def shown() -> Any:
        person = get(client, "ada")
        return person["consent"] if by_address else person["fields"]["first_name"]["value"]

    identify(client, firstName="Ada", email=ADA)
    copy: dict[Any, Any] = {key: redis.dump(key) for key in redis.scan_iter()}
    change("lost")
    lost = shown()
    for key in redis.scan_iter():
        redis.delete(key)
    for key, value in copy.items():
        redis.restore(key, 0, value)
    # As many changes as were lost, so that each record has the revision that it had.
    change("new")
    assert shown() != lost


def test_two_arrivals_of_one_millisecond_are_two_versions(redis: Redis) -> None:
    world, versions = World(redis), set()
    for email in ("ada@example.com", "augusta@example.com"):
        world.record(world.event("Identify", user="ada", email=email, at=START))
        reply: Any = fcall(redis, "person", keys.shop("main"), world.now, "", "", keys.person_id("main", "ada"))
        # Without what is said of the addresses.
        versions.add(re.findall(rb"\bu\S+", reply[2])[0])
    assert len(versions) == 2


def test_a_cache_in_memory_is_bounded() -> None:
    cache = MemoryCache(max_documents=2)
    for key in ("a", "b", "c"):
        cache.put(entry(key))
    assert [cache.get(key) is not None for key in ("a", "b", "c")] == [False, True, True]


def entry(key: str) -> Any:
    return CachedDocument(key, "1", Document("u1", {}, [], {}), 1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: raw[:-1],
        lambda raw: raw[:20] + b"x" + raw[21:],
        lambda raw: raw[16:],
        lambda raw: Seal(b"another key").close(entry("main:ada")),
        lambda raw: Seal(b"key").close(entry("main:eve")),
    ],
)
def test_a_cache_that_lies_is_not_believed(redis: Redis, damage: Callable[[bytes], bytes]) -> None:
    cache = RedisCache(redis, Seal(b"key"))
    cache.put(entry("main:ada"))
    assert cache.get("main:ada") == entry("main:ada")
    raw: Any = redis.get(keys.PEOPLE_CACHE + "main:ada")
    redis.set(keys.PEOPLE_CACHE + "main:ada", damage(raw))
    assert cache.get("main:ada") is None


class SilentServer:
    """Accepts connections, and answers each command with the parts that `answer` yields: with none, for ever.

    ended  is set once the other side has given up on an answer
    """

    def __init__(self, answer: Callable[[bytes], Iterator[bytes]] | None = None) -> None:
        self._answer = answer
        self.ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                self.connections.append(self._listener.accept()[0])
            except OSError:
                return
            if self._answer:
                threading.Thread(target=self._talk, args=(self.connections[-1],), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        assert self._answer
        with suppress(OSError):
            while command := connection.recv(65536):
                for part in self._answer(command.split(b" ")[1].strip()):
                    connection.sendall(part)
        self.ended.set()

    def close(self) -> None:
        self._listener.close()


def test_a_memcached_that_hangs_costs_its_timeout_once(serve: Serve) -> None:
    server = SilentServer()
    client = serve(settings(people_cache=f"memcached://127.0.0.1:{server.port}"))
    identify(client, firstName="Ada")
    failures = looks("failed")
    for _ in range(5):
        assert get(client, "ada")["fields"]["first_name"]["value"] == "Ada"
    # More than one only where this took longer than the pause.
    assert looks("failed") > failures
    assert len(server.connections) <= looks("failed") - failures
    server.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"VALUE\r\n",
        b"VALUE KEY x y\r\n",
        b"VALUE other 0 1\r\nx\r\nEND\r\n",
        b"VALUE KEY 0 -5\r\nEND\r\n",
        b"SERVER_ERROR out of memory storing object\r\n",
        b"\0" * 100 + b"\r\n",
    ],
)
def test_a_memcached_that_talks_nonsense_costs_no_answer(serve: Serve, answer: bytes) -> None:
    server = SilentServer(lambda key: iter([answer.replace(b"KEY", key)]))
    client = serve(settings(people_cache=f"memcached://127.0.0.1:{server.port}"))
    identify(client, firstName="Ada")
    assert get(client, "ada")["fields"]["first_name"]["value"] == "Ada"
    assert server.connections
    server.close()


def trickle(_key: bytes) -> Iterator[bytes]:
    while True:
        time.sleep(0.01)
        yield b"x"


@pytest.mark.parametrize("answer", [trickle, lambda key: repeat(b"x" * 65536)])
def test_a_memcached_whose_answer_has_no_end_is_given_up(
    serve: Serve, answer: Callable[[bytes], Iterator[bytes]]
) -> None:
    server = SilentServer(answer)
    client = serve(settings(people_cache=f"memcached://127.0.0.1:{server.port}"))
    identify(client, firstName="Ada")
    assert get(client, "ada")["fields"]["first_name"]["value"] == "Ada"
    assert server.ended.wait(10)
    server.close()


def test_a_resolver_that_hangs_costs_the_timeout() -> None:
    release = threading.Event()
    with pytest.raises(TimeoutError):
        BoundedSockets(0.05, lambda *_: [release.wait(30)]).getaddrinfo("cache.example", 11211)
    assert not release.is_set()
    release.set()


def test_a_memcached_that_is_stopped_costs_no_answer(serve: Serve, free_port: Callable[[], int]) -> None:
    client = serve(settings(people_cache=f"memcached://127.0.0.1:{free_port()}"))
    identify(client, firstName="Ada")
    assert get(client, "ada")["fields"]["first_name"]["value"] == "Ada"


@pytest.mark.parametrize("cache", ["", "disk", "memcached://", "memcached://host", "memory://x", "redis://host:6379"])
def test_an_unknown_cache_does_not_start_and_is_named(cache: str) -> None:
    with pytest.raises(SettingsError, match=r"people_cache.*memcached://127\.0\.0\.1:11211"):
        check(settings(people_cache=cache))


def test_the_setting_makes_the_cache_that_it_names(redis: Redis) -> None:
    assert isinstance(build_cache("memcached://[::1]:11211", redis, b"key"), MemcachedCache)
