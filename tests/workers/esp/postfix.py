"""A real Postfix from Debian, on a port and with a queue of its own, which relays to a server of the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from tests.harness.ports import free_ports

SERVICES = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
# Recipients whom it refuses → its words for it.
REFUSALS = {
    "gone@example.com": "550 5.1.1 no such user here",
    "later@example.com": "450 4.2.0 greylisted",
    "elsewhere@example.com": "554 5.7.1 relay access denied",
    # Its own words follow: "554 5.7.1 <denied@example.com>: Recipient address rejected: Access denied".
    "denied@example.com": "REJECT",
}
# A mail with this subject is refused as spam is, once its text is there: "550 5.7.1 no such offers".
SPAM = "Buy now"
SETTINGS = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file_prefixes = {folder}
maillog_file = {folder}/log
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.example.com
mydestination =
local_recipient_maps =
alias_maps =
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{relay}
disable_dns_lookups = yes
smtp_host_lookup = native
smtpd_tls_cert_file = {cert}
smtpd_tls_key_file = {cert}
smtpd_tls_security_level = encrypt
smtpd_recipient_restrictions = check_recipient_access inline:{{{refusals}}}, permit_mynetworks, reject
smtpd_peername_lookup = no
smtputf8_enable = yes
header_checks = regexp:{folder}/header_checks
"""


class Postfix:
    """A context manager. `certificate` is a PEM with key, `relay` the port to which its mails go."""

    def __init__(self, certificate: Path, relay: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="freshgate-postfix-"))
        (self.port,) = free_ports(1)
        # Its processes run as another user.
        self._folder.chmod(0o755)
        cert = self._folder / "cert.pem"
        cert.write_bytes(certificate.read_bytes())
        cert.chmod(0o600)
        for name in ("queue", "data"):
            (self._folder / name).mkdir(mode=0o755)
        shutil.chown(self._folder / "data", "postfix")
        refusals = ", ".join(f"{{ {address} = {words} }}" for address, words in REFUSALS.items())
        settings = SETTINGS.format(folder=self._folder, relay=relay, cert=cert, refusals=refusals)
        (self._folder / "header_checks").write_text(f"/^Subject: {SPAM}/ REJECT no such offers\n")
        (self._folder / "main.cf").write_text(settings)
        (self._folder / "master.cf").write_text(SERVICES.format(port=self.port))

    def __enter__(self) -> Postfix:
        self._call("start", check=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._call("stop", check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        with suppress(OSError):
            return (self._folder / "log").read_text(encoding="utf-8", errors="replace")
        return ""

    def _call(self, action: str, *, check: bool) -> None:
        command = ["postfix", "-c", str(self._folder), action]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert not check or done.returncode == 0, f"{done.stderr}\n{self.log()}"


def require_postfix() -> None:
    """Debian's package, without a configuration of its own. Without it the test is skipped; in CI it fails."""
    if shutil.which("postfix"):
        return
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    preset = b"postfix postfix/main_mailer_type select No configuration\n"
    command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "postfix"]
    try:
        subprocess.run(["debconf-set-selections"], input=preset, check=True, capture_output=True, timeout=30)
        subprocess.run(command, env=environ, check=True, capture_output=True, timeout=110)
    except (OSError, subprocess.SubprocessError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"postfix cannot be installed: {error}")
