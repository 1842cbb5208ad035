"""Cohorts of benchmarks, kept from one call to the next."""

from collections.abc import Callable
from pathlib import Path

from vagan.data.cohort import Cohort
from vagan.data.schema import MANIFEST


def kept(folder: Path, make: Callable[..., Cohort], **options) -> Cohort:
    """The cohort in a folder; made there with these options if it is not there yet."""
    return Cohort(folder) if (folder / MANIFEST).is_file() else make(folder, **options)
