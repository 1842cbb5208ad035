"""Manifests: one row per image with subject, class, split and file."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vagan.data.table import FORMULA, read_table, write_table
from vagan.errors import LeakageError, ManifestError, nearest

REQUIRED = ("id", "subject", "session", "label", "class", "split")
NAMES = ("id", "subject", "session", "class")
SPLITS = ("train", "validation", "test")
BASELINE_NAMES = ("baseline", "healthy", "control", "controls", "normal", "cn", "0")

UNSAFE = re.compile(rf"{FORMULA.pattern}|.*[\x00-\x1f\x7f]", re.DOTALL)
"""Names that a spreadsheet would compute when a table of results is opened in it, or that a terminal would obey."""


@dataclass(frozen=True)
class Manifest:
    """A checked table of images.

    Columns: ``id`` (unique), ``subject``, ``session``, ``label`` (0 for the baseline class, 1.. for classes of
    interest), ``class`` (its name), ``split`` (train, validation or test), then ``image`` and ``effect`` (paths,
    where there are files) and any covariates. Row i belongs to index i of a cohort's arrays.
    """

    table: pd.DataFrame
    excluded: frozenset[int] = frozenset()  #: Rows that are in no split for now.

    def __post_init__(self) -> None:
        defects = find_defects(self.table)
        if defects:
            raise ManifestError("; ".join(defects[:5]) + _more(len(defects), shown=5))
        require_disjoint_subjects(self.table)

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read ``manifest.csv``; one error lists every defect."""
        try:
            table = read_table(path)
            table["label"] = pd.to_numeric(table["label"]) if "label" in table else pd.NA
            return cls(table)
        except ManifestError as error:
            raise type(error)(f"{path}: {error}") from error
        except ValueError as error:
            raise ManifestError(f"{path}: labels must be non-negative integers; {error}") from error

    def write(self, path: Path) -> None:
        """Write as CSV."""
        write_table(path, self.table)

    def __repr__(self) -> str:
        found = self.table.groupby("split")["class"].value_counts()
        parts = {part: ", ".join(f"{found.get((part, name), 0)} {name}" for name in self.classes) for part in SPLITS}
        counts = [f"{part}: {text}" for part, text in parts.items()]
        return f"Manifest({len(self)} images of {self.table['subject'].nunique()} subjects; {'; '.join(counts)})"

    def __len__(self) -> int:
        return len(self.table)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of their labels; the first is the baseline class."""
        return tuple(self.table[["label", "class"]].drop_duplicates().sort_values("label")["class"])

    def indices(self, split: str, label: int | None = None) -> NDArray[np.int64]:
        """Row numbers of a split, of one class if asked."""
        chosen = self.table["split"] == split
        if label is not None:
            chosen &= self.table["label"] == label
        return np.setdiff1d(np.flatnonzero(chosen), list(self.excluded)).astype(np.int64)


def find_defects(table: pd.DataFrame) -> list[str]:
    """Everything that is wrong with a table, one line each."""
    if missing := [name for name in REQUIRED if name not in table]:
        return [f"columns missing: {', '.join(missing)} (found: {', '.join(table.columns)})"]
    if table.empty:
        return ["no rows"]
    defects = [
        f"row {row + 2}: the {column} {name!r} must not begin like a formula (=, @, + or -) nor hold control "
        "characters; rename it"
        for column in NAMES
        for row, name in enumerate(table[column])
        if UNSAFE.match(str(name))
    ]
    defects += [f"the id {name!r} occurs more than once" for name in table["id"][table["id"].duplicated()].unique()]
    defects += [
        f"row {row + 2}: the split {split!r} must be one of {', '.join(SPLITS)}"
        for row, split in enumerate(table["split"])
        if split not in SPLITS
    ]
    labels = sorted(table["label"].dropna().unique())
    if table["label"].isna().any() or labels != list(range(len(labels))):
        defects.append(f"labels must be 0 for the baseline class, then 1, 2 ...; found {list(map(float, labels))}")
    elif len(labels) < 2:
        defects.append(f"two classes are needed, found one: {table['class'].iloc[0]!r}")
    if (table.groupby("class")["label"].nunique() > 1).any() or (table.groupby("label")["class"].nunique() > 1).any():
        defects.append("each class name must belong to one label")
    return defects + _alike(table["class"])


def require_disjoint_subjects(table: pd.DataFrame) -> None:
    """Refuse a table in which a subject occurs in two splits: test scores would be flattered."""
    splits = table.groupby("subject")["split"].unique()
    leaking = splits[splits.map(len) > 1]
    if len(leaking):
        name, parts = leaking.index[0], " and ".join(leaking.iloc[0])
        raise LeakageError(
            f"each subject must be in one split only: {name!r} is in {parts}"
            f"{_more(len(leaking))}; give all images of a subject the same split"
        )


def label_classes(names: Sequence[str], baseline: str | None) -> dict[str, int]:
    """Number the classes: 0 for the baseline class, the others in alphabetical order.

    Without a ``baseline``, it is the class with one of the usual names for it.
    """
    classes = sorted(set(names))
    if alike := _alike(classes):
        raise ManifestError(alike[0])
    if len(classes) < 2:
        raise ManifestError(
            f"two classes are needed, found {len(classes)}: {', '.join(classes) or 'none'}; "
            "give images of a baseline class and of a class of interest"
        )
    if baseline is None:
        usual = [name for name in classes if name.lower() in BASELINE_NAMES]
        if len(usual) != 1:
            raise ManifestError(f"which class is the baseline? found {', '.join(classes)}; name it as `baseline`")
        baseline = usual[0]
    if baseline not in classes:
        raise ManifestError(f"no class is called {baseline!r}; {nearest(baseline, classes)}")
    return {name: label for label, name in enumerate([baseline, *(c for c in classes if c != baseline)])}


def _alike(names: Iterable[str]) -> list[str]:
    """Classes whose names differ in case alone, as defects."""
    return [
        f"classes must differ in more than case: found {one!r} and {other!r}; rename one"
        for one, other in combinations(sorted({str(name) for name in names}), 2)
        if one.casefold() == other.casefold()
    ]


def _more(count: int, shown: int = 1) -> str:
    return f" (and {count - shown} more)" if count > shown else ""
