"""The script for pages as it is served: small, valid, cached. `test_pages.py` runs it in a browser."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from adapter.routes.snippet import FILE, add_snippet


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    app = Flask("pages")
    add_snippet(app)
    yield app.test_client()


def test_it_is_small_and_the_same_however_it_is_sent(client: FlaskClient) -> None:
    packed = client.get("/freshgate.js", headers={"Accept-Encoding": "gzip, br"})
    assert len(packed.data) < 3000
    assert packed.headers["Content-Encoding"] == "gzip"
    plain = client.get("/freshgate.js")
    assert "Content-Encoding" not in plain.headers
    assert gzip.decompress(packed.data) == plain.data == FILE.read_bytes()
    assert plain.mimetype == "text/javascript"


def test_a_browser_asks_again_after_an_hour_and_gets_nothing_twice(client: FlaskClient) -> None:
    first = client.get("/freshgate.js")
    assert "max-age=3600" in first.headers["Cache-Control"]
    response = client.get("/freshgate.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (response.status_code, response.data) == (304, b"")


def test_any_page_may_load_it(client: FlaskClient) -> None:
    headers = client.get("/freshgate.js", headers={"Origin": "https://shop.example.com"}).headers
    assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert headers["Vary"] == "Accept-Encoding"


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_it_is_javascript() -> None:
    subprocess.run(["node", "--check", str(FILE)], check=True, capture_output=True)
