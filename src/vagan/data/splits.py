"""Train, validation and test parts: by subject, stratified, seeded."""

from collections.abc import Sequence

import pandas as pd

from vagan.seeding import numpy_generator


def assign_splits(
    table: pd.DataFrame,
    *,
    strata: Sequence[str] = ("label",),
    test: float = 0.2,
    validation: float = 0.2,
    seed: int = 0,
) -> pd.Series:
    """Split for each row, such that a subject is in one part only.

    Parameters
    ----------
    table
        Needs the columns ``subject`` and ``strata``.
    strata
        Columns whose combinations keep their proportions in every part. A subject counts where its first
        row belongs.
    test
        Fraction of subjects for the test part.
    validation
        Fraction of the *remaining* subjects for validation (the paper: 0.2 of 0.8).
    seed
        Same seed, same table: same parts.
    """
    first = table.drop_duplicates("subject")
    parts: dict[str, str] = {}
    for number, (_, group) in enumerate(first.groupby(list(strata), sort=True)):
        subjects = group["subject"].to_numpy()[numpy_generator(seed, "splits", number).permutation(len(group))]
        tests = round(test * len(subjects))
        validations = round(validation * (len(subjects) - tests))
        for position, subject in enumerate(subjects):
            part = "test" if position < tests else "validation" if position < tests + validations else "train"
            parts[subject] = part
    return table["subject"].map(parts).rename("split")
