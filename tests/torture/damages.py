"""What can happen to a file: to its bytes, or to its place."""

import gzip
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np


class Bomb:
    """What must never be run; leaves a mark where it was."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self._mark),)


def pickled(mark: Path) -> bytes:
    return pickle.dumps(Bomb(mark))


def zip_of(content: bytes, name: str = "data.pkl") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, content)
    return buffer.getvalue()


def gzip_bomb(head: bytes, megabytes: int) -> bytes:
    """A small file that becomes a large one: ``head``, then zeros."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6) as file:
        file.write(head)
        for _ in range(megabytes):
            file.write(bytes(2**20))
    return buffer.getvalue()


Damage = Callable[[bytes, np.random.Generator], bytes]

DAMAGES: dict[str, Damage] = {
    "empty": lambda content, rng: b"",
    "one byte": lambda content, rng: content[:1],
    "cut to a tenth": lambda content, rng: content[: len(content) // 10],
    "cut in half": lambda content, rng: content[: len(content) // 2],
    "zeros": lambda content, rng: bytes(len(content)),
    "noise": lambda content, rng: rng.bytes(len(content)),
    "text": lambda content, rng: b"this is no such file\n" * 9,
    "web page": lambda content, rng: b"<!DOCTYPE html><html><body>404 not found</body></html>\n" * 5,
    "zip": lambda content, rng: zip_of(content),
    "gzip": lambda content, rng: gzip.compress(gzip.compress(content)),
    "pickle": lambda content, rng: pickled(Path("/tmp/vagan-torture-mark")),
}


def absent(path: Path) -> None:
    path.unlink()


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def endless_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def secret_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


MISPLACED: dict[str, Callable[[Path], None]] = {
    "absent": absent,
    "a folder": folder_instead,
    "a dangling link": dangling_link,
    "a link to itself": link_to_itself,
    "a named pipe": pipe,
    "a link to an endless device": endless_device,
    "a link to a secret": secret_link,
}
