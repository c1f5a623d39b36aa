"""Makes the secrets of a first run, so that nobody has to write any: files in var/secrets/, readable by the owner only.

The launcher calls it; `freshgate/local_settings.py` names the files in the environment of each process.
"""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from adapter.sources import find_kind
from freshgate.local_settings import missing_secrets
from freshgate.settings import Settings

# How the names of such files end.
FEEDBACK = ".feedback_secret"


def make_secrets(settings: Settings, var: Path) -> None:
    """Create the secrets that are neither in the settings nor in var/secrets/. Raises SettingsError."""
    folder = var / "secrets"
    for name, _ in missing_secrets(settings):
        prefix = _prefix(settings, name)
        file = folder / name
        if prefix is None:
            # The source was of another kind before; with this file it would ask its callers for this secret, too.
            file.unlink(missing_ok=True)
            continue
        if file.exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        secret = f"{prefix}{secrets.token_urlsafe(24)}"
        if name.endswith(FEEDBACK):
            secret = _feedback_secret(settings.esps[name.split(".")[1]].kind, file)
        _write(file, secret)


def _feedback_secret(kind: str, file: Path) -> str:
    """What verifies the sandbox's reports of an account of this kind; what signs SendGrid's is written beside it."""
    if kind == "resend":
        return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    if kind != "sendgrid":
        return secrets.token_urlsafe(24)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    signer = file.with_name(file.name.removesuffix(FEEDBACK) + ".feedback_key")
    signer.unlink(missing_ok=True)
    _write(signer, pem.decode().rstrip())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(public).decode()


def _write(file: Path, secret: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as new:
        new.write(f"{secret}\n")


def _prefix(settings: Settings, name: str) -> str | None:
    """What stands before the random part; None where the source's kind has no such secret."""
    table, _, rest = name.partition(".")
    if table != "source":
        return ""
    source, _, field = rest.rpartition(".")
    return find_kind(source, settings.sources[source]).first_secrets.get(field)
