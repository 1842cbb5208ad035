"""Work in processes of its own that start in no time, since they are copies of this one."""

import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Work = Callable[[], object]


@dataclass(frozen=True)
class Child:
    """A running copy of this process.

    Attributes
    ----------
    pid
        Of the process.
    log
        What it writes to stderr.
    """

    pid: int
    log: Path

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def ended(self, *, patience_s: float = 120) -> int:
        """Its exit code, minus the signal if it was killed; killed if it takes too long."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        return -9

    def told(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def lines(self) -> list[str]:
        return [line for line in self.told().splitlines() if line.startswith("vagan: ")]


def start(work: Work, log: Path) -> Child:
    """Start some work; `SystemExit` gives its exit code, any other exception 1 and a traceback."""
    child = os.fork()
    if child:
        return Child(child, log)
    for number, place in ((1, os.devnull), (2, str(log))):
        os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    code = 1
    try:
        work()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


def wait_for(path: Path, child: Child, *, patience_s: float = 120) -> None:
    """Until a file is there."""
    deadline = time.monotonic() + patience_s
    while not path.exists():
        assert time.monotonic() < deadline, child.told()
        time.sleep(0.01)
