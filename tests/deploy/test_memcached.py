"""The People API's cache in a real Memcached, from Debian: it helps, and its death costs nothing but time."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.adapter.routes.test_people import get, identify, looks, settings
from tests.harness.receiver import serving

pytestmark = pytest.mark.tools


def memcached() -> str:
    """The path of memcached, from Debian's package. Without it the test is skipped; in CI it fails."""
    if not shutil.which("memcached"):
        try:
            command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "memcached"]
            subprocess.run(command, check=True, capture_output=True, timeout=100)
        except (OSError, subprocess.SubprocessError) as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"memcached cannot be installed: {error}")
    return str(shutil.which("memcached"))


@pytest.fixture
def server(free_port: Callable[[], int]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    process = subprocess.Popen([memcached(), "-u", "nobody", "-l", "127.0.0.1", "-p", str(port), "-m", "64"])
    yield process, port
    process.kill()
    process.wait()


def test_documents_come_from_memcached_and_are_never_those_that_are_over(
    redis: Redis, server: tuple[subprocess.Popen[bytes], int]
) -> None:
    process, port = server
    with serving(redis) as serve:
        client: FlaskClient = serve(settings(people_cache=f"memcached://127.0.0.1:{port}"))
        identify(client, firstName="Ada")
        hits = looks("hit")
        # It may still be starting.
        for _ in range(1000):
            get(client, "ada")
            if looks("hit") > hits:
                break
        assert looks("hit") > hits
        identify(client, firstName="Augusta")
        assert get(client, "ada")["fields"]["first_name"]["value"] == "Augusta"
        process.kill()
        process.wait()
        identify(client, firstName="King")
        assert get(client, "ada")["fields"]["first_name"]["value"] == "King"
