"""A real Chromium, a shop's page on 127.0.0.1, and a running Freshgate that the page posts to."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.harness.system import System

if TYPE_CHECKING:
    from selenium import webdriver

KEY = "a-page-key"
PROGRAMS = ("chromium", "chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=800,600"),
)


class Shop:
    """Serves a page at each path: `tag`, which loads the script from Freshgate, and then `body`.

    scripts  a folder whose files are served at the root
    """

    def __init__(self, freshgate: str) -> None:
        self.tag = f'<script src="{freshgate}/freshgate.js" data-write-key="{KEY}"></script>'
        self.body = ""
        self.scripts: Path | None = None
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if shop.scripts and (file := shop.scripts / self.path.lstrip("/")).is_file():
                    self._answer(file.read_bytes(), "text/javascript")
                    return
                page = f"<!doctype html><title>{urlsplit(self.path).path}</title>{shop.tag}{shop.body}".encode()
                self._answer(page, "text/html; charset=utf-8")

            def _answer(self, text: bytes, kind: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    environ = {
        "FRESHGATE_SOURCES__PAGE__KIND": "tracking",
        "FRESHGATE_SOURCES__PAGE__WRITE_KEYS": KEY,
        "FRESHGATE_SOURCES__PAGE__TRUST": "browser",
        "FRESHGATE_PAGE_ADDRESSES": "any",
        "FRESHGATE_TRIGGERS__ABANDONED_CART__DELAY": "2s",
        "FRESHGATE_TRIGGERS__ABANDONED_CART__SETTLE": "1s",
    }
    with System(environ) as system:
        yield system


@pytest.fixture
def shop(system: System) -> Iterator[Shop]:
    shop = Shop(f"http://127.0.0.1:{system.ports['PORT']}")
    yield shop
    shop.close()


@pytest.fixture(scope="session")
def chromium() -> tuple[str, str]:
    """Paths of browser and driver, from Debian's packages. Without them the test is skipped; in CI it fails."""
    if not all(map(shutil.which, PROGRAMS)):
        try:
            packages = ["chromium", "chromium-driver"]
            subprocess.run(["apt-get", "install", "-qq", "-y", *packages], check=True, capture_output=True, timeout=100)
        except (OSError, subprocess.SubprocessError) as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"Chromium cannot be installed: {error}")
    browser, driver = (str(shutil.which(program)) for program in PROGRAMS)
    return browser, driver


@pytest.fixture
def browser(chromium: tuple[str, str], tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """A browser with an empty profile."""
    driving = pytest.importorskip("selenium.webdriver")
    options = driving.ChromeOptions()
    options.binary_location = chromium[0]
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    driver = driving.Chrome(options=options, service=driving.ChromeService(chromium[1]))
    driver.set_script_timeout(20)
    yield driver
    driver.quit()
