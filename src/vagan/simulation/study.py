"""A cohort of simulated subjects, its manifest and scans, in parallel."""

import multiprocessing
import os
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from vagan.data.cohort import Cohort, write_cohort
from vagan.data.manifest import Manifest
from vagan.data.preparation import Preparation
from vagan.data.schema import COHORT, CohortCase, CohortMetadata
from vagan.data.splits import assign_splits
from vagan.errors import CohortError
from vagan.files import FolderKind, new_folder, require_replaceable
from vagan.geometry import Grid
from vagan.simulation.base import REGIONS
from vagan.simulation.raw import SPACING_MM as RAW_SPACING_MM
from vagan.simulation.raw import write_scan, write_tables
from vagan.simulation.simulation import Simulation, prepared_grid
from vagan.simulation.subject import Subject, Subtype, Visit, draw_subject

GROUPS: tuple[Subtype, ...] = ("", "hippocampal", "", "ventricular")  #: Half of the subjects stay healthy.
MIN_SUBJECTS = 20
SPACING_MM = (1.0, 8.0)
MAX_STRENGTH = 2.0


def make_atrophy_cohort(
    path: Path | str,
    *,
    subjects: int = 400,
    spacing_mm: float = 2.6,
    base: str = "mni152",
    strength: float = 1.0,
    healthy_follow_up: bool = False,
    seed: int = 0,
    jobs: int = 0,
    raw: Path | str | None = None,
    raw_spacing_mm: float = RAW_SPACING_MM,
) -> Cohort:
    """Simulate brain scans with and without a disease whose effect is known, 64/16/20 % train/validation/test.

    Half of the subjects are healthy and have one scan, or two. The others, half of each subtype, have a healthy one
    and a later one with the disease, with another pose, noise and shading. For ``base`` see `load_base`, for
    ``strength`` and ``healthy_follow_up`` `draw_subject`. Same arguments, same bits, whatever the number of ``jobs``,
    processes of one thread each; 0 is one for each core. ``raw`` is a new folder for the same subjects' scans as they
    leave the scanner, a BIDS dataset.

    Columns of the table: ``subtype`` and ``severity`` (0 to 1; empty and 0 where there is no disease), ``age``
    (years), ``sex``, ``brain_ml``, and for each region its volume and the part of it that is the disease's
    (``_change_ml``), in the subject's own size. ``regions`` has the region that a voxel is nearest to.
    """
    if subjects < MIN_SUBJECTS:
        raise CohortError(f"at least {MIN_SUBJECTS} subjects are needed, found {subjects}")
    for spacing in (spacing_mm, raw_spacing_mm):
        if not SPACING_MM[0] <= spacing <= SPACING_MM[1]:
            raise CohortError(f"voxels must be of {SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm, found {spacing:g}")
    if not 0 < strength <= MAX_STRENGTH:
        raise CohortError(f"the strength must be above 0 and at most {MAX_STRENGTH:g}, found {strength:g}")
    if jobs < 0:
        raise CohortError(f"`jobs` must be 0 or more, found {jobs}")
    path = Path(path)
    require_replaceable(path, COHORT)
    if raw is not None:
        require_replaceable(Path(raw), FolderKind())
    simulation = Simulation.on(base, seed=seed)
    draw = partial(draw_subject, seed=seed, strength=strength, healthy_follow_up=healthy_follow_up)
    people = [draw(number + 1, GROUPS[number % len(GROUPS)]) for number in range(subjects)]
    grid = prepared_grid(spacing_mm)
    metadata = CohortMetadata(
        source=f"simulated atrophy on {simulation.base.name}: {subjects} subjects, {spacing_mm:g} mm, seed {seed}, "
        f"strength {strength:g}{', healthy subjects twice' if healthy_follow_up else ''}",
        preparation=Preparation(low=-1.0, high=1.0),
        spacing_mm=(spacing_mm,) * 3,
        affine=grid.affine.tolist(),
        regions=REGIONS,
    )
    scans = [(subject, visit) for subject in people for visit in range(len(subject.visits))]
    rows: dict[int, dict[str, Any]] = {}
    processes = jobs or os.cpu_count() or 1
    with ExitStack() as stack:
        raw_folder = stack.enter_context(new_folder(Path(raw), FolderKind())) if raw is not None else None
        executor = start_executor(simulation, processes)
        stack.callback(executor.shutdown, cancel_futures=True)
        waiting = {
            row: executor.submit(simulate_scan, subject, visit, grid, raw_folder, raw_spacing_mm)
            for row, (subject, visit) in enumerate(scans)
        }

        def case_at(row: int) -> CohortCase:
            try:
                rows[row], case = waiting.pop(row).result()
            except BrokenExecutor as error:
                raise CohortError("a worker process died, possibly for lack of memory; use fewer `jobs`") from error
            return case

        def manifest() -> Manifest:
            table = pd.DataFrame([rows[row] for row in range(len(scans))])
            groups = table.assign(group=[subject.subtype for subject, _ in scans])
            table.insert(5, "split", assign_splits(groups, strata=("group",), seed=seed))
            return Manifest(table)

        cohort = write_cohort(path, manifest, metadata, case_at, num_images=len(scans), threads=processes)
        if raw_folder is not None:
            stripped = simulation.base.head is None
            write_tables(raw_folder, cohort.manifest.table, metadata.source, skull_stripped=stripped)
    return cohort


def measure(simulation: Simulation, subject: Subject, visit: Visit) -> dict[str, Any]:
    """Row of the table of one scan, without its split."""
    volumes, without = simulation.volumes_ml(subject, visit)
    return {
        "id": f"{subject.name}_{visit.session}",
        "subject": subject.name,
        "session": visit.session,
        "label": int(visit.ill),
        "class": "atrophy" if visit.ill else "baseline",
        "subtype": subject.subtype if visit.ill else "",
        "severity": round(subject.severity, 4) if visit.ill else 0.0,
        "age": round(visit.age_years, 2),
        "sex": subject.sex,
        "brain_ml": round(simulation.brain_ml(subject), 1),
        **{f"{name}_ml": round(float(ml), 4) for name, ml in zip(REGIONS, volumes, strict=True)},
        **{f"{name}_change_ml": round(float(ml), 4) for name, ml in zip(REGIONS, volumes - without, strict=True)},
    }


_held: list[Simulation] = []  #: The simulation of a worker process.


def start_executor(simulation: Simulation, processes: int) -> Executor:
    """Processes of one thread each that hold the simulation, or this one; the same results whatever their number."""
    if processes == 1:
        return ThreadPoolExecutor(1, initializer=_hold, initargs=(simulation,))
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start_worker, (simulation,))


def _hold(simulation: Simulation) -> None:
    _held[:] = [simulation]


def _start_worker(simulation: Simulation) -> None:
    import torch

    torch.set_num_threads(1)
    _hold(simulation)


def simulate_scan(
    subject: Subject, visit: int, grid: Grid, raw: Path | None, raw_spacing_mm: float
) -> tuple[dict[str, Any], CohortCase]:
    """Measure and prepare one scan in a worker, and write its raw scan into a folder if there is one."""
    (simulation,), seen = _held, subject.visits[visit]
    if raw is not None:
        write_scan(simulation, subject, visit, raw, raw_spacing_mm)
    return measure(simulation, subject, seen), simulation.prepared(subject, seen, grid)
