"""Pairs of scans of a subject before and after conversion."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from itertools import combinations, pairwise
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from vagan.data.manifest import Manifest
from vagan.errors import CohortError

FIELDS = ("field_strength", "mri_field")
DAYS_PER_MONTH = 365.25 / 12


@dataclass(frozen=True)
class Pair:
    """Two scans of one subject at one field strength, as rows of the cohort."""

    subject: str
    before: int
    after: int
    months: float
    """Between them."""
    field: str
    kind: Literal["converter", "stable"]


class Pairs(NamedTuple):
    """What can be compared, and why the others cannot."""

    converters: list[Pair]
    stable: list[Pair]
    """Subjects of the same class twice: their difference is what changes without a change of class."""
    left_out: dict[str, str]
    """Subjects that had both classes and give no pair, with the reason."""


def find_pairs(manifest: Manifest, *, label: int = 1, min_months: float = 0.0) -> Pairs:
    """Converters and stable subjects among the test images of a cohort.

    The manifest needs a column that orders a subject's scans: ``date``, ``age``, or sessions such as ``m12``;
    ``field_strength`` is respected where it is known. The first scan must be of the baseline class, and is paired
    with the last one of the class of interest; of several field strengths the longest interval counts. Pairs closer
    than ``min_months`` are left out. Stable pairs are as far apart as half of the converters are, as nearly as their
    scans allow, and at most as many. `CohortError` if scans cannot be ordered, or no subject converts.
    """
    table = manifest.table
    when, unit = _times(table)
    field = next((table[name].astype(str) for name in FIELDS if name in table), pd.Series("", index=table.index))
    columns = {"subject": table["subject"].astype(str), "label": table["label"], "when": when, "field": field}
    rows = pd.DataFrame(columns).iloc[manifest.indices("test")]
    rows = rows[rows["label"].isin([0, label])]
    rows = rows.sort_values("when", kind="stable")
    converters: list[Pair] = []
    left_out: dict[str, str] = {}
    unchanged = []
    for subject, scans in rows.groupby("subject"):
        if scans["label"].nunique() == 1:
            unchanged.append(scans)
            continue
        found = _converting(scans, unit, min_months)
        if isinstance(found, str):
            left_out[str(subject)] = found
        else:
            converters.append(found)
    if not converters:
        classes, one = manifest.classes, next(iter(left_out.items()), None)
        raise CohortError(
            f"no test subject goes from {classes[0]} to {classes[label]} at one field strength"
            + (f"; {one[0]}: {one[1]}" if one else "")
        )
    interval = float(np.median([pair.months for pair in converters]))
    stable = [pair for scans in unchanged if (pair := _stable(scans, unit, interval))]
    stable.sort(key=lambda pair: abs(pair.months - interval))
    return Pairs(converters, stable[: len(converters)], left_out)


def _converting(scans: pd.DataFrame, unit: float, min_months: float) -> Pair | str:
    """The pair of a subject that has both classes, or why there is none."""
    labels = list(scans["label"])
    if labels[0] != 0:
        return "its first scan is of the class of interest already"
    if any(later < earlier for earlier, later in pairwise(labels)):
        return "it went back to the baseline class"
    pairs = [
        _pair(scans, int(same.index[0]), int(same.index[-1]), unit, "converter")
        for _, same in scans.groupby("field")
        if same["label"].nunique() == 2
    ]
    if not pairs:
        return "no two scans of both classes at one field strength"
    longest = max(pairs, key=lambda pair: pair.months)
    return f"its scans are less than {min_months:g} months apart" if longest.months < min_months else longest


def _stable(scans: pd.DataFrame, unit: float, interval: float) -> Pair | None:
    """The two scans at one field strength whose distance in time is nearest to an interval."""
    pairs = [
        _pair(scans, one, other, unit, "stable")
        for _, same in scans.groupby("field")
        for one, other in combinations(same.index, 2)
        if same["when"][one] < same["when"][other]
    ]
    return min(pairs, key=lambda pair: abs(pair.months - interval), default=None)


def _pair(scans: pd.DataFrame, before: int, after: int, unit: float, kind: Literal["converter", "stable"]) -> Pair:
    months = float(scans["when"][after] - scans["when"][before]) * unit
    return Pair(str(scans["subject"][before]), int(before), int(after), months, str(scans["field"][before]), kind)


def _times(table: pd.DataFrame) -> tuple[pd.Series, float]:
    """When each scan was made, and how many months the unit of that is."""
    for name, (read, unit) in TIMES.items():
        if name in table:
            values = table[name].astype(str).map(read)
            if values.notna().all():
                return values, unit
    raise CohortError(
        "scans of a subject must have an order: no column of the manifest tells it for every scan; "
        f"looked for {', '.join(TIMES)} (sessions such as m12)"
    )


def _day(cell: str) -> float:
    try:
        return float(date.fromisoformat(cell[:10]).toordinal())
    except ValueError:
        return float("nan")


def _months(cell: str) -> float:
    """``ses-M012``, ``m12x1p5T``, ``bl``, ``baseline`` -> months."""
    name = cell.lower().removeprefix("ses-")
    if re.match(r"(bl|baseline|sc)", name):
        return 0.0
    found = re.match(r"m(\d+)", name)
    return float(found.group(1)) if found else float("nan")


TIMES: dict[str, tuple[Callable[[str], float], float]] = {
    "date": (_day, 1 / DAYS_PER_MONTH),
    "examination_date": (_day, 1 / DAYS_PER_MONTH),
    "age": (lambda cell: float(pd.to_numeric(cell, errors="coerce")), 12.0),
    "session": (_months, 1.0),
}
"""Columns that order scans: what reads a cell, and how many months its unit is."""
