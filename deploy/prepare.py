"""Before the first `docker compose up`: makes up the secrets, and copies .env.example to .env. Python alone is enough.

What exists already is left as it is, so running it again is safe. docker-compose.yml mounts the files one by one.
"""

import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(root: Path = ROOT) -> int:
    """Says each file that it made."""
    folder = root / "deploy" / "secrets"
    folder.mkdir(mode=0o700, exist_ok=True)
    # The folder keeps other users of this machine out. The files themselves must be readable for the users that the
    # containers run as, since Compose mounts them with the owner and mode that they have here.
    folder.chmod(0o700)
    made = [name for name, text in contents(folder) if write(folder / name, text, 0o444)]
    env = root / ".env"
    if write(env, (root / ".env.example").read_text(encoding="utf-8"), 0o600):
        made.append(".env")
    print(f"made {', '.join(made)}" if made else "everything is there already")
    print("next: docker compose up")
    return 0


def contents(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and text of each file; the two about Redis belong together."""
    for name in ("pii_key", "segment_secrets", "segment_tokens", "esp_api_key", "grafana_password"):
        yield name, f"{secrets.token_urlsafe(32)}\n"
    # These two sign nothing: the secret is the whole header that they send.
    for name in ("tealium_secrets", "mparticle_secrets"):
        yield name, f"Bearer {secrets.token_urlsafe(32)}\n"
    # Either both or none: a password that only one of them knows keeps everything from starting.
    if (folder / "redis_url").exists() != (folder / "redis_acl").exists():
        sys.exit(f"{folder}: redis_url and redis_acl hold one password; bring the missing one back, or remove both")
    password = secrets.token_urlsafe(32)
    yield "redis_acl", f"user default on >{password} ~* &* +@all\n"
    yield "redis_url", f"redis://:{password}@redis:6379/0\n"


def write(file: Path, text: str, mode: int) -> bool:
    """Whether the file was new. The mode is what it says, whatever the umask."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as new:
        new.write(text)
    file.chmod(mode)
    return True


if __name__ == "__main__":
    sys.exit(main())
