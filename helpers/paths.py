"""Where things are, and how a file is written: whole or not at all."""

import contextlib
import os
import pathlib
import shutil
import tempfile
import time

import platformdirs

ROOT = pathlib.Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
ASSISTANT = DATA / "assistant"

HOUR = 3600  # seconds


def cache_folder() -> pathlib.Path:
    """`.cache` in the checkout or, where that cannot be written, a folder in the user's own cache.

    The environment variable OVERREFUSAL_CACHE names another folder.
    """
    if "OVERREFUSAL_CACHE" in os.environ:
        return pathlib.Path(os.environ["OVERREFUSAL_CACHE"])
    inside = ROOT / ".cache"
    if os.access(inside if inside.exists() else ROOT, os.W_OK):
        return inside
    return platformdirs.user_cache_path("why-models-over-refuse")


@contextlib.contextmanager
def replacing(path: pathlib.Path):
    """Within `with`: a file to write. Afterwards it is `path`, at one stroke; after an error it is gone.

    A reader sees the old file or the new one, however many processes write it and whenever one of them is killed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_up(path.parent)
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = pathlib.Path(name)
    try:
        yield part
        part.chmod(0o666 & ~_umask())  # a temporary file is for its owner only
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: pathlib.Path):
    """Within `with`: an empty folder. Afterwards it is `path`, at one stroke; after an error it is gone.

    A folder that is at `path` already gives way.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_up(path.parent)
    part = pathlib.Path(tempfile.mkdtemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield part
        part.chmod(0o777 & ~_umask())
        shutil.rmtree(path, ignore_errors=True)
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def replacing_files(folder: pathlib.Path):
    """Within `with`: a folder to write into. Afterwards its files are in `folder`, each at one stroke; after an error none.

    Other files of `folder` stay as they are. The folder beside it is one and the same each time, so that what a killed
    writer left there is gone after the next.
    """
    folder = folder.resolve()
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        for file in part.iterdir():
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sweep_up(folder):
    """Remove what writers left that were killed; what is younger than an hour may still be written."""
    for part in folder.glob("*.part"):
        with contextlib.suppress(OSError):  # another process may be sweeping as well
            if time.time() - part.stat().st_mtime > HOUR:
                shutil.rmtree(part) if part.is_dir() else part.unlink()


def _umask() -> int:
    """The permissions that this user wants new files not to have."""
    now = os.umask(0)
    os.umask(now)
    return now
