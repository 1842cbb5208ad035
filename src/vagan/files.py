"""Atomic writes of files and folders; only regular files are read."""

import errno
import glob
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vagan.errors import OutputError

MARK = "vagan-tmp"
"""In the names of temporary files and folders; nothing without it is ever cleaned up."""

_UMASK = os.umask(0o077)
os.umask(_UMASK)


@contextmanager
def replacing(path: Path, *, in_new_folder: bool = True) -> Iterator[Path]:
    """Give a temporary name beside ``path``; rename it into place if the block succeeds.

    With ``in_new_folder`` its folder is made if there is none.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    try:
        if in_new_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        # the whole name as suffix: writers choose the format by it
        handle, name = tempfile.mkstemp(prefix=f".{MARK}-", suffix=f".{path.name}", dir=path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    os.close(handle)
    temporary = Path(name)
    lock = _try_lock(temporary)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(_mode_of(path, 0o666))
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
        _unlock(lock)


def write_text(path: Path, text: str) -> None:
    """Write a file as UTF-8, whole or not at all; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _mode_of(path: Path, default: int) -> int:
    """Permissions of the file or folder that is replaced, or those of a new one."""
    return stat.S_IMODE(path.stat().st_mode) if path.exists() and not path.is_symlink() else default & ~_UMASK


def _cannot_write(path: Path, error: OSError) -> OutputError:
    remedy = "choose another place"
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", -1)):
        remedy = "free some space or choose another place"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "choose a folder you may write to"
    return OutputError(f"cannot write {path}: {error.strerror or error}; {remedy}")


def remove_leftovers(folder: Path) -> None:
    """Remove a folder's temporary files whose writers were killed; those of living writers are locked by them."""
    for path in folder.glob(f".{MARK}-????????.*"):
        if path.is_file() and not path.is_symlink() and _is_left(path):
            path.unlink(missing_ok=True)


def _is_left(path: Path) -> bool:
    lock = _try_lock(path)
    _unlock(lock)
    return lock is not None


def _try_lock(path: Path) -> int | None:
    """Lock a temporary file or folder as long as it is written; None if another process has locked it.

    This tells a living writer's temporary from a killed one's. There are no such locks on Windows: nothing is taken
    for a killed writer's there, and what kills leave behind has to be removed by hand.
    """
    try:
        import fcntl

        handle = os.open(path, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """A temporary folder, removed at the end; those of this kind that killed processes left are removed first."""
    prefix = f"{MARK}-{name}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if left.is_dir() and not left.is_symlink() and _is_left(left) and left.stat().st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        lock = _try_lock(Path(folder))
        try:
            yield Path(folder)
        finally:
            _unlock(lock)


def regular(path: Path) -> Path:
    """The path of a file that can be read to its end; an OSError for a folder, a device or a pipe."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return path


def require_replaceable(path: Path, ours: frozenset[str]) -> None:
    """Refuse a place for a folder that holds anything but an older folder of the same kind.

    ``ours`` are the names of all entries of a folder of this kind: any other is a user's own.
    """
    if path.exists() and not path.is_dir():
        raise OutputError(f"the output must be a folder: {path} is a file; choose another name")
    foreign = sorted({entry.name for entry in path.iterdir()} - ours) if path.is_dir() else []
    if foreign:
        required = "the output folder must be new, empty or an older one of its kind"
        raise OutputError(f"{required}: {path} holds {foreign[0]}; choose another")


@contextmanager
def new_folder(path: Path, ours: frozenset[str]) -> Iterator[Path]:
    """Give a temporary folder beside ``path``; rename it into place if the block succeeds.

    See `require_replaceable` for what an existing ``path`` may hold. A symbolic link is followed, and stays.
    """
    path = path.resolve() if path.is_symlink() else path
    require_replaceable(path, ours)
    _recover(path, ours)
    require_replaceable(path, ours)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
    except OSError as error:
        raise _cannot_write(path, error) from error
    lock = _try_lock(temporary)
    try:
        yield temporary
        temporary.chmod(_mode_of(path, 0o777))
        if path.exists():
            old = temporary.with_name(temporary.name + OLD)
            path.replace(old)
            temporary.replace(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        _unlock(lock)


OLD = ".old"


def _prefix(path: Path) -> str:
    return f".{path.name}.{MARK}-"


def _recover(path: Path, ours: frozenset[str]) -> None:
    """Put back what a kill left halfway replaced, and remove what killed writers left beside it."""
    for left in path.parent.glob(f"{glob.escape(_prefix(path))}????????*"):
        writer = left.with_name(left.name.removesuffix(OLD))
        if left.is_symlink() or not left.is_dir() or (writer.exists() and not _is_left(writer)):
            continue
        if left == writer:
            shutil.rmtree(left, ignore_errors=True)
        elif {entry.name for entry in left.iterdir()} <= ours:  # the folder that was to be replaced
            if path.exists():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.replace(path)
