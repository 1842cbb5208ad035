"""Agreement of maps with known effects: one value per case, in any number of dimensions.

The *truth* of a case is where its effect is (`vagan.evaluation.metrics.base.truth_mask`); its *strength* is
``|map|``. Functions of one map and one effect are metrics of ``(case, channel, *space)`` arrays by `per_case`.
"""

from typing import get_args

import numpy as np
from scipy.stats import spearmanr

from vagan.attribution.method import Convention
from vagan.errors import ConfigError, nearest
from vagan.evaluation.metrics.base import (
    CaseMaps,
    CaseMasks,
    CaseScores,
    Metric,
    Need,
    Pixels,
    Region,
    each_map,
    per_case,
    truth_of,
)
from vagan.types import Maps


def apply_convention(maps: CaseMaps, convention: Convention) -> CaseMaps:
    """Maps as a metric reads them, by their method's convention.

    ``signed``: as they are. ``absolute``: their size, for methods that know no direction. ``positive``: negative
    values count as zero, for evidence *for* a class.
    """
    match convention:
        case "signed":
            return maps
        case "absolute":
            return np.abs(maps)
        case "positive":
            return np.maximum(maps, 0)
    raise ConfigError(f"unknown convention {convention!r}; {nearest(convention, get_args(Convention))}")


def compared_with(effects: CaseMaps, convention: Convention) -> CaseMaps:
    """What maps of a convention are compared with: the effects, or their size where maps know no direction."""
    return effects if convention == "signed" else np.abs(effects)


@per_case()
def ncc(map_: Pixels, effect: Pixels) -> float:
    """Normalised cross-correlation of map and effect over all pixels; 1 is perfect, 0 is unrelated.

    The score of the paper's Tables 1 and 2. Both arrays of a case are shifted to zero mean and scaled to unit
    (population) standard deviation over all its pixels; the score is the mean of their product. This is Pearson's
    correlation: blind to offset and amplitude, but not to sign.

    In [-1, 1]; 0 where the map or the effect is constant: such a map says nothing about place. Reference: Baumgartner
    et al., Visual Feature Attribution using Wasserstein GANs, CVPR 2018, section 4.2.
    """
    # the standard deviation of a constant is often not exactly 0 in floating point, its range is
    if np.ptp(map_) == 0 or np.ptp(effect) == 0:
        return 0.0
    map_, effect = ((pixels - pixels.mean()) / pixels.std() for pixels in (map_, effect))
    return float((map_ * effect).mean())


def mean_ncc(maps: Maps, effects: Maps) -> float:
    """Mean of `ncc` over cases, for tensors on any device."""
    return float(ncc(maps.numpy(force=True), effects.numpy(force=True)).mean())


def ncc_brain(maps: CaseMaps, effects: CaseMaps, masks: CaseMasks) -> CaseScores:
    """Normalised cross-correlation with the observed effect within the brain of both scans; 1 is perfect."""
    cases = zip(maps, effects, masks, strict=True)
    return np.concatenate([ncc(map_[mask][None, None], effect[mask][None, None]) for map_, effect, mask in cases])


@per_case(needs_effect=True)
def average_precision(map_: Pixels, effect: Pixels) -> float:
    """Area under the precision-recall curve for detecting affected pixels by the strength.

    In [0, 1]; a constant map scores the fraction of pixels in the truth. The value is that of scikit-learn's
    ``average_precision_score``, in a tenth of its time. Reference: Davis and Goadrich, ICML 2006.
    """
    strength = np.abs(map_)
    affected = np.sort(strength[truth_of(effect)])
    found = len(affected) - np.searchsorted(affected, affected)  # affected pixels at least as strong as each
    marked = strength.size - np.searchsorted(np.sort(strength, axis=None), affected)  # all pixels at least as strong
    return float((found / marked).mean())


