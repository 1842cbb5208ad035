"""How well a map finds what the class did to each region, where it is known which regions there are."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vagan.data.cohort import Cohort
from vagan.evaluation.metrics.agreement import region_recall
from vagan.evaluation.metrics.base import truth_mask
from vagan.evaluation.statistics import correlation_entry

Array = NDArray[np.float32]
Values = NDArray[np.float64]
Parts = Callable[[Array], Mapping[str, Array]]
"""Splits effects into named parts, arrays of the same shape."""


def part_recalls(
    maps: Array, effects: Array, cohort: Cohort, rows: NDArray[np.int64], parts: Parts | None
) -> dict[str, Values]:
    """Score ``recall/<part>``: share of a part's squared effect under the K strongest pixels.

    K is the number of pixels that the whole effect covers: the same map area for all methods.

    Parameters
    ----------
    maps, effects
        Of the cohort's images in ``rows``, ``(case, channel, *space)``.
    parts
        Gets an effect with zeros where it is too faint to count (see `truth_mask`); without it, the parts are the
        regions that the cohort knows.

    Returns
    -------
    dict
        Part -> one value per case, NaN where a case has no effect in it. Empty if there are no parts.
    """
    if parts is None and not cohort.has_regions:
        return {}
    recalls: dict[str, Values] = {}
    for case, row in enumerate(rows):
        map_, effect = maps[case : case + 1], effects[case : case + 1]
        whole = np.where(truth_mask(effect), effect, 0)
        area = int(np.count_nonzero(whole))
        found = parts(whole) if parts else {n: whole * mask for n, mask in cohort.regions([row]).items()}
        for name, part in found.items():
            values = recalls.setdefault(f"recall/{name}", np.full(len(rows), np.nan))
            if part.any():
                values[case] = region_recall(map_, part, area)[0]
    return recalls


def regional_means(maps: Array, cohort: Cohort, rows: NDArray[np.int64]) -> dict[str, Values]:
    """Mean of each map over each region that the cohort knows, one value per case; NaN where there is no region."""
    means: dict[str, Values] = {}
    for case, row in enumerate(rows):
        for name, mask in cohort.regions([row]).items():
            values = means.setdefault(name, np.full(len(rows), np.nan))
            if mask.any():
                values[case] = maps[case][mask[0]].mean()
    return means


def regional_correlations(
    predicted: Mapping[str, Values], true: Mapping[str, Values], subjects: NDArray[Any]
) -> dict[str, dict[str, Any]]:
    """Score ``regional/<region>``: rank correlation over cases of a region's mean in the map and in the effect.

    Returns
    -------
    dict
        Entries of a summary; see `correlation_entry`.
    """
    return {f"regional/{name}": correlation_entry(predicted[name], true[name], groups=subjects) for name in predicted}
