"""A cohort of simulated subjects: who is in it, its table, and its scans, made on all cores."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from vagan.data.cohort import Cohort
from vagan.data.manifest import Manifest
from vagan.data.preparation import Preparation
from vagan.data.schema import COHORT_FILES, CohortCase, CohortMetadata
from vagan.data.splits import assign_splits
from vagan.data.write import write_cohort
from vagan.errors import CohortError
from vagan.files import new_folder, require_replaceable
from vagan.geometry import Grid
from vagan.progress import track
from vagan.simulation.raw import SPACING_MM as RAW_SPACING_MM
from vagan.simulation.raw import write_scan, write_tables
from vagan.simulation.regions import REGIONS
from vagan.simulation.simulation import Simulation, prepared_grid
from vagan.simulation.subject import Subject, Subtype, draw_subject

T = TypeVar("T")

GROUPS: tuple[Subtype, ...] = ("", "hippocampal", "", "ventricular")
"""Half of the subjects stay healthy."""

LEAST_SUBJECTS = 20
SPACING_MM = (1.0, 8.0)
STRENGTH = (0.0, 2.0)


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
    spacing_mm
        Voxel size; 2.6 gives 64x80x56 voxels, 1.3 gives 128x160x112.
    base
        The brain that they are variations of; see `BASES`.
    strength
        Multiplies what the disease does.
    late_stage
        Whether severe disease shrinks the temporal lobes too.
    healthy_follow_up
        Whether healthy subjects have a second scan too: what changes between scans without a disease.
    seed
        Same arguments, same bits.
    jobs
        Processes of one thread each; 0 is one for each core.
    raw
        New folder for the same subjects' scans as they leave the scanner, a BIDS dataset; see `raw`.
    raw_spacing_mm
        Voxel size of those.

    Returns
    -------
    Cohort
        Columns of its table: ``subtype`` and ``severity`` (0 to 1; empty and 0 where there is no disease), ``age``
        (years), ``sex``, ``brain_ml``, and for each region its volume and the part of it that is the disease's
        (``_change_ml``), in the subject's own size. ``regions`` tells which region a voxel is nearest to.
    """
    require_options(subjects, spacing_mm, strength, jobs)
    _require_spacing(raw_spacing_mm)
    path = Path(path)
    require_replaceable(path, COHORT_FILES)
    if raw is not None:
        require_replaceable(Path(raw), frozenset())
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
    visits = [(subject, number) for subject in people for number in range(len(subject.visits))]
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
    with workers(simulation, jobs) as pool:
        table = make_table(people, pool, seed=seed)
        if raw is not None:
            with new_folder(Path(raw), frozenset()) as folder:
                write_tables(folder, table, metadata.source)
                for _ in pool.map(write_scan, visits, "writing raw scans", folder, raw_spacing_mm):
                    pass

        def case_at(row: int) -> CohortCase:
            return pool.call(_prepared, *visits[row], grid)

        return write_cohort(path, Manifest(table), metadata, case_at, threads=pool.processes)


def require_options(subjects: int, spacing_mm: float, strength: float, jobs: int) -> None:
    """Refuse what cannot be simulated."""
    if subjects < LEAST_SUBJECTS:
        raise CohortError(f"at least {LEAST_SUBJECTS} subjects are needed, found {subjects}")
    _require_spacing(spacing_mm)
    if not STRENGTH[0] < strength <= STRENGTH[1]:
        raise CohortError(
            f"the strength must be above {STRENGTH[0]:g} and at most {STRENGTH[1]:g}, found {strength:g}"
        )
    if jobs < 0:
        raise CohortError(f"--jobs must be 0 or more, found {jobs}")


def _require_spacing(spacing_mm: float) -> None:
    if not SPACING_MM[0] <= spacing_mm <= SPACING_MM[1]:
        raise CohortError(f"voxels must be of {SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm, found {spacing_mm:g}")


def make_table(people: list[Subject], pool: "Workers", *, seed: int) -> pd.DataFrame:
    """One row for each scan, with what is true of it."""
    rows = [
        row for facts in pool.map(_facts, [(subject,) for subject in people], "measuring subjects") for row in facts
    ]
    table = pd.DataFrame(rows)
    subtype_of = {subject.name: subject.subtype for subject in people}
    groups = table.assign(group=table["subject"].map(subtype_of))
    table.insert(5, "split", assign_splits(groups, strata=("group",), seed=seed))
    return table


def _facts(simulation: Simulation, subject: Subject) -> list[dict[str, Any]]:
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


def _prepared(simulation: Simulation, subject: Subject, visit: int, grid: Grid) -> CohortCase:
    return simulation.prepared(subject, subject.visits[visit], grid)


class Workers:
    """Processes that hold a simulation, or this process alone."""

    def __init__(self, simulation: Simulation, processes: int, pool: ProcessPoolExecutor | None) -> None:
        self.processes = processes
        self._simulation, self._pool = simulation, pool

    def call(self, work: Callable[..., T], *arguments: Any) -> T:
        """``work(simulation, *arguments)``, in one of the processes; may be called from several threads."""
        if self._pool is None:
            return work(self._simulation, *arguments)
        try:
            return self._pool.submit(_work, work, *arguments).result()
        except BrokenExecutor as error:
            raise CohortError("a worker process died, perhaps of too little memory; use fewer --jobs") from error

    def map(
        self, work: Callable[..., T], items: Sequence[tuple[Any, ...]], description: str, *shared: Any
    ) -> Iterator[T]:
        """``work(simulation, *item, *shared)`` of each item, in order, with a progress bar."""
        with ThreadPoolExecutor(self.processes) as threads:
            try:
                results = threads.map(lambda item: self.call(work, *item, *shared), items)
                yield from track(results, len(items), description)
            finally:
                threads.shutdown(wait=False, cancel_futures=True)  # if stopped, not to the end


@contextmanager
def workers(simulation: Simulation, jobs: int) -> Iterator[Workers]:
    """Start processes of one thread each; the same results whatever their number."""
    processes = jobs or os.cpu_count() or 1
    if processes == 1:
        yield Workers(simulation, 1, None)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _start_worker, (simulation,)) as pool:
        yield Workers(simulation, processes, pool)


_held: list[Simulation] = []
"""The simulation of a worker process."""


def _start_worker(simulation: Simulation) -> None:
    import torch

    torch.set_num_threads(1)
    _held[:] = [simulation]


def _work(work: Callable[..., T], *arguments: Any) -> T:
    return work(_held[0], *arguments)
