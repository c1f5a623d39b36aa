"""Prometheus and Alertmanager without Docker: as found on the PATH, or Debian's packages unpacked into var/tools.

No root is needed. `observe.py` runs them; the tests marked `tools` use promtool and amtool from here, too.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from freshgate.errors import FreshgateError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "var" / "tools"
# Program → package. The first name is Debian's, the others are upstream's.
PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
    "prometheus-alertmanager": "prometheus-alertmanager",
}
UPSTREAM = {"prometheus-alertmanager": "alertmanager"}
# Debian's Alertmanager reads its templates from this folder and no other. The path of the same length in its place is
# relative, to the folder in which `alertmanager_command` starts it.
FIXED = b"/usr/share/prometheus/alertmanager"
RELATIVE = b"usr/share/prometheus/alertmanager/"
NOT_FIXED = (b"/ui", b"/no")


class ToolMissing(FreshgateError):
    """A program is neither here nor to be had."""


def program(name: str, say: Callable[[str], None] = lambda _text: None) -> Path:
    """The path of a program, whose package is fetched when it is not here yet. Raises ToolMissing."""
    for known in (name, UPSTREAM.get(name, name)):
        if found := shutil.which(known):
            return Path(found)
    here = FOLDER / "usr" / "bin" / name
    if not here.exists():
        say(f"fetching Debian's package {PACKAGES[name]} into {FOLDER}")
        try:
            _fetch(PACKAGES[name])
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", b"") or str(error).encode()
            last = said.decode(errors="replace").strip().splitlines()[-1:]
            raise ToolMissing(
                f"{name} is not on the PATH and cannot be fetched from Debian ({platform.platform(terse=True)}): "
                f"{' '.join(last)}; install Prometheus and Alertmanager, or use docker compose"
            ) from None
    return here


def prometheus_command(say: Callable[[str], None]) -> tuple[str, ...]:
    """Raises ToolMissing."""
    found = program("prometheus", say)
    # Debian has taken the pages out of the program: they stand beside it.
    pages = FOLDER / "usr" / "share" / "prometheus" / "web"
    return (str(found), *([f"--web.local-assets={pages}/"] if FOLDER in found.parents else []))


def alertmanager_command(say: Callable[[str], None]) -> tuple[str, ...]:
    """Raises ToolMissing."""
    found = program("prometheus-alertmanager", say)
    if FOLDER not in found.parents:
        return (str(found),)
    moved = found.with_name("alertmanager-relative")
    if not moved.exists():
        written = moved.with_suffix(".new")
        written.write_bytes(relative(found.read_bytes()))
        written.chmod(0o755)
        written.replace(moved)
    # Debian leaves out its pages: of two folders of them, this one holds a page that says so.
    pages = FOLDER / "usr" / "share" / "prometheus" / "alertmanager" / "no-ui"
    return ("env", f"--chdir={FOLDER}", str(moved), f"--web.ui-path={pages}")


def relative(code: bytes) -> bytes:
    """Debian's Alertmanager, which looks for its templates below the folder that it is started in."""
    at, places = -1, []
    while (at := code.find(FIXED, at + 1)) >= 0:
        if not code.startswith(NOT_FIXED, at + len(FIXED)):
            places.append(at)
    if len(places) != 1:
        raise ToolMissing(
            "this build of prometheus-alertmanager runs only where it is installed; install the package as root, "
            "or use docker compose"
        )
    return code[: places[0]] + RELATIVE + code[places[0] + len(FIXED) :]


def _fetch(package: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        # apt's own user may not write there otherwise, which it complains of.
        with suppress(OSError):
            Path(folder).chmod(0o755)
        subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True, capture_output=True, timeout=300)
        (file,) = Path(folder).glob("*.deb")
        subprocess.run(["dpkg", "-x", str(file), str(FOLDER)], check=True, capture_output=True, timeout=60)
