"""Recall and correlation by region, and correlation with severity."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vagan.evaluation.metrics.agreement import WHERE, expected_hits, mean_abs
from vagan.evaluation.metrics.base import Array, Entry, Metric, Need, Pixels, Values, per_case, truth_mask
from vagan.evaluation.statistics import correlation_entry, ratio_entry

Parts = Callable[[Array], Mapping[str, Array]]
"""Splits effects into named parts, arrays of the same shape."""
Masks = Callable[[int], Mapping[str, NDArray[np.bool_]]]
"""Masks of the regions of a case, ``(1, channel, *space)``, by name."""


@per_case(needs_effect=True)
def region_recall(map_: Pixels, region: Pixels, area: int) -> float:
    """Share of a region's squared effect under the strongest pixels, the same number of them for every method.

    The region holds the effect in it, zero elsewhere; ``area`` is the number of strongest pixels that count as
    covered. Of a mask it is the fraction of its pixels. Ties for the last places count by their expectation, as in
    `vagan.evaluation.metrics.agreement.relevance_rank`. `CohortError` if the region of a case is empty.
    """
    if not 1 <= area <= map_.size:
        raise ValueError(f"the area must be 1 to {map_.size} pixels, all there are; got {area}")
    return expected_hits(np.abs(map_), region**2, area) / float((region**2).sum())


def recall(maps: Array, effects: Array, parts: Callable[[int, Array], Mapping[str, Array]]) -> dict[str, Values]:
    """Share of the part's squared effect under the strongest pixels, as many as are affected in all.

    So all methods have the same map area. NaN where a case has no effect in the part. ``parts`` gets the number of a
    case and its effect, with zeros where that is too faint to count (see `truth_mask`).
    """
    recalls: dict[str, Values] = {}
    for case in range(len(maps)):
        map_, effect = maps[case : case + 1], effects[case : case + 1]
        whole = np.where(truth_mask(effect), effect, 0)
        area = int(np.count_nonzero(whole))
        for name, part in parts(case, whole).items():
            values = recalls.setdefault(name, np.full(len(maps), np.nan))
            if part.any():
                values[case] = region_recall(map_, part, area)[0]
    return recalls


def regional(maps: Array, effects: Array, masks: Masks, subjects: NDArray[Any]) -> dict[str, Entry]:
    """Rank correlation over images of the map's mean in the region with the effect's."""
    predicted: dict[str, Values] = {}
    true: dict[str, Values] = {}
    for case, (map_, effect) in enumerate(zip(maps, effects, strict=True)):
        for name, mask in masks(case).items():
            for means, pixels in ((predicted, map_), (true, effect)):
                values = means.setdefault(name, np.full(len(maps), np.nan))
                if mask.any():
                    values[case] = pixels[mask[0]].mean()
    return {name: correlation_entry(predicted[name], true[name], groups=subjects) for name in predicted}


def severity_correlation(maps: Array, severity: Values, subjects: NDArray[Any]) -> Entry:
    """Rank correlation over images of the map's size with the severity, which may be NaN."""
    return correlation_entry(mean_abs(maps), severity, groups=subjects)


def baseline_response_ratio(
    maps: Array, baseline: Values, subjects: NDArray[Any], baseline_subjects: NDArray[Any]
) -> Entry | None:
    """Mean size of the maps of baseline images, where nothing is to be found, over that of the class of interest."""
    return ratio_entry(baseline, mean_abs(maps), baseline_subjects, subjects)


SIZES: tuple[Need, ...] = ("raw maps", "baseline mean abs", "subjects", "baseline subjects")

METRICS = (
    Metric(recall, "Recall", (*WHERE, "parts"), best=1.0, by_part=True),
    Metric(baseline_response_ratio, "M(x₀) / M(x₁)", SIZES, direction="lower", over="cohort"),
    Metric(severity_correlation, "Severity correlation", ("raw maps", "severity", "subjects"), over="cohort"),
    Metric(regional, "Regional means", (*WHERE, "region masks", "subjects"), over="cohort", by_part=True),
)
