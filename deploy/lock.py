"""Writes requirements*.txt with the hashes of every file of each pinned release: `make lock`, after a pin has changed.

The pins and their reasons stand in requirements*.in. pip installs from the written files, and nothing whose hash it
does not find there: an index that was taken over, or a file that was replaced, stops the installation.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = "# Written by `make lock` from {name}. Change the pins there.\n"


def main(uv: str) -> int:
    """`uv` is the path of uv, which asks the index for the hashes."""
    for source in sorted(ROOT.glob("requirements*.in")):
        lines = source.read_text(encoding="utf-8").splitlines()
        # The files that it builds upon are locked by themselves.
        included = [line.replace(".in", ".txt") for line in lines if line.startswith("-r ")]
        pins = "\n".join(line for line in lines if not line.startswith("-r "))
        command = [uv, "pip", "compile", "--quiet", "--no-deps", "--generate-hashes", "--no-header", "--no-annotate"]
        # For every platform and version of Python at once.
        command += ["--universal", "--python-version", "3.11", "-"]
        locked = subprocess.run(command, input=pins, capture_output=True, text=True, check=False)
        if locked.returncode:
            print(f"{source.name}: {locked.stderr.strip()}", file=sys.stderr)
            return 1
        text = HEAD.format(name=source.name) + "".join(f"{line}\n" for line in included) + locked.stdout
        source.with_suffix(".txt").write_text(text, encoding="utf-8")
        print(f"{source.with_suffix('.txt').name}: {locked.stdout.count('==')} releases")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
