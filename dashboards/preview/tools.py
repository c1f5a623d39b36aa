"""Prometheus and Alertmanager without Docker: from the PATH, or from Debian's packages unpacked into var/tools.

No root is needed. `observe.py` runs them; the tests marked `tools` also use promtool and amtool from here.
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
# Program → Debian's package. The programs have Debian's names.
PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
    "prometheus-alertmanager": "prometheus-alertmanager",
}
UPSTREAM_NAMES = {"prometheus-alertmanager": "alertmanager"}
# Debian's Alertmanager reads its templates from this absolute folder only. The relative path in its place has the same
# length, and starts at the folder in which `alertmanager_command` starts the program.
ABSOLUTE_TEMPLATES = b"/usr/share/prometheus/alertmanager"
RELATIVE_TEMPLATES = b"usr/share/prometheus/alertmanager/"
# Paths that go on like this name other folders.
OTHER_FOLDERS = (b"/ui", b"/no")


class ToolMissing(FreshgateError):
    """A program is not installed and cannot be fetched."""


def find_program(name: str, say: Callable[[str], None] = lambda _text: None) -> Path:
    """The path of a program. Fetches its package if needed. Raises ToolMissing."""
    for installed in (name, UPSTREAM_NAMES.get(name, name)):
        if path := shutil.which(installed):
            return Path(path)
    unpacked = FOLDER / "usr" / "bin" / name
    if not unpacked.exists():
        say(f"fetching Debian's package {PACKAGES[name]} into {FOLDER}")
        try:
            _fetch(PACKAGES[name])
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            output = getattr(error, "stderr", b"") or str(error).encode()
            last = output.decode(errors="replace").strip().splitlines()[-1:]
            raise ToolMissing(
                f"{name} is not on the PATH and cannot be fetched from Debian ({platform.platform(terse=True)}): "
                f"{' '.join(last)}; install Prometheus and Alertmanager, or use docker compose"
            ) from None
    return unpacked


def prometheus_command(say: Callable[[str], None]) -> tuple[str, ...]:
    """How Prometheus is started. Raises ToolMissing."""
    path = find_program("prometheus", say)
    # Debian's package has the web pages beside the program instead of inside.
    pages = FOLDER / "usr" / "share" / "prometheus" / "web"
    return (str(path), *([f"--web.local-assets={pages}/"] if FOLDER in path.parents else []))


def alertmanager_command(say: Callable[[str], None]) -> tuple[str, ...]:
    """How Alertmanager is started. Raises ToolMissing."""
    path = find_program("prometheus-alertmanager", say)
    if FOLDER not in path.parents:
        return (str(path),)
    patched = path.with_name("alertmanager-relative")
    if not patched.exists():
        written = patched.with_suffix(".new")
        written.write_bytes(with_relative_templates(path.read_bytes()))
        written.chmod(0o755)
        written.replace(patched)
    # Debian leaves out the web pages; this folder holds one page that says so.
    pages = FOLDER / "usr" / "share" / "prometheus" / "alertmanager" / "no-ui"
    return ("env", f"--chdir={FOLDER}", str(patched), f"--web.ui-path={pages}")


def with_relative_templates(code: bytes) -> bytes:
    """Debian's program, changed to look for its templates below the folder in which it is started."""
    at, places = -1, []
    while (at := code.find(ABSOLUTE_TEMPLATES, at + 1)) >= 0:
        if not code.startswith(OTHER_FOLDERS, at + len(ABSOLUTE_TEMPLATES)):
            places.append(at)
    if len(places) != 1:
        raise ToolMissing(
            "this build of prometheus-alertmanager runs only where it is installed; install the package as root, "
            "or use docker compose"
        )
    return code[: places[0]] + RELATIVE_TEMPLATES + code[places[0] + len(ABSOLUTE_TEMPLATES) :]


def _fetch(package: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        # apt drops to a user of its own, and warns if that user cannot write here.
        with suppress(OSError):
            Path(folder).chmod(0o755)
        subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True, capture_output=True, timeout=300)
        (file,) = Path(folder).glob("*.deb")
        subprocess.run(["dpkg", "-x", str(file), str(FOLDER)], check=True, capture_output=True, timeout=60)
