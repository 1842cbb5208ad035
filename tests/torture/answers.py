"""What the command line answers: exit code, the one line, time, memory, and what it changed on disk."""

import contextlib
import gc
import hashlib
import io
import os
import re
import signal
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vagan.cli.app import main

MOST_SECONDS = 10
"""Of a processor, so that a busy machine makes no difference; who waits for ever is stopped too."""
MOST_MB = 2048
REMEDY = re.compile(
    r"\b(add|change|check|choose|close|convert|copy|correct|create|delete|did you mean|extract|fill|flatten|free|"
    r"give|import|install|is it|keep|known|lower|make|name|once|open|put|replace|save|say it|scale|see|send|set|"
    r"split|take|try|use|wait|must|needs?|needed|should|expected|only|at least|at most)\b",
    re.IGNORECASE,
)
"""Words of a sentence that says what to do, or what must hold."""


class TookTooLongError(BaseException):
    """Not an `Exception`, so that nobody swallows it."""


@dataclass(frozen=True)
class Answer:
    """What became of a command."""

    code: int | None
    """None if it ended in an exception, or did not end."""
    out: str
    error: str
    seconds: float
    peak_mb: float
    """More memory than before, at its height."""

    @property
    def lines(self) -> list[str]:
        """What it complained of."""
        return [line for line in self.error.splitlines() if line.startswith("vagan: ")]


def ask(arguments: Sequence[object], *, patience_s: float = 60) -> Answer:
    """Run a command line in this process."""
    out, error = io.StringIO(), io.StringIO()
    code: int | None = None
    gc.collect()
    before_mb = _reset_peak()
    begin = time.process_time()
    with _alarm(patience_s), contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("default")
                main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException:
            error.write(traceback.format_exc())
    seconds = time.process_time() - begin
    return Answer(code, out.getvalue(), error.getvalue(), seconds, _peak_mb() - before_mb)


def complaints(answer: Answer, *, names: str, code: int = 2) -> list[str]:
    """What is wrong with the answer to a bad input, a few words each."""
    found = []
    if answer.code != code:
        found.append(f"exit {answer.code}")
    if "Traceback" in answer.error:
        found.append(f"traceback: {answer.error.strip().splitlines()[-1][:200]}")
    if len(answer.lines) != 1:
        found.append(f"{len(answer.lines)} lines")
    extra = [line for line in answer.error.splitlines() if line and not line.startswith("vagan: ")]
    if extra:
        found.append(f"noise on stderr: {extra[0][:150]}")
    told = " ".join(answer.lines) + (answer.out if "problem" in answer.error else "")
    if names not in told:
        found.append(f"does not name {names!r}")
    if not REMEDY.search(told):
        found.append("no remedy")
    if sum(map(len, answer.lines)) > 1000:
        found.append(f"a line of {sum(map(len, answer.lines))} characters")
    if answer.seconds > MOST_SECONDS:
        found.append(f"{answer.seconds:.1f} s")
    if answer.peak_mb > MOST_MB:
        found.append(f"{answer.peak_mb:.0f} MB")
    return found


def snapshot(folder: Path) -> dict[str, str]:
    """Every entry of a folder with a digest of what it holds; nothing is followed, no device or pipe opened."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(place) / name
            if path.is_symlink():
                kind = f"link to {path.readlink()}"
            elif path.is_file():
                kind = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
            else:
                kind = "folder" if path.is_dir() else "special"
            found[str(path.relative_to(folder))] = kind
    return found


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TookTooLongError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _reset_peak() -> float:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak_mb()


def _peak_mb() -> float:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+)", text).group(1)) / 1024
