"""Parallel execution over scans, locally or on a Dask cluster; a failed scan stops no other."""

import hashlib
import json
import logging
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from vagan.data.table import write_table
from vagan.errors import MissingExtraError, PreprocessingError, VaganError
from vagan.files import digest_of, read_text, remove_leftovers, write_json
from vagan.preprocessing.derivatives import DerivativePaths, read_whole, write_prepared
from vagan.preprocessing.pipeline import Pipeline, Upstream
from vagan.preprocessing.scan import Scan, read_scan

ATTEMPTS = 2  #: A scan whose worker dies, of too little memory perhaps, is tried once more.


@dataclass(frozen=True)
class Job:
    """One scan to prepare."""

    image: Path
    subject: str
    session: str = ""
    mask: Path | None = None
    upstream: Upstream = "raw"


@dataclass(frozen=True)
class Outcome:
    """What became of it."""

    job: Job
    status: Literal["done", "kept", "failed"]  #: ``kept``: done before, with the same input and settings.
    reason: str = ""


def prepare_scan(job: Job, pipeline: Pipeline, out: Path) -> Outcome:
    """Prepare one scan and write its files; whatever goes wrong is in the outcome."""
    use_one_thread()  # here, because workers may join a cluster at any time
    begin = time.perf_counter()
    try:
        paths = DerivativePaths.of(out, pipeline, job.subject, job.session)
        if not job.image.exists():
            raise PreprocessingError(f"{job.image} does not exist; check the path")
        raw_hash = digest_of(job.image, job.mask)
        record = read_whole(paths, pipeline)
        if record and record.source_hash == raw_hash:
            return Outcome(job, "kept")
        remove_leftovers(paths.folder)
        paths.record.unlink(missing_ok=True)  # if this fails, what was made of an older input counts no more
        slices: dict[str, NDArray[np.uint8]] = {}

        def on_step(step: str, scan: Scan) -> None:
            slices.update(slices_of(f"{len(slices) // 2:02d}-{step}", scan))

        prepared = pipeline.run(read_scan(job.image, job.mask), upstream=job.upstream, on_step=on_step)
        seconds = time.perf_counter() - begin
        write_prepared(paths, prepared, slices, pipeline, source=job.image, source_hash=raw_hash, seconds=seconds)
        return Outcome(job, "done")
    except VaganError as error:
        reason = str(error)
    except MemoryError:
        reason = "too little memory for this scan; use fewer processes"
    except Exception as error:  # the libraries' own errors: that of one scan must not abort the run
        reason = f"{type(error).__name__}: {error}"
    return Outcome(job, "failed", " ".join(reason.split()))


def prepare_all(
    jobs: Iterable[Job], pipeline: Pipeline, out: Path, *, processes: int = 1, scheduler: str = ""
) -> Iterator[Outcome]:
    """Outcomes in the order in which they come.

    ``processes`` on this machine have one thread each. ``scheduler`` is the address of a Dask scheduler instead, e.g.
    ``tcp://node1:8786``, whose workers see the same files. Several runs may share the folder ``out``.
    """
    jobs = list(jobs)
    if scheduler:
        yield from _on_cluster(jobs, pipeline, out, scheduler)
    elif processes == 1:
        for job in jobs:
            yield prepare_scan(job, pipeline, out)
    else:
        yield from _on_this_machine(jobs, pipeline, out, processes)


