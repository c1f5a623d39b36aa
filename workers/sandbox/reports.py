"""Reports back what became of the mails, as the ESPs' webhooks do: signed, posted to the receiver's /feedback.

`server.py` calls it for each accepted mail and for `POST /reports`. The kinds of SIGNERS report, the others nothing.
"""

from __future__ import annotations

import base64
import hmac
import http.client
import json
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from freshgate.local_settings import is_sandbox
from freshgate.settings import EspSettings, Settings
from freshgate.telemetry import logs

log = logs.get(__name__)

EVENTS = ("delivered", "bounced", "soft_bounced", "complained", "unsubscribed", "opened", "clicked")
MAX_WAITING = 1000
TIMEOUT_S = 5.0


class Report(NamedTuple):
    """One event of one mail of the outbox. `at` in seconds."""

    account: str
    event: str
    to: str
    send_id: str
    at: int


class SignedPost(NamedTuple):
    """A webhook's body, and what proves that it is the ESP's."""

    body: bytes
    headers: Mapping[str, str]


class ReportError(Exception):
    """What was asked for cannot be reported; the text says why."""


def _sendgrid(report: Report, settings: EspSettings, key: bytes) -> SignedPost:
    names = {"bounced": "bounce", "soft_bounced": "bounce", "complained": "spamreport", "unsubscribed": "unsubscribe"}
    names |= {"opened": "open", "clicked": "click"}
    event = {
        "event": names.get(report.event, report.event),
        "email": report.to,
        "timestamp": report.at,
        "freshgate_send": report.send_id,
    }
    if report.event == "soft_bounced":
        event["type"] = "blocked"
    body = json.dumps([event]).encode()
    private = load_pem_private_key(key, None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ReportError("the key in var/secrets is not that of SendGrid's webhook")
    signature = private.sign(str(report.at).encode() + body, ec.ECDSA(SHA256()))
    return SignedPost(
        body,
        {
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": str(report.at),
        },
    )


def _mailchimp_transactional(report: Report, settings: EspSettings, key: bytes) -> SignedPost:
    names = {"bounced": "hard_bounce", "soft_bounced": "soft_bounce", "complained": "spam", "unsubscribed": "unsub"}
    names |= {"opened": "open", "clicked": "click"}
    message = {"email": report.to, "metadata": {"freshgate_send": report.send_id}}
    events = json.dumps([{"event": names.get(report.event, report.event), "ts": report.at, "msg": message}])
    signed = f"{settings.feedback_url}mandrill_events{events}".encode()
    signature = base64.b64encode(hmac.digest(settings.feedback_secrets[0].encode(), signed, "sha1")).decode()
    return SignedPost(urlencode({"mandrill_events": events}).encode(), {"X-Mandrill-Signature": signature})


def _postmark(report: Report, settings: EspSettings, key: bytes) -> SignedPost:
    records: Mapping[str, dict[str, Any]] = {
        "delivered": {"RecordType": "Delivery"},
        "bounced": {"RecordType": "Bounce", "Type": "HardBounce"},
        "soft_bounced": {"RecordType": "Bounce", "Type": "SoftBounce"},
        "complained": {"RecordType": "SpamComplaint"},
        "unsubscribed": {
            "RecordType": "SubscriptionChange",
            "SuppressSending": True,
            "SuppressionReason": "ManualSuppression",
        },
        "opened": {"RecordType": "Open"},
        "clicked": {"RecordType": "Click"},
    }
    record = {**records[report.event], "Recipient": report.to, "Metadata": {"freshgate_send": report.send_id}}
    record["ReceivedAt"] = _iso(report.at)
    return SignedPost(json.dumps(record).encode(), {"X-Freshgate-Token": settings.feedback_secrets[0]})


def _resend(report: Report, settings: EspSettings, key: bytes) -> SignedPost:
    if report.event == "unsubscribed":
        raise ReportError("Resend's webhook of mails knows no unsubscribe")
    bounce = {"bounced": {"type": "Permanent"}, "soft_bounced": {"type": "Transient"}}.get(report.event)
    name = "bounced" if bounce else report.event
    email = {"to": [report.to], "tags": {"freshgate_send": report.send_id}, **({"bounce": bounce} if bounce else {})}
    body = json.dumps({"type": f"email.{name}", "created_at": _iso(report.at), "data": email}).encode()
    secret = base64.b64decode(settings.feedback_secrets[0].removeprefix("whsec_"))
    message_id = f"msg_{report.send_id}_{report.event}"
    signed = f"{message_id}.{report.at}.".encode() + body
    signature = base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
    return SignedPost(
        body, {"svix-id": message_id, "svix-timestamp": str(report.at), "svix-signature": f"v1,{signature}"}
    )


SIGNERS: Mapping[str, Callable[[Report, EspSettings, bytes], SignedPost]] = {
    "mailchimp_transactional": _mailchimp_transactional,
    "postmark": _postmark,
    "resend": _resend,
    "sendgrid": _sendgrid,
}


class Reporter:
    """Reports to one receiver, for the accounts of the settings that lead to this sandbox."""

    def __init__(self, settings: Settings) -> None:
        self._receiver = (settings.host, settings.port)
        self._secrets = Path(settings.var) / "secrets"
        self._accounts = {
            name: esp
            for name, esp in settings.esps.items()
            if is_sandbox(esp.base_url, settings) and esp.kind in SIGNERS and esp.feedback_secrets
        }
        self._waiting: queue.Queue[tuple[Mapping[str, Any], str]] = queue.Queue(MAX_WAITING)
        if self._accounts:
            threading.Thread(target=self._run, name="sandbox-reports", daemon=True).start()

    def accepted(self, mails: list[dict[str, Any]]) -> None:
        """Reports these mails by itself, a moment later. Beyond MAX_WAITING nothing is: it is a sandbox."""
        for mail in mails:
            if self._accounts and not self._waiting.full():
                self._waiting.put_nowait((mail, fate_of(str(mail["to"]))))

    def report(self, mail: Mapping[str, Any], event: str) -> int:
        """The receiver's HTTP status. Raises ReportError."""
        if event not in EVENTS:
            raise ReportError(f'no event {event!r}; "event" is one of {", ".join(EVENTS)}')
        accounts = [name for name, esp in self._accounts.items() if esp.kind == mail["provider"]]
        if not accounts:
            raise ReportError(
                f"no account of kind {mail['provider']} takes reports: set FRESHGATE_SANDBOX_REPORTS=true "
                f"(kinds: {', '.join(SIGNERS)})"
            )
        send_id = str(mail["custom_args"].get("freshgate_send", ""))
        report = Report(accounts[0], event, str(mail["to"]), send_id, int(time.time()))
        esp = self._accounts[report.account]
        file = self._secrets / f"esp.{report.account}.feedback_key"
        signed = SIGNERS[esp.kind](report, esp, file.read_bytes() if file.exists() else b"")
        return self._post(f"/feedback/{report.account}", signed)

    def _post(self, path: str, signed: SignedPost) -> int:
        connection = http.client.HTTPConnection(*self._receiver, timeout=TIMEOUT_S)
        try:
            connection.request("POST", path, signed.body, dict(signed.headers))
            return connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise ReportError(f"the receiver does not answer: {type(error).__name__}") from None
        finally:
            connection.close()

    def _run(self) -> None:
        while True:
            mail, event = self._waiting.get()
            try:
                status = self.report(mail, event)
            except ReportError as error:
                log.warning("report_failed", reason=str(error))
            else:
                if status >= http.client.BAD_REQUEST:
                    log.warning("report_refused", status=status)


def fate_of(address: str) -> str:
    """What becomes of a mail to this address: `bounced@…`, `complained+x@…` and the like say so; else delivered."""
    name = address.partition("@")[0].partition("+")[0].lower()
    return name if name in EVENTS else "delivered"


def _iso(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
