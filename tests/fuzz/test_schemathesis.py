"""Schemathesis builds requests from the OpenAPI document of a running receiver: none gets a fault or no response."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.system import System

HEADER = "Basic eDp4"
TOKEN = "t"
NAMES = ["segment", "mparticle", "tealium", "rudderstack", "hightouch", "customerio", "customerio_reporting"]
SOURCES = {
    "FRESHGATE_SOURCES__MPARTICLE__SECRETS": HEADER,
    "FRESHGATE_SOURCES__TEALIUM__SECRETS": HEADER,
    "FRESHGATE_SOURCES__TEALIUM__ALLOW_GET": "true",
    "FRESHGATE_SOURCES__RUDDERSTACK__SECRETS": HEADER,
    "FRESHGATE_SOURCES__HIGHTOUCH__SECRETS": HEADER,
    # A token suffices here, since schemathesis cannot sign. customerio_reporting accepts signed requests only, so it
    # replies 401; `test_mutants.py` signs.
    "FRESHGATE_SOURCES__CUSTOMERIO__TOKENS": TOKEN,
    "FRESHGATE_SOURCES__CUSTOMERIO_REPORTING__SECRETS": "s",
    "FRESHGATE_SOURCES__SDK__KIND": "tracking",
    # The user name in HEADER.
    "FRESHGATE_SOURCES__SDK__WRITE_KEYS": "x",
}
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
)

# Nobody can invent a person, a link's token or an account that reports: 404.
NAMED_BY_NOBODY = ("/feedback/", "/api/people/", "/unsubscribe/")
pytestmark = pytest.mark.tools


def test_no_request_that_the_document_allows_or_forbids_gets_a_fault_or_no_answer(tmp_path: Path) -> None:
    with System(SOURCES) as system:
        document = system.request("PORT", "GET", "/openapi.json").json
        for path in ("/webhooks/{source}", "/webhooks/{source}/{audience}/{turn}"):
            document["paths"][path]["parameters"][0]["schema"]["enum"] = NAMES
        file = tmp_path / "openapi.json"
        file.write_text(json.dumps(document), encoding="utf-8")
        command = [str(Path(sys.executable).with_name("st")), "run", str(file), "--no-color"]
        command += ["--url", f"http://127.0.0.1:{system.ports['PORT']}", "-H", f"Authorization: {HEADER}"]
        command += ["-H", f"X-Freshgate-Token: {TOKEN}"]
        command += ["--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--max-examples", "60"]
        command += ["--seed", "1", "--max-response-time", "10"]
        completed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110)
        assert completed.returncode == 0, completed.stdout
        unknown = re.findall(r"^  - [A-Z]+ (\S+)$", completed.stdout, re.MULTILINE)
        assert [path for path in unknown if not path.startswith(NAMED_BY_NOBODY)] == []
        assert system.request("PORT", "GET", "/healthz").status == 200
