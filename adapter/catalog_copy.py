"""A checked copy of the catalog, which long-running processes load: a file that is being edited never stops them.

The launcher and gunicorn's master make it, at start and at SIGHUP; `catalogs.py` loads from it.
"""

from __future__ import annotations

import os
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

CHECK = "import os; from adapter.app import check; from freshgate.settings import load; check(load(os.environ))"
CHECK_WITHIN_S = 60
# The one in use, and the one before it: a process may be starting from that.
KEPT = 2


def folder_of(settings: Settings) -> Path:
    """What `catalogs.COPY` names: a link to the newest copy."""
    return Path(settings.var).resolve() / "catalog" / "current"


def refresh(settings: Settings, environ: Mapping[str, str]) -> bool:
    """Copy the catalog as it is now, check the copy, and let whoever starts next load it. False if nothing changed.

    Raises CatalogError with the reason for a catalog that no process could start with; the old copy stays.
    """
    current = folder_of(settings)
    current.parent.mkdir(parents=True, exist_ok=True)
    copy = Path(tempfile.mkdtemp(prefix="new-", dir=current.parent))
    try:
        _copy(settings.catalog.partition(".")[0], copy)
        final = current.with_name(_digest(copy))
        # Unchanged files too: the settings may no longer go with them.
        _check(copy, environ)
        if current.is_symlink() and current.resolve() == final:
            return False
        if not final.exists():
            copy.rename(final)
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    _point(current, final)
    return True


def _copy(package: str, to: Path) -> None:
    """The whole package that the catalog is in, since its files may import each other."""
    found = find_spec(package)
    if found is None or not found.origin:
        raise CatalogError(f"catalog: there is no package {package!r}")
    origin = Path(found.origin)
    if found.submodule_search_locations:
        shutil.copytree(origin.parent, to / package, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(origin, to / origin.name)


def _digest(folder: Path) -> str:
    digest = blake2b(digest_size=8)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _check(copy: Path, environ: Mapping[str, str]) -> None:
    """In a process of its own: what was imported here already could not be imported anew."""
    command = [sys.executable, "-B", "-c", CHECK]
    try:
        done = subprocess.run(
            command,
            env={**environ, COPY: str(copy)},
            capture_output=True,
            text=True,
            check=False,
            timeout=CHECK_WITHIN_S,
        )
    except subprocess.TimeoutExpired:
        raise CatalogError(f"the catalog was not loaded within {CHECK_WITHIN_S} s") from None
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise CatalogError(last.removeprefix("freshgate.errors.CatalogError: ") or "the catalog cannot be loaded")


def _point(current: Path, final: Path) -> None:
    link = current.with_name(f"link-{os.getpid()}")
    link.unlink(missing_ok=True)
    link.symlink_to(final.name)
    link.replace(current)
    others = [path for path in current.parent.iterdir() if path.is_dir() and not path.is_symlink() and path != final]
    for old in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)
