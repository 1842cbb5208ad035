"""From maps to masks, lesions and boxes by a rule that is fixed without truth, and how well they find the effect.

A pixel is *marked* where ``|map|`` exceeds a threshold that comes from the maps of validation images, by Otsu's
method: it needs no truth, and unlike a quantile no guess at how much of an image is affected. A *lesion* is a
connected component of the truth, neighbours touching at corners too, channels taken together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vagan.evaluation.metrics.base import (
    CaseMaps,
    CaseScores,
    Pixels,
    Region,
    for_each_case,
    map_of,
    require_pixels,
    truth_of,
)
from vagan.inference.lesions import Box, Mask, components

OVERLAP = 0.1
"""Share of a lesion that must be marked for it to be found, and of a marked component that must lie in the truth for
it not to be false; the former as in Commowick et al. 2018."""


def otsu_threshold(maps: CaseMaps) -> float:
    """Threshold that best divides the pooled strengths into two groups; needs no truth.

    Parameters
    ----------
    maps
        Of *validation* cases: a threshold chosen on the cases it is then scored on would flatter.

    Returns
    -------
    float
        In units of the maps, from a histogram of 256 bins. Where all strengths are equal it is that strength,
        so that no pixel lies above it.

    References
    ----------
    Otsu, A threshold selection method from gray-level histograms, IEEE Trans. SMC 9 (1979).
    """
    from skimage.filters import threshold_otsu

    require_pixels(maps)
    strengths = np.abs(np.concatenate([map_of(maps, case).ravel() for case in range(len(maps))]))
    return float(threshold_otsu(strengths, nbins=256))


def dice(maps: CaseMaps, effects: CaseMaps, threshold: float) -> CaseScores:
    """Dice overlap of the marked pixels with the truth.

    Parameters
    ----------
    maps, effects
        Of the same cases.
    threshold
        In units of the maps, at least 0. Must not come from the truth of these cases; see `otsu_threshold`.

    Returns
    -------
    CaseScores
        In [0, 1]; 1 is best. 1 where both are empty.
    """

    def overlap(marked: Region, truth: Region) -> float:
        total = marked.sum() + truth.sum()
        return float(2 * (marked & truth).sum() / total) if total else 1.0

    return _of_masks(overlap, maps, effects, threshold)


def iou(maps: CaseMaps, effects: CaseMaps, threshold: float) -> CaseScores:
    """Intersection over union of the marked pixels and the truth (Jaccard's index).

    Parameters
    ----------
    maps, effects, threshold
        See `dice`.

    Returns
    -------
    CaseScores
        In [0, 1]; 1 is best. 1 where both are empty.
    """

    def overlap(marked: Region, truth: Region) -> float:
        union = (marked | truth).sum()
        return float((marked & truth).sum() / union) if union else 1.0

    return _of_masks(overlap, maps, effects, threshold)


def lesion_recall(maps: CaseMaps, effects: CaseMaps, threshold: float) -> CaseScores:
    """Fraction of the lesions that are found: at least `OVERLAP` of one is marked.

    Parameters
    ----------
    maps, effects, threshold
        See `dice`.

    Returns
    -------
    CaseScores
        In [0, 1]; 1 is best.

    Raises
    ------
    CohortError
        If the truth of a case is empty.

    References
    ----------
    Commowick et al., Objective evaluation of multiple sclerosis lesion segmentation, Scientific Reports 8 (2018).
    """

    def recall(marked: Region, truth: Region) -> float:
        return float((_shares(_all_channels(truth), _all_channels(marked)) >= OVERLAP).mean())

    return _of_masks(recall, maps, effects, threshold, with_truth=True)


def false_lesions(maps: CaseMaps, effects: CaseMaps, threshold: float) -> CaseScores:
    """Number of marked components of which less than `OVERLAP` lies in the truth.

    Parameters
    ----------
    maps, effects, threshold
        See `dice`.

    Returns
    -------
    CaseScores
        From 0, which is best.
    """

    def count(marked: Region, truth: Region) -> float:
        return float((_shares(_all_channels(marked), _all_channels(truth)) < OVERLAP).sum())

    return _of_masks(count, maps, effects, threshold)


def box_iou(maps: CaseMaps, effects: CaseMaps, threshold: float) -> CaseScores:
    """Intersection over union of each lesion's bounding box and the best of the marked components', on average.

    Parameters
    ----------
    maps, effects, threshold
        See `dice`.

    Returns
    -------
    CaseScores
        In [0, 1]; 1 is best. 0 where nothing is marked.

    Raises
    ------
    CohortError
        If the truth of a case is empty.

    References
    ----------
    Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020, without their threshold
    on the overlap.
    """

    def overlap(marked: Region, truth: Region) -> float:
        lesions, found = (components(_all_channels(mask))[1] for mask in (truth, marked))
        return float(np.mean([max((_box_overlap(lesion, box) for box in found), default=0.0) for lesion in lesions]))

    return _of_masks(overlap, maps, effects, threshold, with_truth=True)


@dataclass(frozen=True)
class MaskMetric:
    """A score of what a map marks, and what a reader of its table must know."""

    name: str
    function: Callable[[CaseMaps, CaseMaps, float], CaseScores]
    """``(maps, effects, threshold)`` -> one value per case."""
    best: float
    reference: str
    """Where it was published."""


MASK_METRICS = (
    MaskMetric("dice", dice, 1.0, "Dice, Ecology 1945"),
    MaskMetric("iou", iou, 1.0, "Jaccard, New Phytologist 1912"),
    MaskMetric("box_iou", box_iou, 1.0, "Choe et al., CVPR 2020"),
    MaskMetric("lesion_recall", lesion_recall, 1.0, "Commowick et al., Scientific Reports 2018"),
    MaskMetric("false_lesions", false_lesions, 0.0, "Commowick et al., Scientific Reports 2018"),
)


def _of_masks(
    score: Callable[[Region, Region], float],
    maps: CaseMaps,
    effects: CaseMaps,
    threshold: float,
    *,
    with_truth: bool = False,
) -> CaseScores:
    if not (np.isfinite(threshold) and threshold >= 0):
        raise ValueError(f"a threshold on |map| must be a number from 0, got {threshold}")

    def of_case(map_: Pixels, effect: Pixels) -> float:
        return score(np.abs(map_) > threshold, truth_of(effect))

    return for_each_case(of_case, maps, effects, with_truth=with_truth)


def _all_channels(mask: Region) -> Mask:
    return np.asarray(mask.any(axis=0))


def _shares(mask: Mask, other: Mask) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Of each component of a mask, the share that lies in another mask."""
    numbers, boxes = components(mask)
    sizes = np.bincount(numbers.ravel(), minlength=len(boxes) + 1)
    common = np.bincount(numbers[other].ravel(), minlength=len(boxes) + 1)
    return (common / np.maximum(sizes, 1))[1:]


def _box_overlap(one: Box, other: Box) -> float:
    sides = [max(0, min(a.stop, b.stop) - max(a.start, b.start)) for a, b in zip(one, other, strict=True)]
    common = np.prod(sides)
    return float(common / (sum(np.prod([side.stop - side.start for side in box]) for box in (one, other)) - common))
