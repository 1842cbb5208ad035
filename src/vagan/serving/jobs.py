"""One image after the other: a queue, the thread that works through it, and what came out."""

import logging
import queue
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vagan.errors import VaganError

State = Literal["waiting", "working", "done", "failed"]
Work = Callable[..., dict[str, Any]]
"""From an image file, a folder for the maps, and what is known of the image, if anything, to what the viewer shows;
raises `VaganError` for a bad image."""

log = logging.getLogger(__name__)


class QueueFullError(VaganError):
    """Too many images are waiting."""


@dataclass
class Job:
    """One image. Its folder has a random name; the name that the image came with is only ever shown."""

    id: str
    name: str
    image: Path
    covariates: str = ""
    """What is known of the image; see `vagan.inference.covariates.parse_covariates`."""
    state: State = "waiting"
    message: str = ""
    view: dict[str, Any] | None = None
    files: dict[str, Path] = field(default_factory=dict)
    """Results by the name that they are asked for with."""
    begun: float | None = None
    ended: float | None = None


class JobQueue:
    """Images wait in line; the oldest results are forgotten.

    Parameters
    ----------
    work
        What is done with an image.
    folder
        For images and results. It must be ours alone.
    most_waiting, most_kept
        Images in line; images whose results are kept.
    """

    def __init__(self, work: Work, folder: Path, *, most_waiting: int = 8, most_kept: int = 20) -> None:
        self._work, self._folder, self._most_waiting, self._most_kept = work, folder, most_waiting, most_kept
        self._jobs: dict[str, Job] = {}
        self._line: queue.Queue[Job | None] = queue.Queue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="vagan-jobs", daemon=True)
        self._thread.start()
        self.last_seconds: float | None = None
        """How long the last image took."""

    def require_room(self) -> None:
        """Refuse another image while too many wait."""
        if sum(job.state == "waiting" for job in list(self._jobs.values())) >= self._most_waiting:
            raise QueueFullError(f"{self._most_waiting} images are waiting already; try again when one is done")

    def prepare(self, name: str, suffix: str) -> Job:
        """A job whose image is still to be written to ``job.image``."""
        token = secrets.token_hex(8)
        folder = self._folder / token
        folder.mkdir(mode=0o700)
        return Job(token, name, folder / f"image{suffix}")

    def submit(self, job: Job) -> None:
        """Put a job with its image into the line."""
        try:
            with self._lock:
                self.require_room()
                self._jobs[job.id] = job
        except QueueFullError:
            self.discard(job)
            raise
        self._line.put(job)

    def discard(self, job: Job) -> None:
        """Forget a job and all its files."""
        self._jobs.pop(job.id, None)
        shutil.rmtree(job.image.parent, ignore_errors=True)

    def find(self, token: str) -> Job | None:
        """The job of this id, unless it was forgotten."""
        return self._jobs.get(token)

    def ahead(self, job: Job) -> int:
        """How many come before it."""
        before = 0
        for other in list(self._jobs.values()):
            if other is job:
                return before
            before += other.state in ("waiting", "working")
        return before

    def close(self) -> None:
        """Stop after the image in work."""
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
            job.view = self._work(job.image, out, *([job.covariates] if job.covariates else []))
            job.files = {path.name.removeprefix("image_"): path for path in sorted(out.iterdir()) if path.is_file()}
            job.state, self.last_seconds = "done", time.monotonic() - job.begun
        except VaganError as error:
            job.message, job.state = _without_paths(str(error), job), "failed"
        except MemoryError:
            job.message, job.state = "the image needs more memory than there is; give a smaller one", "failed"
        except Exception:  # the server goes on with the next image
            log.exception("image %s of job %s failed", job.image.name, job.id)
            job.message, job.state = "the server could not do it, and tells why in its terminal", "failed"
        job.ended = time.monotonic()


def _without_paths(message: str, job: Job) -> str:
    """The message with the image's own name; where it lies here is nobody's business."""
    return message.replace(str(job.image), job.name).replace(str(job.image.parent), "")
