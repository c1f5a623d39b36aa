"""What the sandbox reports is what the receiver verifies and reads, for every kind; `tests/system/test_reports.py` has
the whole loop."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from adapter.feedback import configure_feedback
from adapter.feedback.base import FeedbackRequest
from adapter.local.secrets import make_secrets
from freshgate.local_settings import REPORTING_KINDS, load_local_settings
from freshgate.settings import EspSettings, Settings
from workers.sandbox.reports import EVENTS, SIGNERS, Report, Reporter, ReportError, fate_of

SEND = "a1b2c3d4e5f60718293a4b5c"


def test_the_kinds_that_report_are_those_for_which_secrets_are_made() -> None:
    assert tuple(sorted(SIGNERS)) == REPORTING_KINDS


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """As `make run` has them, with an account of each kind and reports switched on."""
    monkeypatch.setenv("FRESHGATE_CONFIG", "/dev/null")
    monkeypatch.setenv("FRESHGATE_VAR", str(tmp_path))
    monkeypatch.setenv("FRESHGATE_REDIS_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("FRESHGATE_SANDBOX_REPORTS", "true")
    for kind in REPORTING_KINDS:
        monkeypatch.setenv(f"FRESHGATE_ESPS__{kind.upper()}__KIND", kind)
    make_secrets(load_local_settings(), tmp_path)
    return load_local_settings()


@pytest.mark.parametrize("kind", REPORTING_KINDS)
@pytest.mark.parametrize("event", EVENTS)
def test_each_event_of_each_kind_is_verified_and_read(settings: Settings, kind: str, event: str) -> None:
    report = Report(kind, event, "ada@example.com", SEND, int(time.time()))
    file = Path(settings.var) / "secrets" / f"esp.{kind}.feedback_key"
    key = file.read_bytes() if file.exists() else b""
    if (kind, event) == ("resend", "unsubscribed"):
        with pytest.raises(ReportError):
            SIGNERS[kind](report, settings.esps[kind], key)
        return
    signed = SIGNERS[kind](report, settings.esps[kind], key)
    reader = configure_feedback(settings)[kind]
    request = FeedbackRequest(signed.body, dict(signed.headers), {}, time.time())
    reader.verify(request)
    (read,) = reader.read(request)
    assert (read.kind, read.email, read.send_id, read.at) == (event, "ada@example.com", SEND, report.at * 1000)


def test_secrets_are_the_same_at_the_next_start(settings: Settings) -> None:
    make_secrets(load_local_settings(), Path(settings.var))
    assert load_local_settings().esps == settings.esps


def test_without_the_setting_nothing_reports(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRESHGATE_SANDBOX_REPORTS")
    assert not any(esp.wants_feedback for esp in load_local_settings().esps.values())


@pytest.mark.parametrize(
    ("address", "fate"),
    [("ada@example.com", "delivered"), ("bounced+x@example.com", "bounced"), ("COMPLAINED@example.com", "complained")],
)
def test_an_address_says_what_becomes_of_its_mail(address: str, fate: str) -> None:
    assert fate_of(address) == fate


def test_real_accounts_are_never_reported_for() -> None:
    esp = EspSettings(kind="sendgrid", base_url="https://api.sendgrid.com", live=True, feedback_secrets=("x",))
    mail = {"provider": "sendgrid", "to": "ada@example.com", "custom_args": {"freshgate_send": SEND}}
    assert urlsplit(esp.base_url).hostname == "api.sendgrid.com"
    with pytest.raises(ReportError, match="FRESHGATE_SANDBOX_REPORTS=true"):
        Reporter(Settings(esps={"sendgrid": esp})).report(mail, "bounced")
