"""Differences between the classes in covariates, which would appear in maps."""

import math
from collections import Counter
from collections.abc import Sequence

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

LARGE = 0.25  #: Standardised difference from which on groups are not comparable (Rubin 2001); 0.1 is strict.
CHANCE = 0.01  #: Probability in two samples of one population below which a large difference is reported.


def imbalances(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the classes of a manifest's training part, each subject counted once in a class.

    Reference: Austin, Multivariate Behavioral Research 46 (2011); of kinds: Yang and Dalton, SAS Global Forum (2012).

    A row of the result, for each known covariate and class of interest: ``covariate``, ``class``; ``baseline`` and
    ``interest``, the mean and standard deviation, or the most frequent kind, of the two classes; ``difference``, of
    numbers in pooled standard deviations and signed, of kinds always positive; ``by_chance``, the probability of one
    as large in two samples of one population; ``is_large`` if it is both large and more than chance.
    """
    learned = table[table["split"] == "train"].drop_duplicates(["subject", "class"])
    rows = []
    for covariate, names in COVARIATES.items():
        column = next((name for name in names if name in learned), None)
        if column is None:
            continue
        known = learned[learned[column].astype(object).fillna("").astype(str).ne("")]
        baseline = known[column][known["label"] == 0]
        for _, of_class in known[known["label"] != 0].groupby("label"):
            if min(len(baseline), len(of_class)) >= 2:
                rows.append((covariate, of_class["class"].iloc[0], *_compare(covariate, baseline, of_class[column])))
    found = pd.DataFrame(rows, columns=["covariate", "class", "baseline", "interest", "difference", "by_chance"])
    return found.assign(is_large=(found["difference"].abs() > LARGE) & (found["by_chance"] < CHANCE))


def describe_balance(manifest: Manifest) -> list[str]:
    """A table of how far the classes of the training images differ in known covariates, and warnings."""
    found, baseline = imbalances(manifest.table), manifest.classes[0]
    if found.empty:
        return []
    marked = found["difference"].map("{:+.2f}".format) + found["is_large"].map({True: " !", False: ""})
    shown = found[["covariate", "baseline", "class", "interest"]].assign(difference=marked)
    shown.columns = pd.Index(["covariate", baseline, "against", "", "difference"])
    return shown.to_string(index=False).splitlines() + [
        f"warning: {one['class']} and {baseline} differ in {one['covariate']} ({one['difference']:.2f} standard "
        "deviations), which maps will show too; balance the training images, or add it to training.covariates"
        for one in found[found["is_large"]].to_dict("records")
    ]


def _compare(name: str, baseline: pd.Series, interest: pd.Series) -> tuple[str, str, float, float]:
    numbers = [pd.to_numeric(part, errors="coerce").to_numpy(float) for part in (baseline, interest)]
    if name == "age" and all(np.isfinite(part).all() for part in numbers):
        ours, theirs = (f"{part.mean():.1f} ± {part.std(ddof=1):.1f}" for part in numbers)
        return ours, theirs, *difference_of_numbers(*numbers)
    kinds = [[str(kind) for kind in part] for part in (baseline, interest)]
    return _most_frequent(kinds[0]), _most_frequent(kinds[1]), *difference_of_kinds(*kinds)


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
    inverse = np.linalg.pinv(spread)  # not of full rank if a kind is in one class alone, e.g. all men here
    apart = not np.allclose(spread @ inverse @ gap, gap)
    distance = math.inf if apart else math.sqrt(max(float(gap @ inverse @ gap), 0.0))
    return distance, float(chi2_contingency(counts, correction=False).pvalue)


def _most_frequent(values: Sequence[str]) -> str:
    counts = Counter(sorted(values))
    top, times = counts.most_common(1)[0]
    return f"{top} {times / len(values):.0%}" + (f" of {len(counts)} kinds" if len(counts) > 2 else "")
