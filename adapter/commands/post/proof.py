"""The headers that authenticate a body, as the CDP of a source sends them; `replay.py` posts with them.

Each kind declares how it proves a body: `SourceKind.prove`.
"""

from __future__ import annotations

from adapter.sources import find_kind
from freshgate.errors import SettingsError
from freshgate.settings import SourceSettings
from freshgate.settings_parsing import setting_name


def proof(name: str, source: SourceSettings, body: bytes) -> dict[str, str]:
    """The headers of one body. Raises SettingsError without a secret or token."""
    token = {"X-Freshgate-Token": source.tokens[0]} if source.tokens else {}
    kind = find_kind(name, source)
    secrets: tuple[str, ...] = getattr(source, kind.proven_by)
    if secrets:
        return {**kind.prove(secrets[0], body), **token}
    if not token:
        key = setting_name("sources", name, kind.proven_by)
        raise SettingsError(
            f"{key}: neither these nor tokens are set here; write the receiver's, so that bodies can be signed"
        )
    return token
