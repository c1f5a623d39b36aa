"""Checked copies of the catalog, which long-running processes load: a file that is being edited never stops them.

The launcher and gunicorn's master call `refresh` at start and at SIGHUP; `freshgate/catalogs.py` loads the copy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path

from freshgate.catalogs import COPY
from freshgate.errors import CatalogError
from freshgate.settings import Settings

CHECK = """import os
from adapter.app import check
from freshgate.settings_file import load
from freshgate.templates import load_templates
settings = load(os.environ)
check(settings)
load_templates(settings.catalog)
"""
CHECK_TIMEOUT_S = 60
# What Python prints before the text of one of our errors.
CLASS = re.compile(r"^freshgate\.errors\.\w+: ")
# The current one, and the one before it, which a process may be loading.
MAX_COPIES = 2


def current_folder(settings: Settings) -> Path:
    """The link to the newest copy, which `catalogs.COPY` names."""
    return Path(settings.var).resolve() / "catalog" / "current"


def refresh(settings: Settings, environ: Mapping[str, str]) -> bool:
    """Copies the catalog, checks the copy, and points the link at it. Returns False if nothing changed.

    Raises CatalogError with the reason when no process could start with it; the old copy then stays.
    """
    current = current_folder(settings)
    current.parent.mkdir(parents=True, exist_ok=True)
    copy = Path(tempfile.mkdtemp(prefix="new-", dir=current.parent))
    try:
        _copy(settings.catalog.partition(".")[0], copy)
        final = current.with_name(_digest(copy))
        # Unchanged files are checked too: the settings may no longer fit them.
        _check(copy, environ)
        if current.is_symlink() and current.resolve() == final:
            return False
        if not final.exists():
            copy.rename(final)
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    _point_link(current, final)
    return True


def _copy(package: str, to: Path) -> None:
    """Copies the whole package of the catalog, since its files may import each other."""
    spec = find_spec(package)
    if spec is None or not spec.origin:
        raise CatalogError(f"catalog: there is no package {package!r}")
    origin = Path(spec.origin)
    if spec.submodule_search_locations:
        shutil.copytree(origin.parent, to / package, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(origin, to / origin.name)


def _digest(folder: Path) -> str:
    digest = blake2b(digest_size=8)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _check(copy: Path, environ: Mapping[str, str]) -> None:
    """Loads the copy in a new process: in this one, modules that are imported already would not be read again."""
    command = [sys.executable, "-B", "-c", CHECK]
    # It must not leave files among the metrics of the receiver, which nobody would add up or remove.
    inherited = {name: value for name, value in environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    try:
        process = subprocess.run(
            command,
            env={**inherited, COPY: str(copy)},
            capture_output=True,
            text=True,
            check=False,
            timeout=CHECK_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise CatalogError(f"the catalog was not loaded within {CHECK_TIMEOUT_S} s") from None
    if process.returncode:
        last_line = process.stderr.strip().rpartition("\n")[2]
        raise CatalogError(CLASS.sub("", last_line) or "the catalog cannot be loaded")


def _point_link(current: Path, final: Path) -> None:
    link = current.with_name(f"link-{os.getpid()}")
    link.unlink(missing_ok=True)
    link.symlink_to(final.name)
    link.replace(current)
    others = [path for path in current.parent.iterdir() if path.is_dir() and not path.is_symlink() and path != final]
    for old in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[MAX_COPIES - 1 :]:
        shutil.rmtree(old, ignore_errors=True)
