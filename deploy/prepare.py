"""Prepares `docker compose up`: generates the secrets, and copies what you may edit. Needs Python only.

Existing files stay as they are, so run it again after an upgrade. docker-compose.yml mounts the files one by one.
"""

import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# File of the repository → its copy, which git ignores: an upgrade never meets what you wrote.
COPIES = {
    ".env.example": ".env",
    "freshgate.toml": "deploy/local/freshgate.toml",
    "deploy/valkey.conf": "deploy/local/valkey.conf",
    "dashboards/alertmanager/alertmanager.yml": "deploy/local/alertmanager/alertmanager.yml",
}


def main(root: Path = ROOT) -> int:
    """Prints the name of each file that it wrote."""
    folder = root / "deploy" / "secrets"
    folder.mkdir(mode=0o700, exist_ok=True)
    # The folder keeps other users of this machine out. The files must be readable for the users that the containers
    # run as, since Compose mounts them with the owner and mode that they have here.
    folder.chmod(0o700)
    written = [name for name, text in contents(folder) if write_new(folder / name, text, 0o444)]
    for source, copy in COPIES.items():
        (root / copy).parent.mkdir(parents=True, exist_ok=True)
        # .env is read by Compose; the others by the containers' users.
        mode = 0o600 if copy == ".env" else 0o644
        if write_new(root / copy, (root / source).read_text(encoding="utf-8"), mode):
            written.append(copy)
    print(f"made {', '.join(written)}" if written else "everything is there already")
    for warning in warnings(root):
        print(f"warning: {warning}")
    print("next: docker compose up -d --build")
    return 0


def warnings(root: Path) -> Iterator[str]:
    """What nobody should go live with, once the demo's profile is off."""
    env = (root / ".env").read_text(encoding="utf-8")
    profiles = "".join(line for line in env.splitlines() if line.startswith("COMPOSE_PROFILES="))
    is_demo = "demo" in profiles
    file = COPIES["dashboards/alertmanager/alertmanager.yml"]
    lines = (root / file).read_text(encoding="utf-8").splitlines()
    routes = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    if not is_demo and "//pager:" in routes:
        yield f"{file} names the demo's pager: nobody is woken. Write your receivers"
    if not is_demo and (silent := receivers_of_nobody(routes)):
        yield f"{file}: nobody hears of what goes to {', '.join(silent)}, which names no way to anybody"
    if not is_demo and "backup" not in profiles:
        yield "COMPOSE_PROFILES in .env has no profile backup: the store is never copied, unless you do so yourself"


def receivers_of_nobody(routes: str) -> list[str]:
    """The receivers without any way to reach somebody. Alertmanager takes them, and never says that it tells nobody."""
    section = routes.partition("\nreceivers:\n")[2]
    section = re.split(r"^\w", section, maxsplit=1, flags=re.MULTILINE)[0]
    return [
        name
        for name, ways in re.findall(r"- name: *['\"]?([^'\"\n]+)['\"]?\n((?:(?!\s*- name:).*\n?)*)", section)
        if not re.search(r"\w_configs:(?! *\[ *\] *$)", ways, re.MULTILINE)
    ]


def contents(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and text of each file. Ends the program if only one of the two files for Redis exists."""
    for name in ("pii_key", "segment_secrets", "segment_tokens", "esp_api_key", "api_tokens", "grafana_password"):
        yield name, f"{secrets.token_urlsafe(32)}\n"
    # Tealium and mParticle do not sign: their secret is the whole value of a header.
    for name in ("tealium_secrets", "mparticle_secrets"):
        yield name, f"Bearer {secrets.token_urlsafe(32)}\n"
    # Both or none: if only one of them had the new password, nothing would start.
    if (folder / "redis_url").exists() != (folder / "redis_acl").exists():
        sys.exit(f"{folder}: redis_url and redis_acl hold one password; bring the missing one back, or remove both")
    password = secrets.token_urlsafe(32)
    yield "redis_acl", f"user default on >{password} ~* &* +@all\n"
    yield "redis_url", f"redis://:{password}@redis:6379/0\n"


def write_new(file: Path, text: str, mode: int) -> bool:
    """Writes the file unless it exists, with this mode whatever the umask. Returns whether it did."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as output:
        output.write(text)
    file.chmod(mode)
    return True


if __name__ == "__main__":
    sys.exit(main())
