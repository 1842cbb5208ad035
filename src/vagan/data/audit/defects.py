"""All defects of a manifest or a cohort, found before training."""

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from vagan.data.cohort import Cohort
from vagan.data.image_file import read_image
from vagan.data.manifest import find_defects, require_disjoint_subjects
from vagan.data.preparation import Preparation
from vagan.data.schema import MANIFEST, STORE
from vagan.data.table import read_table
from vagan.errors import ImageFileError, LeakageError, ManifestError, VaganError
from vagan.progress import track

BLOCK = 200
SHOWN = 20  #: Examples of a problem that are printed.


class Problem(NamedTuple):
    """A defect of a manifest or a cohort."""

    problem: str
    examples: tuple[str, ...] = ()
    remedy: str = ""
    is_warning: bool = False  #: Whether a cohort can be used all the same.

    def __str__(self) -> str:
        more = f" and {len(self.examples) - SHOWN} more" if len(self.examples) > SHOWN else ""
        examples = f": {', '.join(self.examples[:SHOWN])}{more}" if self.examples else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{'warning: ' if self.is_warning else ''}{self.problem}{examples}{remedy}"


def find_problems(path: Path) -> list[Problem]:
    """Problems of a cohort folder or of a ``manifest.csv``; an empty list means none.

    A cohort's images are all read: NaN, constant images, intensities outside [-1, 1], identical images under
    different names. A manifest's files are opened: missing, unreadable, of different shapes. Warnings: what was odd
    on import, such as nearly black images, and bit depths, voxel sizes or places that differ.
    """
    is_cohort = path.is_dir() and ((path / STORE).exists() or not (path / MANIFEST).is_file())
    manifest = path / MANIFEST if path.is_dir() else path
    return _table_problems(manifest) or (_cohort_problems(path) if is_cohort else _file_problems(manifest))


def _table_problems(path: Path) -> list[Problem]:
    try:
        table = read_table(path)
    except ManifestError as error:
        return [Problem(str(error))]
    if "label" in table:
        table["label"] = pd.to_numeric(table["label"], errors="coerce")
    problems = [Problem(defect) for defect in find_defects(table)]
    if {"subject", "split"} <= set(table.columns):
        try:
            require_disjoint_subjects(table)
        except LeakageError as error:
            problems.append(Problem(str(error)))
    return problems


def _cohort_problems(path: Path) -> list[Problem]:
    try:
        cohort = Cohort(path)
    except VaganError as error:
        return [Problem(str(error))]
    names, splits = list(cohort.manifest.table["id"]), list(cohort.manifest.table["split"])
    found = defaultdict[str, list[str]](list)
    seen: dict[bytes, int] = {}
    for start in track(range(0, len(names), BLOCK), -(-len(names) // BLOCK), "checking images"):
        rows = range(start, min(start + BLOCK, len(names)))
        for row, image in zip(rows, cohort.images(rows).numpy(), strict=True):
            if not np.isfinite(image).all():
                found["images hold NaN or infinite values"].append(names[row])
            elif image.min() == image.max():
                found["images are constant"].append(names[row])
            elif image.min() < -1 - 1e-5 or image.max() > 1 + 1e-5:
                found["intensities must lie in [-1, 1]"].append(f"{names[row]} ({image.min():g} to {image.max():g})")
            twin = seen.setdefault(hashlib.blake2b(image.tobytes()).digest(), row)
            if twin != row:
                apart = "" if splits[twin] == splits[row] else f" ({splits[twin]} and {splits[row]})"
                found["images are identical"].append(f"{names[twin]} and {names[row]}{apart}")
    again = "correct the source and make the cohort again"
    problems = [Problem(problem, tuple(examples), again) for problem, examples in found.items()]
    return problems + [Problem(text, is_warning=True) for text in cohort.metadata.warnings]


def _file_problems(path: Path) -> list[Problem]:
    table = read_table(path)
    if "image" not in table:
        return []
    is_cohort = (path.parent / STORE).is_dir()
    preparation = Cohort(path.parent).metadata.preparation if is_cohort else Preparation()
    shapes: dict[tuple[int, ...], str] = {}
    problems, empty = [], []
    for name in track(table["image"], len(table), "reading images"):
        if (path.parent / name).is_dir():  # a DICOM series, which the preprocessing will read
            empty += [] if any((path.parent / name).iterdir()) else [name]
            continue
        try:
            shapes.setdefault(read_image(path.parent / name, preparation.colour).array.shape, name)
        except ImageFileError as error:
            problems.append(Problem(str(error)))
    if empty:
        problems.append(Problem("folders of DICOM series are empty", tuple(empty), "copy them again"))
    raw_scans = not is_cohort and all(len(shape) == 4 for shape in shapes)  # the preprocessing gives them one shape
    if len(shapes) > 1 and preparation.size is None and not raw_scans:
        found = tuple(f"{shape[1:]} ({name})" for shape, name in shapes.items())
        problems.append(Problem("images differ in shape", found, "resize them to one"))
    return problems
