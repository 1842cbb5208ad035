"""Differences between the classes in covariates, which would appear in maps."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vagan.data.manifest import Manifest

COVARIATES = {
    "age": ("age", "age_at_scan"),
    "sex": ("sex",),
    "site": ("site",),
    "field_strength": ("field_strength", "mri_field"),
    "scanner": ("scanner",),
}
"""Covariates that are compared where a manifest has them, and the names of their columns."""


def known_covariates(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Columns of `COVARIATES` with a value in some row: name of the covariate to column; missing cells are empty."""
    found = {}
    for covariate, names in COVARIATES.items():
        column = next((name for name in names if name in table), None)
        if column is not None and (values := table[column].astype(object).fillna("")).astype(str).ne("").any():
            found[covariate] = values
    return found


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, columns aligned; none without rows."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in (head, *rows)]


LARGE = 0.25
"""Standardised difference from which on groups are not comparable (Rubin 2001); 0.1 is the strict limit."""
CHANCE = 0.01


@dataclass(frozen=True)
class Imbalance:
    """How far a class of interest lies from the baseline class in one covariate."""

    covariate: str
    interest: str
    """Column, and name of the class."""
    baseline_value: str
    interest_value: str
    """Mean and standard deviation, or the most frequent value, of the two classes."""
    difference: float
    """Standardised: of numbers in pooled standard deviations and signed, of kinds always positive."""
    by_chance: float
    """Probability of one as large in two samples of one population."""
    missing: int
    """Subjects of the two classes of whom it is not known."""

    @property
    def is_large(self) -> bool:
        """Whether it is both large and more than chance."""
        return abs(self.difference) > LARGE and self.by_chance < CHANCE


def imbalances(table: pd.DataFrame) -> list[Imbalance]:
    """Compare the classes of a manifest's training part, each subject counted once in a class.

    Returns one entry for each known covariate and class of interest. Reference: Austin, An introduction to propensity
    score methods, Multivariate Behavioral Research 46 (2011); of kinds: Yang and Dalton, A unified approach to
    measuring the effect size between two groups, SAS Global Forum (2012).
    """
    learned = table[table["split"] == "train"].drop_duplicates(["subject", "class"])
    is_baseline = learned["label"] == 0
    found = [
        _compare(covariate, column[is_baseline], column[of_class.index], str(of_class["class"].iloc[0]))
        for covariate, column in known_covariates(learned).items()
        for _, of_class in learned[~is_baseline].groupby("label")
    ]
    return [entry for entry in found if entry is not None]


def describe_balance(manifest: Manifest) -> list[str]:
    """A table of how far the classes of the training images differ in known covariates, and warnings."""
    found, baseline = imbalances(manifest.table), manifest.classes[0]
    rows = [
        (one.covariate, one.baseline_value, one.interest, one.interest_value,
         f"{one.difference:+.2f}{' !' if one.is_large else ''}")
        for one in found
    ]  # fmt: skip
    warnings = [
        f"warning: {entry.interest} and {baseline} differ in {entry.covariate} ({entry.difference:.2f} standard "
        "deviations), which maps will show too; balance the training images, or add it to training.covariates"
        for entry in found
        if entry.is_large
    ]
    return text_table(("covariate", baseline, "against", "", "difference"), rows) + warnings


def _compare(name: str, baseline: pd.Series, interest: pd.Series, label: str) -> Imbalance | None:
    known = [part[part.astype(str).ne("")] for part in (baseline, interest)]
    if any(len(part) < 2 for part in known):
        return None
    missing = len(baseline) + len(interest) - sum(map(len, known))
    numbers = [pd.to_numeric(part, errors="coerce").to_numpy(float) for part in known]
    if name == "age" and all(np.isfinite(part).all() for part in numbers):
        difference, chance = difference_of_numbers(*numbers)
        values = [f"{part.mean():.1f} ± {part.std(ddof=1):.1f}" for part in numbers]
    else:
        kinds = [[str(kind) for kind in part] for part in known]
        difference, chance = difference_of_kinds(*kinds)
        values = [_most_frequent(part) for part in kinds]
    return Imbalance(name, label, values[0], values[1], difference, chance, missing)


def difference_of_numbers(baseline: NDArray[np.float64], interest: NDArray[np.float64]) -> tuple[float, float]:
    """Difference of means in pooled standard deviations, and the p-value of Welch's test."""
    from scipy.stats import ttest_ind

    spread = math.sqrt((baseline.var(ddof=1) + interest.var(ddof=1)) / 2)
    gap = float(interest.mean() - baseline.mean())
    if spread == 0:
        return (0.0, 1.0) if gap == 0 else (math.copysign(math.inf, gap), 0.0)
    return gap / spread, float(ttest_ind(interest, baseline, equal_var=False).pvalue)


def difference_of_kinds(baseline: Sequence[str], interest: Sequence[str]) -> tuple[float, float]:
    """Mahalanobis distance of the proportions of kinds, and the p-value of a chi-squared test.

    Of two kinds it is the difference of proportions in pooled standard deviations.
    """
    from scipy.stats import chi2_contingency

    kinds = sorted({*baseline, *interest})
    if len(kinds) == 1:
        return 0.0, 1.0
    counts = np.array([[part.count(kind) for kind in kinds] for part in (baseline, interest)])
    shares = (counts / counts.sum(axis=1, keepdims=True))[:, 1:]  # the first kind's share follows from the others
    gap = shares[1] - shares[0]
    spread = np.mean([np.diag(share) - np.outer(share, share) for share in shares], axis=0)
    if np.linalg.matrix_rank(spread) < len(spread):
        apart = not np.allclose(spread @ np.linalg.pinv(spread) @ gap, gap)  # e.g. all men here, all women there
        distance = math.inf if apart else math.sqrt(max(float(gap @ np.linalg.pinv(spread) @ gap), 0.0))
    else:
        distance = math.sqrt(float(gap @ np.linalg.solve(spread, gap)))
    return distance, float(chi2_contingency(counts, correction=False).pvalue)


def _most_frequent(values: Sequence[str]) -> str:
    counts = Counter(sorted(values))
    top, times = counts.most_common(1)[0]
    return f"{top} {times / len(values):.0%}" + (f" of {len(counts)} kinds" if len(counts) > 2 else "")
