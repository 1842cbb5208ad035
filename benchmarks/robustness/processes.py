"""Work in forks of this process, which start at once and can be killed at a chosen moment."""

import itertools
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Work = Callable[[], object]

FILE_EVENTS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"})
"""Audit events that Python raises before a file is created, opened, renamed or removed."""


@dataclass(frozen=True)
class Child:
    """A running fork of this process, and the file that its stderr goes to."""

    pid: int
    log: Path

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self, *, timeout_s: float = 120) -> int:
        """Its exit code, or minus the number of the signal that ended it; it is killed after the timeout."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        self.send(signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return -signal.SIGKILL

    def wait_for(self, path: Path, *, timeout_s: float = 120) -> None:
        """Return as soon as the child has written a file."""
        deadline = time.monotonic() + timeout_s
        while not path.exists():
            assert time.monotonic() < deadline, self.stderr()
            time.sleep(0.01)

    def stderr(self) -> str:
        """Return what it wrote to stderr."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def messages(self) -> list[str]:
        """Return the lines that begin as those of the command line do."""
        return [line for line in self.stderr().splitlines() if line.startswith("vagan: ")]


def start(work: Work, log: Path) -> Child:
    """Start some work in a fork; the exit code is that of `SystemExit`, or 1 after any other exception."""
    log.touch()  # whoever asks at once for what was said
    child = os.fork()
    if child:
        return Child(child, log)
    for number, place in ((1, os.devnull), (2, str(log))):
        os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    code = 1
    try:
        work()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()  # os._exit does not
    os._exit(code)


def killed_at_event(work: Work, folder: Path, event: int) -> Work:
    """The work, killed with SIGKILL right before the n-th access to a file in the folder."""
    count = itertools.count(1)

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name in FILE_EVENTS and str(folder) in str(arguments[0]) and next(count) == event:
            os.kill(os.getpid(), signal.SIGKILL)

    def killed() -> None:
        sys.addaudithook(hook)
        work()

    return killed


def count_events(work: Work, folder: Path, log: Path) -> int:
    """How often some work accesses files of a folder."""
    counted = [0]

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        counted[0] += name in FILE_EVENTS and str(folder) in str(arguments[0])

    def counting() -> None:
        sys.addaudithook(hook)
        work()
        log.with_suffix(".count").write_text(str(counted[0]), encoding="ascii")

    child = start(counting, log)
    assert child.wait() == 0, child.stderr()
    return int(log.with_suffix(".count").read_text(encoding="ascii"))
