"""Signs mails by DKIM (RFC 6376, RFC 8463), relaxed/relaxed, with an RSA or an Ed25519 key.

`smtp.py` calls it. Its own, since the usual library works out RSA in Python: 35 ms a mail, against one.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from freshgate.errors import SettingsError
from freshgate.settings import EspSettings
from freshgate.settings_parsing import setting_name

# What a signature covers, where the mail has it. RFC 8058 wants both List-Unsubscribe headers in it.
SIGNED: tuple[str, ...] = (
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
)
SIGNED += ("list-unsubscribe", "list-unsubscribe-post")
# Named once more than they stand there, so that nobody adds a second one.
SINGLE = ("from", "to", "subject", "list-unsubscribe", "list-unsubscribe-post")
# Receivers do not take shorter ones: RFC 8301.
MIN_RSA_BITS = 1024
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
LINE_LENGTH = 72


class Signer:
    """Signs for one domain, by the key that its DNS has at `<selector>._domainkey.<domain>`."""

    def __init__(self, domain: str, selector: str, key: RSAPrivateKey | Ed25519PrivateKey) -> None:
        self._domain, self._selector, self._key = domain, selector, key

    def header(self, mail: bytes, now_s: float) -> bytes:
        """The header DKIM-Signature for a mail whose ends of lines are CRLF; it goes before the mail."""
        head, _, body = mail.partition(b"\r\n\r\n")
        fields = dict(_relaxed_header(field) for field in re.split(rb"\r\n(?![ \t])", head))
        names = [name for name in SIGNED if name in fields]
        algorithm = "rsa-sha256" if isinstance(self._key, RSAPrivateKey) else "ed25519-sha256"
        digest = base64.b64encode(hashlib.sha256(_relaxed_body(body)).digest()).decode()
        tags = [
            f"v=1; a={algorithm}; c=relaxed/relaxed; d={self._domain}; s={self._selector};",
            f"t={int(now_s)}; h={_folded(':'.join([*names, *(name for name in SINGLE if name in names)]), ':')};",
            f"bh={digest};",
            "b=",
        ]
        unsigned = ("DKIM-Signature: " + "\r\n\t".join(tags)).encode()
        # The header itself comes last, without an end of a line.
        signed = b"".join(fields[name] + b"\r\n" for name in names) + _relaxed_header(unsigned)[1]
        return unsigned + _folded(base64.b64encode(self._sign(signed)).decode()).encode() + b"\r\n"

    def _sign(self, text: bytes) -> bytes:
        if isinstance(self._key, RSAPrivateKey):
            return self._key.sign(text, PKCS1v15(), hashes.SHA256())
        return self._key.sign(hashlib.sha256(text).digest())


def signer(name: str, settings: EspSettings) -> Signer | None:
    """The account's signer; None without `dkim_domain`. Raises SettingsError."""
    if not settings.dkim_domain:
        return None
    for field in ("dkim_domain", "dkim_selector"):
        if not NAME.fullmatch(getattr(settings, field)):
            raise SettingsError(
                f"{setting_name('esps', name, field)}: write the part of the key's DNS name, such as s1"
            )
    key_setting = setting_name("esps", name, "dkim_key_file")
    try:
        key = load_pem_private_key(Path(settings.dkim_key_file).read_bytes(), None)
    except OSError as error:
        file = settings.dkim_key_file or "it is empty"
        raise SettingsError(f"{key_setting}: {file}: {error.strerror}; write the file with the private key") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, Ed25519PrivateKey) or (isinstance(key, RSAPrivateKey) and key.key_size >= MIN_RSA_BITS):
        return Signer(settings.dkim_domain, settings.dkim_selector, key)
    advice = "write a file made by `openssl genrsa 2048`"
    raise SettingsError(f"{key_setting}: not a private key in PEM, without a password, RSA or Ed25519; {advice}")


def _relaxed_header(field: bytes) -> tuple[str, bytes]:
    """(name, the header as it is hashed): RFC 6376, section 3.4.2."""
    name, _, value = field.partition(b":")
    lower = name.strip().lower()
    return lower.decode("ascii", "replace"), lower + b":" + re.sub(rb"[ \t\r\n]+", b" ", value).strip()


def _relaxed_body(body: bytes) -> bytes:
    """The body as it is hashed: RFC 6376, section 3.4.4."""
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def _folded(text: str, after: str = "") -> str:
    """The text over several lines; between any two characters, or only behind `after`."""
    if not after:
        return "\r\n\t".join(text[start : start + LINE_LENGTH] for start in range(0, len(text), LINE_LENGTH))
    lines = [""]
    for part in re.findall(rf"[^{after}]+{after}?", text):
        if len(lines[-1]) + len(part) > LINE_LENGTH - len("t=1790000000; h="):
            lines.append("")
        lines[-1] += part
    return "\r\n\t ".join(lines)
