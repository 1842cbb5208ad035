"""A queue of images, the thread that attributes them one by one, and their results."""

import logging
import queue
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

from vagan.errors import VaganError

State = Literal["uploading", "waiting", "working", "done", "failed"]
Work = Callable[..., dict[str, Any]]
"""From image file, folder for maps and perhaps covariates to the viewer's data; `VaganError` for an invalid image."""

log = logging.getLogger(__name__)


class QueueFullError(VaganError):
    """Too many or too large images are waiting."""


@dataclass
class Job:
    """One image. Its folder has a random name; the name of the upload is only displayed."""

    id: str
    name: str
    image: Path
    covariates: Mapping[str, str]
    state: State = "uploading"
    size: int = 0  # bytes of the upload on disk
    message: str = ""
    view: dict[str, Any] | None = None
    files: dict[str, Path] = field(default_factory=dict)  # result files by the names under which they are requested
    begun: float | None = None
    ended: float | None = None


class JobQueue:
    """Images are attributed in order; the oldest results are deleted.

    Images and results lie in ``folder``, to which nobody else may write. ``most_waiting`` and ``most_kept`` limit the
    images that are uploaded or wait, and the results that are kept; ``most_bytes`` the uploads on disk together. An
    upload is deleted when its map is made.
    """

    def __init__(
        self, work: Work, folder: Path, *, most_waiting: int = 8, most_kept: int = 20, most_bytes: int = 2**31
    ) -> None:
        self._work, self._folder, self._most_bytes = work, folder, most_bytes
        self._most_waiting, self._most_kept = most_waiting, most_kept
        self._jobs: dict[str, Job] = {}
        self._line: queue.Queue[Job | None] = queue.Queue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="vagan-jobs", daemon=True)
        self._thread.start()
        self.last_seconds: float | None = None
        """Of the last image."""

    def prepare(self, name: str, suffix: str, covariates: Mapping[str, str] | None = None) -> Job:
        """A job whose image is still to be written to ``job.image``, or `QueueFullError` if too many wait."""
        token = secrets.token_hex(8)
        job = Job(token, name, self._folder / token / f"image{suffix}", covariates or {})
        with self._lock:
            if sum(other.state in ("uploading", "waiting") for other in self._jobs.values()) >= self._most_waiting:
                raise QueueFullError(f"{self._most_waiting} images are already waiting; try again later")
            self._jobs[token] = job
        job.image.parent.mkdir(mode=0o700)
        return job

    def reserve(self, job: Job, size: int) -> None:
        """Count bytes of an upload before they are written; `QueueFullError` if all together would be too many."""
        with self._lock:
            job.size += size
            if sum(other.size for other in self._jobs.values()) > self._most_bytes:
                raise QueueFullError(f"uploads may take {self._most_bytes / 2**20:.0f} MB together; try again later")

    def submit(self, job: Job) -> None:
        """Queue a job whose image was written."""
        with self._lock:
            job.state = "waiting"
            self._jobs[job.id] = self._jobs.pop(job.id)  # in the order of the queue
        self._line.put(job)

    def discard(self, job: Job) -> None:
        """Delete a job and all its files."""
        with self._lock:
            self._jobs.pop(job.id, None)
        shutil.rmtree(job.image.parent, ignore_errors=True)

    def find(self, token: str) -> Job | None:
        """The job of this id; None if there is none, or no longer."""
        return self._jobs.get(token)

    def ahead(self, job: Job) -> int:
        """Number of unfinished jobs before it."""
        before = list(takewhile(lambda other: other is not job, list(self._jobs.values())))
        return sum(other.state in ("waiting", "working") for other in before)

    def close(self) -> None:
        """Stop after the current image."""
        self._line.put(None)

    def _run(self) -> None:
        while (job := self._line.get()) is not None:
            if job.id in self._jobs:
                self._attribute(job)
            finished = [other for other in list(self._jobs.values()) if other.state in ("done", "failed")]
            for old in finished[: -self._most_kept]:
                self.discard(old)

    def _attribute(self, job: Job) -> None:
        job.state, job.begun = "working", time.monotonic()
        out = job.image.parent / "out"
        try:
            try:
                job.view = self._work(job.image, out, *([job.covariates] if job.covariates else []))
            finally:
                job.image.unlink(missing_ok=True)
                job.size = 0
            job.files = {path.name.removeprefix("image_"): path for path in sorted(out.iterdir()) if path.is_file()}
            job.state, self.last_seconds = "done", time.monotonic() - job.begun
        except VaganError as error:
            # the name of the upload in place of paths of this machine
            message = str(error).replace(str(job.image), job.name).replace(str(job.image.parent), "")
            job.message, job.state = message, "failed"
        except MemoryError:
            job.message, job.state = "the image needs more memory than is available; use a smaller one", "failed"
        except Exception:  # the server goes on with the next image
            log.exception("image %s of job %s failed", job.image.name, job.id)
            job.message, job.state = "internal error; the server's terminal shows the details", "failed"
        job.ended = time.monotonic()
