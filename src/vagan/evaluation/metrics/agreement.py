"""How well maps agree with known effects: one value per case, any number of spatial dimensions.

The *truth* of a case is where its effect is (`vagan.evaluation.metrics.base.truth_mask`); its *strength* is
``|map|``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vagan.attribution.method import Convention
from vagan.errors import ConfigError, nearest
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
from vagan.types import Maps


def apply_convention(maps: CaseMaps, convention: Convention) -> CaseMaps:
    """The map as a score reads it.

    Parameters
    ----------
    maps
        As a method returns them.
    convention
        ``signed``: as it is. ``absolute``: its size, for methods that know no direction.
        ``positive``: negative values count as zero, for evidence *for* a class.

    Raises
    ------
    ConfigError
        If the convention is none of these.
    """
    match convention:
        case "signed":
            return maps
        case "absolute":
            return np.abs(maps)
        case "positive":
            return np.maximum(maps, 0)
    raise ConfigError(
        f"a map is scored by a known convention: {convention!r} is none; "
        f"{nearest(convention, ('signed', 'absolute', 'positive'))}"
    )


def compared_with(effects: CaseMaps, convention: Convention) -> CaseMaps:
    """What maps of a convention are scored against: the effects, or their size where maps know no direction."""
    return effects if convention == "signed" else np.abs(effects)


def ncc(maps: CaseMaps, effects: CaseMaps) -> CaseScores:
    """Normalised cross-correlation over all pixels, the score of the paper's Tables 1 and 2.

    Both arrays of a case are shifted to zero mean and scaled to unit (population) standard deviation over all
    its pixels; the score is the mean of their product. This is Pearson's correlation: blind to offset and
    amplitude, but not to sign.

    Returns
    -------
    CaseScores
        In [-1, 1]; 1 is best. 0 where the map or the effect is constant: such a map says nothing about place.

    References
    ----------
    Baumgartner et al., Visual Feature Attribution using Wasserstein GANs, CVPR 2018, section 4.2.
    """
    return for_each_case(_ncc, maps, effects)


def mean_ncc(maps: Maps, effects: Maps) -> float:
    """Mean of `ncc` over cases, for tensors on any device."""
    return float(ncc(maps.numpy(force=True), effects.numpy(force=True)).mean())


def average_precision(maps: CaseMaps, effects: CaseMaps) -> CaseScores:
    """Area under the precision-recall curve of the strength, as a detector of the truth's pixels.

    Returns
    -------
    CaseScores
        In [0, 1]; 1 is best. A constant map scores the fraction of pixels in the truth.

    Raises
    ------
    CohortError
        If the truth of a case is empty.
    """
    return for_each_case(_average_precision, maps, effects, with_truth=True)


def relevance_mass(maps: CaseMaps, effects: CaseMaps) -> CaseScores:
    """Fraction of the total strength that lies inside the truth.

    Returns
    -------
    CaseScores
        In [0, 1]; 1 is best. 0 where the map is zero everywhere.

    Raises
    ------
    CohortError
        If the truth of a case is empty.

    References
    ----------
    Arras, Osman and Samek, CLEVR-XAI, Information Fusion 81 (2022): "relevance mass accuracy".
    """
    return for_each_case(_relevance_mass, maps, effects, with_truth=True)


def relevance_rank(maps: CaseMaps, effects: CaseMaps) -> CaseScores:
    """Fraction of the K strongest pixels that lie inside the truth of K pixels.

    Where the K-th place is shared by pixels of equal strength, the score is its expectation over all ways to
    choose among them; pixel order has no say, and a constant map scores as chance does.

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
    Arras, Osman and Samek, CLEVR-XAI, Information Fusion 81 (2022): "relevance rank accuracy".
    """
    return for_each_case(_relevance_rank, maps, effects, with_truth=True)


def amplitude_slope(maps: CaseMaps, effects: CaseMaps) -> CaseScores:
    """Least-squares slope through the origin of the map on the exact effect, where there is any.

    `ncc` does not see a map that is right but too faint; this does. Both must be in image units.

    Returns
    -------
    CaseScores
        Unbounded; 1 is best, 0.8 means that the map shows 80 % of the effect.

    Raises
    ------
    CohortError
        If the truth of a case is empty.
    """
    return for_each_case(_amplitude_slope, maps, effects, with_truth=True)


def pointing_game(maps: CaseMaps, effects: CaseMaps) -> CaseScores:
    """Whether the strongest pixel lies inside the truth.

    Where several are equally strong, the score is the share of them that do.

    Returns
    -------
    CaseScores
        In [0, 1]; 1 is best. A constant map scores the fraction of pixels in the truth.

    Raises
    ------
    CohortError
        If the truth of a case is empty.

    References
    ----------
    Zhang et al., Top-down Neural Attention by Excitation Backprop, ECCV 2016; here without their tolerance of 15
    pixels.
    """
    return for_each_case(_pointing_game, maps, effects, with_truth=True)


def region_recall(maps: CaseMaps, regions: CaseMaps, area: int) -> CaseScores:
    """Share of a region's squared effect under the strongest pixels, the same number of them for every method.

    Of a mask it is the fraction of its pixels. Ties for the last places count by their expectation, as in
    `relevance_rank`.

    Parameters
    ----------
    maps
        Of the cases.
    regions
        The same shape: the effect in the region, zero elsewhere.
    area
        Number of strongest pixels that count as covered, from 1 to all pixels of a case.

    Returns
    -------
    CaseScores
        In [0, 1]; 1 is best.

    Raises
    ------
    CohortError
        If the region of a case is empty.
    """
    require_pixels(maps)
    if not 1 <= area <= maps[0].size:
        raise ValueError(f"the area must be 1 to {maps[0].size} pixels, all there are; got {area}")

    def recall(map_: Pixels, region: Pixels) -> float:
        return _expected_hits(np.abs(map_), region**2, area) / float((region**2).sum())

    return for_each_case(recall, maps, regions, with_truth=True)


def energy(maps: CaseMaps) -> CaseScores:
    """Mean strength over all pixels, in units of the map. Needs no truth; small on baseline images is good."""
    require_pixels(maps)
    return np.array([np.abs(map_of(maps, case)).mean() for case in range(len(maps))])


@dataclass(frozen=True)
class Metric:
    """A score and what a reader of its table must know."""

    name: str
    function: Callable[[CaseMaps, CaseMaps], CaseScores]
    """``(maps, effects)`` -> one value per case."""
    reference: str
    """Where it was published."""


METRICS = (
    Metric("ncc", ncc, "Baumgartner et al., CVPR 2018"),
    Metric("average_precision", average_precision, "Davis and Goadrich, ICML 2006"),
    Metric("relevance_mass", relevance_mass, "Arras et al., Information Fusion 2022"),
    Metric("relevance_rank", relevance_rank, "Arras et al., Information Fusion 2022"),
    Metric("pointing_game", pointing_game, "Zhang et al., ECCV 2016"),
    Metric("amplitude_slope", amplitude_slope, "this package"),
)


def _ncc(map_: Pixels, effect: Pixels) -> float:
    # the standard deviation of a constant is often not exactly 0 in floating point, its range is
    if np.ptp(map_) == 0 or np.ptp(effect) == 0:
        return 0.0
    return float((_standardised(map_) * _standardised(effect)).mean())


def _standardised(pixels: Pixels) -> Pixels:
    centred = pixels - pixels.mean()
    return centred / centred.std()


def _average_precision(map_: Pixels, effect: Pixels) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(truth_of(effect).ravel(), np.abs(map_).ravel()))


def _relevance_mass(map_: Pixels, effect: Pixels) -> float:
    strength = np.abs(map_)
    total = strength.sum()
    return float(strength[truth_of(effect)].sum() / total) if total else 0.0


def _relevance_rank(map_: Pixels, effect: Pixels) -> float:
    truth = truth_of(effect)
    size = int(truth.sum())
    return _expected_hits(np.abs(map_), truth, size) / size


def _pointing_game(map_: Pixels, effect: Pixels) -> float:
    return _expected_hits(np.abs(map_), truth_of(effect), 1)


def _amplitude_slope(map_: Pixels, effect: Pixels) -> float:
    return float((map_ * effect).sum() / (effect**2).sum())  # zero effect adds nothing to either sum


def _expected_hits(strength: Pixels, weights: Pixels | Region, count: int) -> float:
    """Total weight of the ``count`` strongest pixels, on average over the ways to break ties."""
    last = np.partition(strength, -count, axis=None)[-count]
    above, tied = strength > last, strength == last
    places = count - int(above.sum())
    return float(weights[above].sum() + places * weights[tied].mean())
