"""Atomic writes of files and folders; only regular files are read."""

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import Any

from vagan.errors import OutputError, reason_of

MARK = "vagan-tmp"  # in the names of temporary files and folders; nothing without it is ever cleaned up
MAX_TEXT_BYTES = 2**24  # bytes of the longest text that is read whole; records of ours are far shorter

_UMASK = os.umask(0o077)
os.umask(_UMASK)


@contextmanager
def replacing(path: Path, *, in_new_folder: bool = True) -> Iterator[Path]:
    """Give a temporary name beside ``path``; rename it into place if the block succeeds.

    With ``in_new_folder`` its folder is made if there is none.
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
    held = lock(temporary)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        _set_mode(temporary, path, 0o666)
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
        unlock(held)


def write_text(path: Path, text: str) -> None:
    """Write a file as UTF-8, whole or not at all; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Any) -> None:
    """Write a record as JSON, see `write_text`; a number that is not finite is a `ValueError`."""
    write_text(path, json.dumps(values, indent=1, allow_nan=False) + "\n")


def read_text(path: Path) -> str:
    """Text of a regular file in UTF-8 of at most `MAX_TEXT_BYTES` bytes; else an OSError or a ValueError."""
    if regular(path).stat().st_size > MAX_TEXT_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MAX_TEXT_BYTES} bytes", str(path))
    return path.read_text(encoding="utf-8")


def _set_mode(temporary: Path, path: Path, default: int) -> None:
    """Give it the permissions of the file or folder that it replaces, or those of a new one."""
    replaced = path.exists() and not path.is_symlink()
    with suppress(PermissionError, NotImplementedError):  # file systems without permissions
        temporary.chmod(stat.S_IMODE(path.stat().st_mode) if replaced else default & ~_UMASK)


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {reason_of(error)}")


def remove_leftovers(folder: Path) -> None:
    """Remove a folder's temporary files whose writers were killed; running processes lock theirs."""
    for path in folder.glob(f".{MARK}-????????.*"):
        if path.is_file() and not path.is_symlink() and _is_left(path):
            path.unlink(missing_ok=True)


def _is_left(path: Path) -> bool:
    """Whether its writer was killed; where there are no locks this is not known, and nothing is taken for left."""
    try:
        held = lock(path)
    except BlockingIOError:
        return False
    unlock(held)
    return held is not None


def lock(path: Path) -> int | None:
    """Lock a file or folder for this process; None where the file system or the platform has no locks.

    The lock ends with the process, so that a living writer's temporary file is told from a killed one's. Raises
    `BlockingIOError` if another process has locked it.
    """
    try:
        import fcntl

        handle = os.open(path, (os.O_RDONLY if path.is_dir() else os.O_RDWR) | os.O_NOFOLLOW)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise BlockingIOError(error.errno, "another process has locked it", str(path)) from error
        return None
    return handle


def unlock(held: int | None) -> None:
    """End a lock."""
    if held is not None:
        os.close(held)


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """A temporary folder, removed at the end; those of this kind that killed processes left are removed first."""
    prefix = f"{MARK}-{name}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if left.is_dir() and not left.is_symlink() and _is_left(left) and left.stat().st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        held = lock(Path(folder))
        try:
            yield Path(folder)
        finally:
            unlock(held)


def regular(path: Path) -> Path:
    """The path of a file that can be read to its end; an OSError for a folder, a device or a pipe."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return path


def digest_of(*paths: Path | None) -> str:
    """Digest of files, or of all files of a DICOM folder in the order of their names."""
    digest = hashlib.blake2b(digest_size=8)
    for path in filter(None, paths):
        for part in sorted(path.iterdir()) if path.is_dir() else [path]:
            if part.is_file():
                with part.open("rb") as file:
                    hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


@dataclass(frozen=True)
class FolderKind:
    """By what an output folder of one kind is recognised, and therefore may be replaced."""

    files: tuple[str, ...] = ()  # patterns of all its files, relative to it; ``*`` stands for folders too
    record: str = ""
    """The file of these that tells the folder from others with the same names; without one none is replaced."""
    mark: str = ""  # text in that file


def without_folders(values: Any) -> Any:
    """The same record without folders of this machine: of files and programs the names alone."""
    if isinstance(values, dict):
        return {name: without_folders(value) for name, value in values.items()}
    if isinstance(values, list):
        return [without_folders(value) for value in values]
    if not isinstance(values, str):
        return values
    return Path(values).name if values.startswith(("/", "~")) else _FOLDERS.sub(r"\1", values)


_FOLDERS = re.compile(r"""((?:^|[\s=])['"]|^|[\s=])[~/](?:(?<=['"].)[^'"]*|\S*)/""")
"""In a command, what stands before the name of a file."""


def require_replaceable(path: Path, kind: FolderKind) -> None:
    """Refuse a place for a folder that holds anything but an older folder of the same kind."""
    if path.exists() and not path.is_dir():
        raise OutputError(f"the output must be a folder: {path} is a file; choose another name")
    if foreign := _foreign(path, kind):
        required = "the output folder must be new, empty or an older one of its kind"
        raise OutputError(f"{required}: {path} holds {foreign}; choose another")


def _foreign(path: Path, kind: FolderKind) -> str:
    """An entry that is not known to be ours; empty if there is none."""
    entries = sorted(path.iterdir()) if path.is_dir() else []
    inside = chain.from_iterable(chain([entry], entry.rglob("*")) for entry in entries)  # no further than the first
    names = (str(entry.relative_to(path)) for entry in inside if entry.is_symlink() or not entry.is_dir())
    foreign = next((name for name in names if not any(fnmatch(name, known) for known in kind.files)), "")
    if foreign or not entries:
        return foreign
    try:
        is_ours = kind.record != "" and kind.mark in read_text(path / kind.record)
    except (OSError, ValueError):
        is_ours = False
    return "" if is_ours else entries[0].name


@contextmanager
def new_folder(path: Path, kind: FolderKind) -> Iterator[Path]:
    """Give a temporary folder beside ``path``; rename it into place if the block succeeds.

    See `require_replaceable` for what an existing ``path`` may hold. A symbolic link is followed, and stays.
    """
    path = path.resolve() if path.is_symlink() else path
    require_replaceable(path, kind)
    _recover(path, kind)
    require_replaceable(path, kind)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
    except OSError as error:
        raise _cannot_write(path, error) from error
    held, old = lock(temporary), temporary.with_name(temporary.name + OLD)
    try:
        yield temporary
        _set_mode(temporary, path, 0o777)
        require_replaceable(path, kind)  # something may have been put there in the meantime
        if path.exists():
            path.replace(old)
        temporary.replace(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        if old.exists() and not path.exists():
            old.replace(path)
        raise _cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        unlock(held)


OLD = ".old"


def _prefix(path: Path) -> str:
    return f".{path.name}.{MARK}-"


def _recover(path: Path, kind: FolderKind) -> None:
    """Put back what a kill left halfway replaced, and remove what killed writers left beside it."""
    for left in path.parent.glob(f"{glob.escape(_prefix(path))}????????*"):
        writer = left.with_name(left.name.removesuffix(OLD))
        if left.is_symlink() or not left.is_dir() or (writer.exists() and not _is_left(writer)):
            continue
        if left == writer:
            shutil.rmtree(left, ignore_errors=True)
        elif not _foreign(left, kind):  # the folder that was to be replaced
            if path.exists():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.replace(path)
