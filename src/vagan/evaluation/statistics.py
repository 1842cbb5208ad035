"""Uncertainty of scores: intervals that resample subjects."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from vagan.evaluation.metrics.base import Values
from vagan.seeding import numpy_generator

Summary = dict[str, dict[str, dict[str, Any]]]
"""By method and metric; see `summarise`."""


class Interval(NamedTuple):
    """Limits of a confidence interval; both NaN where it is undefined, as with a single subject."""

    low: float
    high: float


def bootstrap_interval(values: ArrayLike, *, groups: ArrayLike | None = None, resamples: int = 2000) -> Interval:
    """Percentile bootstrap interval of the mean of values ``(case,)``, of coverage 95 %.

    ``groups`` are the subjects of the cases. Subjects are then drawn whole, since images of one subject are not
    independent; each drawn subject brings all its cases, and the mean is over cases. Reference: Efron and Tibshirani,
    An Introduction to the Bootstrap (1993), chapter 13; groups: Field and Welsh, Bootstrapping clustered data, J. R.
    Stat. Soc. B 69 (2007).
    """
    return _percentiles(_bootstrap_means(values, groups, resamples, "bootstrap"))


def ratio_entry(
    numerators: ArrayLike,
    denominators: ArrayLike,
    numerator_groups: ArrayLike | None = None,
    denominator_groups: ArrayLike | None = None,
    *,
    resamples: int = 2000,
) -> dict[str, Any] | None:
    """Ratio of the means of two samples as an entry of a summary, see `summarise`; None where it is undefined.

    Its interval is that of `bootstrap_interval`, the samples drawn separately: no subject should be in both. NaN
    where the sign of the denominators' mean is not certain: the ratio then has no bounds.
    """
    numerators, denominators = np.asarray(numerators), np.asarray(denominators)
    if not len(numerators) or not denominators.mean() > 0:
        return None
    above = _bootstrap_means(numerators, numerator_groups, resamples, "bootstrap of numerators")
    below = _bootstrap_means(denominators, denominator_groups, resamples, "bootstrap of denominators")
    interval = _percentiles(above / below) if (below > 0).all() else Interval(np.nan, np.nan)
    ratio = float(numerators.mean() / denominators.mean())
    return {"mean": ratio, "std": None, "ci95": list(interval), "n": len(numerators)}


def correlation_entry(values: ArrayLike, others: ArrayLike, *, groups: ArrayLike) -> dict[str, Any]:
    """Spearman's correlation over the cases that have both values, as an entry of a summary; see `summarise`.

    Its interval is as in `bootstrap_interval`. Both are NaN where fewer than three cases, or constant values, leave
    them undefined; of one subject the interval.
    """
    pairs = np.stack([np.asarray(values, dtype=np.float64), np.asarray(others, dtype=np.float64)])
    both = np.isfinite(pairs).all(axis=0)
    one, other = pairs[:, both]
    of_case, count = _numbered(np.asarray(groups)[both], len(one))
    interval = Interval(np.nan, np.nan)
    if count > 1:
        cases_of = [np.flatnonzero(of_case == group) for group in range(count)]
        drawn = numpy_generator(0, "bootstrap of correlations").integers(0, count, (1000, count))
        samples = (np.concatenate([cases_of[group] for group in sample]) for sample in drawn)
        found = np.array([_spearman(one[cases], other[cases]) for cases in samples])
        known = found[np.isfinite(found)]
        if len(known) > len(found) / 2:
            interval = _percentiles(known)
    return {"mean": _spearman(one, other), "std": None, "ci95": list(interval), "n": len(one)}


def summarise(rows: pd.DataFrame) -> Summary:
    """Mean of every method's every score over cases.

    ``rows`` have the columns case, subject, label, method, metric and value; one row for each case, method and
    metric. Returns ``{method: {metric: {"mean", "std", "ci95": [low, high], "n"}}}``, in order of appearance. ``std``
    is the population's, over cases, as the paper prints it; ``ci95`` of the mean, from 2000 draws of whole subjects.
    """
    summary: Summary = {}
    for (method, metric), scores in rows.groupby(["method", "metric"], sort=False):
        values = scores["value"].to_numpy(dtype=np.float64)
        summary.setdefault(str(method), {})[str(metric)] = mean_entry(values, groups=scores["subject"])
    return summary


def mean_entry(values: Values, *, groups: ArrayLike) -> dict[str, Any]:
    """Mean of values ``(case,)`` with its `bootstrap_interval`, as an entry of a summary; see `summarise`."""
    interval = list(bootstrap_interval(values, groups=groups))
    return {"mean": float(values.mean()), "std": float(values.std()), "ci95": interval, "n": len(values)}


def _bootstrap_means(values: ArrayLike, groups: ArrayLike | None, resamples: int, purpose: str) -> Values:
    """Means of resampled cases or whole groups, ``(resample,)``; all NaN for one group, which has no spread."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"scores must be one finite number for each of at least one case, got {values}")
    of_case, count = _numbered(groups, len(values))
    if count == 1:
        return np.full(resamples, np.nan)
    drawn = numpy_generator(0, purpose).integers(0, count, (resamples, count))
    totals, sizes = np.bincount(of_case, weights=values), np.bincount(of_case)
    return totals[drawn].sum(axis=-1) / sizes[drawn].sum(axis=-1)


def _spearman(values: Values, others: Values) -> float:
    if len(values) < 3 or np.ptp(values) == 0 or np.ptp(others) == 0:
        return float("nan")
    return float(spearmanr(values, others).statistic)


def _percentiles(means: Values) -> Interval:
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(low), float(high))


def _numbered(groups: ArrayLike | None, count: int) -> tuple[NDArray[np.int64], int]:
    """Number of each case's group from 0, and how many groups there are."""
    if groups is None:
        return np.arange(count), count
    names = np.asarray(groups)
    if names.shape != (count,):
        raise ValueError(f"each of the {count} cases must have a group, got groups of shape {names.shape}")
    known, of_case = np.unique(names.astype(str), return_inverse=True)
    return of_case, len(known)
