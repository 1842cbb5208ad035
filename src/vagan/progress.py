"""Progress of long tasks: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich import progress
from rich.console import Console
from rich.table import Column

T = TypeVar("T")

LINE_EVERY_S = 15.0


class Bar:
    """One running task of so many units of work, some of them done before, shown on stderr."""

    def __init__(self, total: int, description: str, *, done: int = 0) -> None:
        self.total, self.description, self.done = total, description, done
        self._begin, self._first, self._last_line = time.monotonic(), done, time.monotonic()
        self._status = ""
        self._progress: progress.Progress | None = None
        self._task = progress.TaskID(0)
        console = Console(stderr=True)
        if console.is_terminal:
            # widths that stay whole, so that on a narrow terminal only the status is cut
            status = Column(no_wrap=True, overflow="ellipsis", ratio=1)
            columns = (
                progress.TextColumn("{task.description}"),
                progress.BarColumn(bar_width=20),
                progress.MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=len(f"{total}/{total}"))),
                progress.TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
                progress.TextColumn("left"),
                progress.TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
                progress.TextColumn("{task.fields[status]}", table_column=status),
            )
            self._progress = progress.Progress(*columns, console=console, expand=True)
            self._task = self._progress.add_task(description, total=total, completed=done, status="")

    def __enter__(self) -> "Bar":
        if self._progress:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress:
            self._progress.stop()

    def advance(self, status: str | None = None, *, by: int = 1, skipped: bool = False) -> None:
        """Another unit, or ``by`` of them, is done; ``status`` replaces the text shown beside the bar.

        ``skipped`` units, which were done before, do not count for the time left.
        """
        self.done += by
        if skipped:
            self._first += by
        self._status = status or self._status
        if self._progress:
            self._progress.update(self._task, total=self.total, completed=self.done, status=self._status)
        elif time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            left_s = (self._last_line - self._begin) / max(self.done - self._first, 1) * (self.total - self.done)
            line = f"{self.description}: {self.done}/{self.total}, {duration(round(left_s))} left"
            print(f"{line}, {self._status}" if self._status else line, file=sys.stderr, flush=True)


def track(items: Iterable[T], total: int, description: str) -> Iterator[T]:
    """Pass items on and show how many came by."""
    with Bar(total, description) as bar:
        for item in items:
            yield item
            bar.advance()


def duration(seconds: int | float) -> str:
    """Write a time in the units a reader thinks in."""
    if 0 < seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
