"""A cohort of simulated subjects, its manifest and scans, in parallel."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import pandas as pd

from vagan.data.cohort import Cohort
from vagan.data.manifest import Manifest
from vagan.data.preparation import Preparation
from vagan.data.schema import COHORT, CohortCase, CohortMetadata
from vagan.data.splits import assign_splits
from vagan.data.write import write_cohort
from vagan.errors import CohortError
from vagan.files import FolderKind, new_folder, require_replaceable
from vagan.geometry import Grid
from vagan.simulation.base import REGIONS
from vagan.simulation.raw import SPACING_MM as RAW_SPACING_MM
from vagan.simulation.raw import write_scan, write_tables
from vagan.simulation.simulation import Simulation, prepared_grid
from vagan.simulation.subject import Subject, Subtype, draw_subject

T = TypeVar("T")

GROUPS: tuple[Subtype, ...] = ("", "hippocampal", "", "ventricular")
"""Half of the subjects stay healthy."""

LEAST_SUBJECTS = 20
SPACING_MM = (1.0, 8.0)
MOST_STRENGTH = 2.0


def make_atrophy_cohort(
    path: Path | str,
    *,
    subjects: int = 400,
    spacing_mm: float = 2.6,
    base: str = "mni152",
    strength: float = 1.0,
    late_stage: bool = True,
    healthy_follow_up: bool = False,
    seed: int = 0,
    jobs: int = 0,
    raw: Path | str | None = None,
    raw_spacing_mm: float = RAW_SPACING_MM,
) -> Cohort:
    """Simulate brain scans with and without a disease whose effect is known, 64/16/20 % train/validation/test.

    Half of the subjects are healthy and have one scan, or two. The others, half of each subtype, have a healthy one
    and a later one with the disease, with another pose, noise and shading.

    Parameters
    ----------
    path
        Cohort folder to write.
    subjects
        Number of subjects; a quarter more scans of each class.
    spacing_mm, raw_spacing_mm
        Voxel sizes; 2.6 gives 64x80x56 voxels, 1.3 gives 128x160x112.
    base
        The brain that they are variations of; see `load_base`.
    strength, late_stage, healthy_follow_up
        See `draw_subject`.
    seed
        Same arguments, same bits.
    jobs
        Processes of one thread each; 0 is one for each core.
    raw
        New folder for the same subjects' scans as they leave the scanner, a BIDS dataset; see `raw`.

    Returns
    -------
    Cohort
        Columns of its table: ``subtype`` and ``severity`` (0 to 1; empty and 0 where there is no disease), ``age``
        (years), ``sex``, ``brain_ml``, and for each region its volume and the part of it that is the disease's
        (``_change_ml``), in the subject's own size. ``regions`` has the region that a voxel is nearest to.
    """
    if subjects < LEAST_SUBJECTS:
        raise CohortError(f"at least {LEAST_SUBJECTS} subjects are needed, found {subjects}")
    for spacing in (spacing_mm, raw_spacing_mm):
        if not SPACING_MM[0] <= spacing <= SPACING_MM[1]:
            raise CohortError(f"voxels must be of {SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm, found {spacing:g}")
    if not 0 < strength <= MOST_STRENGTH:
        raise CohortError(f"the strength must be above 0 and at most {MOST_STRENGTH:g}, found {strength:g}")
    if jobs < 0:
        raise CohortError(f"`jobs` must be 0 or more, found {jobs}")
    path = Path(path)
    require_replaceable(path, COHORT)
    if raw is not None:
        require_replaceable(Path(raw), FolderKind())
    simulation = Simulation.on(base, seed=seed)
    people = [
        draw_subject(
            number + 1,
            GROUPS[number % len(GROUPS)],
            seed=seed,
            strength=strength,
            late_stage=late_stage,
            healthy_follow_up=healthy_follow_up,
        )
        for number in range(subjects)
    ]
    grid = prepared_grid(spacing_mm)
    metadata = CohortMetadata(
        source=f"simulated atrophy on {simulation.base.name}: {subjects} subjects, {spacing_mm:g} mm, seed {seed}, "
        f"strength {strength:g}{'' if late_stage else ', no late stage'}"
        f"{', healthy subjects twice' if healthy_follow_up else ''}",
        preparation=Preparation(low=-1.0, high=1.0),
        spacing_mm=(spacing_mm,) * 3,
        affine=tuple(tuple(map(float, row)) for row in grid.affine),
        regions=REGIONS,
    )
    row_of = [(number, visit) for number, subject in enumerate(people) for visit in range(len(subject.visits))]
    measured: dict[int, list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        raw_folder = stack.enter_context(new_folder(Path(raw), FolderKind())) if raw is not None else None
        executor, processes = stack.enter_context(simulators(simulation, jobs))

        def start(number: int) -> Future[SimulatedSubject]:
            return executor.submit(_in_worker, simulate_subject, people[number], grid, raw_folder, raw_spacing_mm)

        simulated = Ahead(start, [len(subject.visits) for subject in people], most=2 * processes)

        def case_at(row: int) -> CohortCase:
            number, visit = row_of[row]
            subject = simulated.take(number)
            measured[number] = subject.rows
            return subject.cases[visit]

        def manifest() -> Manifest:
            table = pd.DataFrame([row for number in range(len(people)) for row in measured[number]])
            groups = table.assign(group=table["subject"].map({who.name: who.subtype for who in people}))
            table.insert(5, "split", assign_splits(groups, strata=("group",), seed=seed))
            return Manifest(table)

        cohort = write_cohort(path, manifest, metadata, case_at, num_images=len(row_of), threads=processes)
        if raw_folder is not None:
            write_tables(
                raw_folder, cohort.manifest.table, metadata.source, skull_stripped=simulation.base.head is None
            )
    return cohort


class SimulatedSubject(NamedTuple):
    """All scans of a subject, and their rows of the table."""

    rows: list[dict[str, Any]]
    cases: list[CohortCase]


def simulate_subject(
    simulation: Simulation, subject: Subject, grid: Grid, raw: Path | None, raw_spacing_mm: float
) -> SimulatedSubject:
    """Measure a subject, prepare its scans, and write its raw scans into a folder if there is one."""
    if raw is not None:
        for visit in range(len(subject.visits)):
            write_scan(simulation, subject, visit, raw, raw_spacing_mm)
    cases = [simulation.prepared(subject, visit, grid) for visit in subject.visits]
    return SimulatedSubject(measure(simulation, subject), cases)


def measure(simulation: Simulation, subject: Subject) -> list[dict[str, Any]]:
    """One row of the table for each scan, without its split."""
    brain_ml = simulation.brain_ml(subject)
    rows = []
    for visit in subject.visits:
        volumes, without = simulation.volumes_ml(subject, visit)
        rows.append(
            {
                "id": f"{subject.name}_{visit.session}",
                "subject": subject.name,
                "session": visit.session,
                "label": int(visit.ill),
                "class": "atrophy" if visit.ill else "baseline",
                "subtype": subject.subtype if visit.ill else "",
                "severity": round(subject.severity, 4) if visit.ill else 0.0,
                "age": round(visit.age_years, 2),
                "sex": subject.sex,
                "brain_ml": round(brain_ml, 1),
            }
            | {f"{name}_ml": round(float(ml), 4) for name, ml in zip(REGIONS, volumes, strict=True)}
            | {f"{name}_change_ml": round(float(ml), 4) for name, ml in zip(REGIONS, volumes - without, strict=True)}
        )
    return rows


class Ahead:
    """Simulated subjects: those that are taken, and the next ones meanwhile, so that all processes are busy."""

    def __init__(self, start: Callable[[int], Future[SimulatedSubject]], times: list[int], *, most: int) -> None:
        self._start = start
        self._left = times  # how many times each subject will still be taken
        self._most = most  # that are started ahead or kept in memory
        self._started: dict[int, Future[SimulatedSubject]] = {}
        self._lock = Lock()

    def take(self, number: int) -> SimulatedSubject:
        """Wait for a subject; may be called from several threads."""
        try:
            with self._lock:
                for later in range(number, len(self._left)):
                    if later > number and len(self._started) >= self._most:
                        break
                    if self._left[later] and later not in self._started:
                        self._started[later] = self._start(later)
                found = self._started[number]
                self._left[number] -= 1
                if not self._left[number]:
                    del self._started[number]  # lest all of them be kept in memory
            return found.result()
        except BrokenExecutor as error:
            raise CohortError("a worker process died, possibly for lack of memory; use fewer `jobs`") from error


@contextmanager
def simulators(simulation: Simulation, jobs: int) -> Iterator[tuple[Executor, int]]:
    """Processes of one thread each that hold the simulation, or this one; the same results whatever their number."""
    processes = jobs or os.cpu_count() or 1
    executor: Executor
    if processes == 1:
        executor = ThreadPoolExecutor(1, initializer=_hold, initargs=(simulation,))
    else:
        context = multiprocessing.get_context("spawn")
        executor = ProcessPoolExecutor(processes, context, _start_worker, (simulation,))
    try:
        yield executor, processes
    finally:
        executor.shutdown(cancel_futures=True)


_held: list[Simulation] = []
"""The simulation of a worker process."""


def _hold(simulation: Simulation) -> None:
    _held[:] = [simulation]


def _start_worker(simulation: Simulation) -> None:
    import torch

    torch.set_num_threads(1)
    _hold(simulation)


def _in_worker(work: Callable[..., T], *arguments: Any) -> T:
    return work(_held[0], *arguments)
