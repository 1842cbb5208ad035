"""Masks and lesions from maps by Otsu's threshold, and their overlap with the effect.

A pixel is *marked* where ``|map|`` exceeds a threshold that comes from the maps of validation images, by Otsu's
method: it needs no truth, and unlike a quantile no guess at how much of an image is affected. A *lesion* is a
connected component of the truth, neighbours touching at corners too, channels taken together.
"""

import numpy as np

from vagan.evaluation.metrics.agreement import WHERE
from vagan.evaluation.metrics.base import CaseMaps, Metric, Need, Pixels, each_map, per_case, truth_of
from vagan.inference.lesions import Mask, components

OVERLAP = 0.1
"""Share of a lesion that must be marked for it to be found, and of a marked component that must lie in the truth for
it not to be false; the former as in Commowick et al. 2018."""


def otsu_threshold(maps: CaseMaps) -> float:
    """Threshold that best divides the pooled strengths into two groups, from a histogram of 256 bins.

    The maps must be of *validation* cases: a threshold chosen on the cases it is then scored on would flatter. Where
    all strengths are equal it is that strength, so that no pixel lies above it. Reference: Otsu, A threshold
    selection method from gray-level histograms, IEEE Trans. SMC 9 (1979).
    """
    from skimage.filters import threshold_otsu

    return float(threshold_otsu(np.abs(np.concatenate([map_.ravel() for map_ in each_map(maps)])), nbins=256))


@per_case()
def dice(map_: Pixels, effect: Pixels, threshold: float) -> float:
    """Dice overlap of the thresholded map with the affected region.

    1 where both are empty. As for the metrics below, the threshold is in units of the maps, at least 0, and must not
    come from the truth of these cases; see `otsu_threshold`. Reference: Dice, Ecology 26 (1945).
    """
    marked, truth = _marked(map_, threshold), truth_of(effect)
    total = marked.sum() + truth.sum()
    return float(2 * (marked & truth).sum() / total) if total else 1.0


@per_case(needs_effect=True)
def lesion_recall(map_: Pixels, effect: Pixels, threshold: float) -> float:
    """Fraction of the lesions of which at least a tenth is marked; to be read with the false lesions.

    Reference: Commowick et al., Objective evaluation of multiple sclerosis lesion segmentation, Sci. Rep. 8 (2018).
    """
    marked, truth = np.any(_marked(map_, threshold), axis=0), np.any(truth_of(effect), axis=0)
    return float((_shares(truth, marked) >= OVERLAP).mean())


@per_case()
def false_lesions(map_: Pixels, effect: Pixels, threshold: float) -> float:
    """Number of marked components per image of which less than a tenth is affected."""
    marked, truth = np.any(_marked(map_, threshold), axis=0), np.any(truth_of(effect), axis=0)
    return float((_shares(marked, truth) < OVERLAP).sum())


def _marked(map_: Pixels, threshold: float) -> Mask:
    if not (np.isfinite(threshold) and threshold >= 0):
        raise ValueError(f"a threshold on |map| must be a number from 0, got {threshold}")
    return np.asarray(np.abs(map_) > threshold)


def _shares(mask: Mask, other: Mask) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Of each component of a mask, the share that lies in another mask."""
    numbers = components(mask)
    count = int(numbers.max(initial=0)) + 1
    sizes = np.bincount(numbers.ravel(), minlength=count)
    return (np.bincount(numbers[other].ravel(), minlength=count) / np.maximum(sizes, 1))[1:]


NEEDS: tuple[Need, ...] = (*WHERE, "threshold")

METRICS = (
    Metric(dice, "Dice", NEEDS, best=1.0),
    Metric(lesion_recall, "Lesions found", NEEDS, best=1.0),
    Metric(false_lesions, "False lesions", NEEDS, direction="lower", best=0.0),
)
