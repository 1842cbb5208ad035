"""Cohorts of benchmarks, kept from one call to the next."""

from collections.abc import Callable
from pathlib import Path

from vagan.data.cohort import Cohort
from vagan.data.schema import MANIFEST
from vagan.simulation.study import GROUPS
from vagan.simulation.subject import Subject, Visit, draw_subject


def kept(folder: Path, make: Callable[..., Cohort], **options) -> Cohort:
    """The cohort in a folder; made there with these options if it is not there yet."""
    return Cohort(folder) if (folder / MANIFEST).is_file() else make(folder, **options)


def whose(cohort: Cohort, row: int, *, seed: int) -> tuple[Subject, Visit]:
    """The simulated subject, and the visit, of a scan in a cohort of `make_atrophy_cohort` with this seed."""
    about = cohort.manifest.table.iloc[row]
    number = int("".join(filter(str.isdigit, about["subject"])))
    subject = draw_subject(number, GROUPS[(number - 1) % len(GROUPS)], seed=seed)
    return subject, next(visit for visit in subject.visits if visit.session == about["session"])