def slices_of(name: str, scan: Scan) -> dict[str, NDArray[np.uint8]]:
    """The three middle slices of a scan side by side, 0 to 255, and the brain's outline in them."""
    every = tuple(slice(None, None, 1 + extent // 128) for extent in scan.image.shape)
    low, high = (float(value) for value in np.percentile(scan.image[every], (0.5, 99.5)))
    grey = ((_triptych(scan.image) - low) / max(high - low, 1e-6)).clip(0, 1) * 255
    mask = np.zeros_like(grey) if scan.mask is None else _triptych(scan.mask) * 255
    return {f"{name}_image": grey.astype(np.uint8), f"{name}_mask": mask.astype(np.uint8)}


def _triptych(values: NDArray[np.float32] | NDArray[np.bool_]) -> NDArray[np.float32]:
    """Sagittal, coronal and axial middle slice; up is up, or front. The least value fills up."""
    middle = [extent // 2 for extent in values.shape]
    planes = [values.take(place, axis).astype(np.float32) for axis, place in enumerate(middle)]
    height, least = max(plane.shape[1] for plane in planes), min(float(plane.min()) for plane in planes)
    padded = [np.pad(plane, ((0, 0), (0, height - plane.shape[1])), constant_values=least) for plane in planes]
    return np.concatenate([np.flipud(plane.T) for plane in padded], axis=1)


def use_one_thread() -> None:
    """One thread for this process: scans are the parallel work. ITK has one anyway."""
    torch.set_num_threads(1)


def _start_worker() -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def _on_this_machine(jobs: list[Job], pipeline: Pipeline, out: Path, processes: int) -> Iterator[Outcome]:
    """A process pool that is made anew when a worker dies; only scans in work at that time are tried again."""
    waiting, attempts = deque(jobs), dict.fromkeys(jobs, 0)
    while waiting:
        pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start_worker)
        running: dict[Future[Outcome], Job] = {}
        try:
            while waiting or running:
                while waiting and len(running) < processes:
                    job = waiting.popleft()
                    attempts[job] += 1
                    running[pool.submit(prepare_scan, job, pipeline, out)] = job
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    outcome = future.result()
                    del running[future]
                    yield outcome
        except BrokenExecutor:
            for job in running.values():
                if attempts[job] < ATTEMPTS:
                    waiting.append(job)
                else:
                    yield Outcome(job, "failed", "its worker process died twice; is there too little memory?")
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _on_cluster(jobs: list[Job], pipeline: Pipeline, out: Path, scheduler: str) -> Iterator[Outcome]:
    try:
        from distributed import Client, KilledWorker, as_completed
    except ImportError as error:
        raise MissingExtraError("`scheduler` needs Dask: pip install 'vagan[cluster]'") from error
    try:
        client = Client(scheduler, timeout=20)
    except (OSError, ValueError, TypeError) as error:  # TypeError: incomplete settings of TLS
        raise PreprocessingError(f"no Dask scheduler answers at {scheduler}: {error}; check the address") from error
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost scheduler is an error of ours
    with client:
        futures = {client.submit(prepare_scan, job, pipeline, out.resolve(), pure=False): job for job in jobs}
        for future in as_completed(futures):
            try:
                yield future.result()
            except KilledWorker:
                yield Outcome(futures[future], "failed", "its workers died one after the other; too little memory?")
            except CancelledError as error:
                raise PreprocessingError(f"the scheduler at {scheduler} is gone; repeat the command") from error


FAILED = "failed.csv"
COLUMNS = ("image", "subject", "session", "reason")


class Failures:
    """The failures of a folder of derivatives, of this run and of others."""

    def __init__(self, out: Path) -> None:
        self._out, self._folder = out, out / "logs" / "failed"

    def record(self, outcome: Outcome) -> None:
        """Record a failure, or clear an earlier one of the same scan."""
        job = outcome.job
        path = self._file(str(job.image))
        if outcome.status != "failed":
            path.unlink(missing_ok=True)
            return
        write_json(path, dict(zip(COLUMNS, (str(job.image), job.subject, job.session, outcome.reason), strict=True)))

    def rows(self) -> list[dict[str, str]]:
        """All failures, sorted by subject."""
        found = []
        for path in self._folder.glob("[!.]*.json"):
            with suppress(FileNotFoundError):  # cleared by a concurrent run
                found.append(json.loads(read_text(path)))
        return sorted(found, key=lambda row: (row["subject"], row["session"], row["image"]))

    def forget_others(self, images: Collection[str]) -> None:
        """Forget the failures of images that are no longer there."""
        for row in self.rows():
            if row["image"] not in images:
                self._file(row["image"]).unlink(missing_ok=True)

    def write_table(self) -> None:
        """Write ``failed.csv``; only its header if nothing failed."""
        write_table(self._out / FAILED, pd.DataFrame(self.rows(), columns=list(COLUMNS)))

    def _file(self, image: str) -> Path:
        return self._folder / f"{hashlib.blake2b(os.fsencode(image), digest_size=8).hexdigest()}.json"
