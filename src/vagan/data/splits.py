"""Training, validation and test splits: by subject, stratified and seeded, or from published lists."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vagan.errors import LeakageError, ManifestError, nearest
from vagan.files import regular
from vagan.seeding import numpy_generator


@dataclass(frozen=True)
class SubjectLists:
    """Subjects whose part is not drawn but given."""

    test: frozenset[str] = frozenset()
    validation: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if both := sorted(self.test & self.validation):
            more = f" (and {len(both) - 1} more)" if len(both) > 1 else ""
            where = f"{both[0]!r} is among test and validation subjects{more}"
            raise LeakageError(f"each subject must be in one list only: {where}; correct the lists")

    @classmethod
    def read(cls, test: Path | None = None, validation: Path | None = None) -> "SubjectLists":
        """Read lists: a subject a line, with or without ``sub-``; ``#`` begins a comment."""
        return cls(_read_list(test), _read_list(validation))

    def part_of(self, subject: str) -> str:
        """``test``, ``validation``, or an empty string."""
        name = _bare(subject)
        return "test" if name in self.test else "validation" if name in self.validation else ""

    def absent(self, subjects: Iterable[str]) -> list[str]:
        """Listed subjects that are not among these."""
        return sorted((self.test | self.validation) - {_bare(subject) for subject in subjects})

    def describe_absent(self, subjects: Iterable[str]) -> str:
        """A warning of `absent` subjects, with the nearest unlisted one; empty if there are none."""
        there = {_bare(subject) for subject in subjects}
        absent, free = self.absent(there), there - self.test - self.validation
        hint = f" ({nearest(absent[0], free)})" if absent and free else ""
        return f"{len(absent)} listed subjects have no image, e.g. {absent[0]!r}{hint}" if absent else ""


DRAWN = SubjectLists()


def assign_splits(
    table: pd.DataFrame,
    *,
    strata: Sequence[str] = ("label",),
    test: float = 0.2,
    validation: float = 0.2,
    seed: int = 0,
    lists: SubjectLists = DRAWN,
) -> pd.Series:
    """Split for each row, such that a subject is in one part only.

    The combinations of the columns ``strata`` keep their proportions in every part; a subject counts where its first
    row belongs. ``test`` is the fraction of subjects for the test part, ``validation`` that of the *remaining* ones
    (the paper: 0.2 of 0.8). A part with a list gets no other subject; `ManifestError` if none of a list is there.
    """
    first = table.drop_duplicates("subject")
    parts = {str(subject): part for subject in first["subject"] if (part := lists.part_of(str(subject)))}
    for name, listed in (("test", lists.test), ("validation", lists.validation)):
        if listed and name not in parts.values():
            raise ManifestError(
                f"a list of {name} subjects must name subjects of the table, such as {first['subject'].iloc[0]!r}; "
                f"found {min(listed)!r} and others, none of them known"
            )
    test, validation = 0.0 if lists.test else test, 0.0 if lists.validation else validation
    free = first[~first["subject"].isin(parts.keys())]
    for number, (_, group) in enumerate(free.groupby(list(strata), sort=True)):
        subjects = group["subject"].to_numpy()[numpy_generator(seed, "splits", number).permutation(len(group))]
        tests = round(test * len(subjects))
        validations = round(validation * (len(subjects) - tests))
        drawn = ["test"] * tests + ["validation"] * validations + ["train"] * (len(subjects) - tests - validations)
        parts |= dict(zip(subjects, drawn, strict=True))
    return table["subject"].map(parts).rename("split")


def _read_list(path: Path | None) -> frozenset[str]:
    if path is None:
        return frozenset()
    try:
        lines = regular(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} must be a text file with one subject per line: {error}") from error
    names = {_bare(line.split("#")[0]) for line in lines} - {""}
    if not names:
        raise ManifestError(f"{path} must name one subject per line; it is empty")
    return frozenset(names)


def _bare(subject: str) -> str:
    """``sub-002S0295``, ``002_S_0295`` -> ``002S0295``: one spelling for tables and for BIDS."""
    return re.sub(r"[^A-Za-z0-9]", "", subject.strip().removeprefix("sub-"))