@per_case(needs_effect=True)
def relevance_mass(map_: Pixels, effect: Pixels) -> float:
    """Fraction of the map's total strength inside the affected region.

    In [0, 1]; 0 where the map is zero everywhere. Reference: Arras et al., CLEVR-XAI, Information Fusion 81 (2022).
    """
    strength = np.abs(map_)
    total = strength.sum()
    return float(strength[truth_of(effect)].sum() / total) if total else 0.0


@per_case(needs_effect=True)
def relevance_rank(map_: Pixels, effect: Pixels) -> float:
    """Fraction of the K strongest pixels that lie in the affected region of K pixels.

    Where the K-th place is shared by pixels of equal strength, the score is its expectation over all ways to
    choose among them: the order of pixels has no influence, and a constant map scores as chance does. In [0, 1].
    Reference: Arras, Osman and Samek, CLEVR-XAI, Information Fusion 81 (2022): "relevance rank accuracy".
    """
    truth = truth_of(effect)
    size = int(truth.sum())
    return expected_hits(np.abs(map_), truth, size) / size


@per_case(needs_effect=True)
def pointing_game(map_: Pixels, effect: Pixels) -> float:
    """Whether the strongest pixel is affected.

    Where several are equally strong, the score is the share of them that are: of a constant map the fraction of
    pixels in the truth. Reference: Zhang et al., Top-down Neural Attention by Excitation Backprop, ECCV 2016; here
    without their tolerance of 15 pixels.
    """
    return expected_hits(np.abs(map_), truth_of(effect), 1)


@per_case(needs_effect=True)
def amplitude_slope(map_: Pixels, effect: Pixels) -> float:
    """Slope of the map on the exact effect in the affected region, by least squares through the origin.

    Unlike `ncc` it sees a map that is too faint: 0.8 means that it shows 80 % of the effect. Both in image units.
    """
    return float((map_ * effect).sum() / (effect**2).sum())  # zero effect adds nothing to either sum


@per_case()
def uncertainty_error_correlation(std: Pixels, error: Pixels) -> float:
    """Rank correlation over pixels of an ensemble's standard deviation with the error of its mean.

    Its arguments are the standard deviation over the members and ``|mean map - effect|``. In [-1, 1]: 1 where
    the error is the larger the less the members agree; 0 where either is constant.
    """
    if np.ptp(std) == 0 or np.ptp(error) == 0:
        return 0.0
    return float(spearmanr(std, error, axis=None).statistic)


def mean_abs(maps: CaseMaps) -> CaseScores:
    """Mean absolute value of the map, in its own units. It needs no truth; small on baseline images is good."""
    return np.array([np.abs(map_).mean() for map_ in each_map(maps)])


def expected_hits(strength: Pixels, weights: Pixels | Region, count: int) -> float:
    """Total weight of the ``count`` strongest pixels, on average over the ways to break ties."""
    last = np.partition(strength, -count, axis=None)[-count]
    above, tied = strength > last, strength == last
    return float(weights[above].sum() + (count - int(above.sum())) * weights[tied].mean())


OVER_PIXELS: tuple[Need, ...] = ("maps", "effects")
WHERE: tuple[Need, ...] = ("maps", "known effects")

METRICS = (
    Metric(mean_abs, "Mean |map|", ("raw maps",), direction="neither"),
    Metric(ncc, "NCC", OVER_PIXELS, best=1.0),
    Metric(ncc_brain, "NCC, brain", (*OVER_PIXELS, "brain masks"), best=1.0),
    Metric(average_precision, "Average precision", WHERE, best=1.0),
    Metric(relevance_mass, "Relevance mass", WHERE, best=1.0),
    Metric(relevance_rank, "Relevance rank", WHERE, best=1.0),
    Metric(pointing_game, "Pointing game", WHERE, best=1.0),
    Metric(amplitude_slope, "Amplitude slope", ("maps", "exact effects"), best=1.0),
    Metric(uncertainty_error_correlation, "Uncertainty-error correlation", ("ensemble std", "errors")),
)
