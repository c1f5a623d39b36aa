"""Compares the digests of images in Dockerfile and docker-compose.yml with what registries say, or writes them.

    python3 deploy/images.py check     names each image whose digest differs or is missing, and exits with 1
    python3 deploy/images.py write     writes the registries' digests into both files

A step of each release: docs/RELEASING.md. Needs Docker with buildx, and the network.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = ("Dockerfile", "docker-compose.yml")
# Our own image is built, so no registry has it.
IMAGE = re.compile(r"^(FROM |\s+image: )(?!freshgate:)([\w./-]+:[\w.-]+)(@sha256:[0-9a-f]{64})?", re.MULTILINE)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(image: str) -> str:
    """The digest of the index over all platforms, by the registry. Raises CalledProcessError, ValueError."""
    command = ["docker", "buildx", "imagetools", "inspect", image, "--format", "{{.Manifest.Digest}}"]
    digest = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    if not DIGEST.fullmatch(digest):
        raise ValueError(f"{image}: docker says {digest[:80]!r}, which is not a digest")
    return digest


def compare(text: str, ask: Callable[[str], str]) -> list[str]:
    """What differs from the registry in a file's text, one line an image."""
    faults = []
    for _, image, pinned in IMAGE.findall(text):
        digest = ask(image)
        if pinned != f"@{digest}":
            faults.append(f"{image}: {pinned.removeprefix('@') or 'not pinned'}, the registry has {digest}")
    return faults


def pin(text: str, ask: Callable[[str], str]) -> str:
    """The file's text with the registry's digest behind each image."""
    return IMAGE.sub(lambda match: f"{match[1]}{match[2]}@{ask(match[2])}", text)


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("check", "write"))
    action = parser.parse_args(arguments).action
    faults = []
    for name in FILES:
        file = ROOT / name
        text = file.read_text(encoding="utf-8")
        if action == "write":
            file.write_text(pin(text, digest_of), encoding="utf-8")
        else:
            faults += [f"{name}: {fault}" for fault in compare(text, digest_of)]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
