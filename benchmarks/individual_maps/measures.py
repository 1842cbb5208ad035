"""Whether a map of a simulated scan shows the patient's own effect, or the group's mean on the patient's anatomy.

A map that assumes the same disease in everyone, but follows each anatomy exactly, correlates highly with every
patient's effect. These scores measure what a map adds to it. The hypothetical effects that they need come from
`swapped_disease`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from vagan.evaluation.metrics.agreement import ncc
from vagan.evaluation.metrics.base import CaseMaps, Entry, Values
from vagan.evaluation.statistics import correlation_entry


def individual_share(score: float, constant: float, supervised: float) -> float:
    """Share of the possible gain over a constant map: ``(score - constant) / (supervised - constant)``.

    Parameters
    ----------
    score
        Mean NCC of a method's maps.
    constant
        Mean NCC of the constant map: the group's mean change of volumes, drawn exactly on each anatomy.
    supervised
        Mean NCC of the same network trained on the true effects.

    Returns
    -------
    float
        1 as good as supervised training, 0 no better than the constant map, negative if worse. NaN unless the
        supervised network is better than the constant map.
    """
    return (score - constant) / (supervised - constant) if supervised > constant else float("nan")


class SwapTest(NamedTuple):
    """How much better maps agree with the true effects than with those of another patient's disease."""

    gain: float
    """Mean NCC with the true minus mean NCC with the swapped effects; 0 for maps that depend on anatomy alone."""
    ceiling: float
    """Gain of the exact effects: 1 minus their mean NCC with the swapped ones."""

    @property
    def share(self) -> float:
        """Gain divided by ceiling; NaN where all patients have the same effect."""
        return self.gain / self.ceiling if self.ceiling > 1e-9 else float("nan")  # NCC of equals is 1 up to rounding


def swap_test(maps: CaseMaps, effects: CaseMaps, swapped: CaseMaps) -> SwapTest:
    """Compare maps with the true effects, and with the effects of another patient's disease on the same scans.

    Parameters
    ----------
    maps
        Signed maps.
    effects
        Exact effects of the same cases.
    swapped
        Exact effects on the *same* scans under the change of volumes of each case's partner, see `partners` and
        `swapped_disease.effect_if`.
    """
    pairs = (maps, effects), (maps, swapped), (effects, swapped)
    own, other, between = (float(ncc(one, two).mean()) for one, two in pairs)
    return SwapTest(own - other, 1 - between)


def partners(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Assign another case to each of at least two, each used once: its neighbour in a random circular order."""
    order = rng.permutation(count)
    found = np.empty(count, np.int64)
    found[order] = np.roll(order, 1)
    return found


def volume_changes(
    log_jacobians: Float[np.ndarray, "case 1 *space"], shares: Float[np.ndarray, "case region *space"]
) -> Float[np.ndarray, "case region"]:
    """Predicted log ratio of each region's volume in the scan to its volume without the class.

    Parameters
    ----------
    log_jacobians
        At each voxel of the scan, log ratio of the volume of its tissue to the volume without the class.
    shares
        Fraction of each voxel that a region fills, see `swapped_disease.region_shares`.

    Returns
    -------
    Float[np.ndarray, "case region"]
        Natural logarithms; NaN where a region is not in the scan.

    Notes
    -----
    The volume in the scan is the sum of the shares. Without the class, the tissue in a voxel would have
    ``exp(-log_jacobian)`` times its volume.
    """
    axes = tuple(range(2, shares.ndim))
    present, healthy = shares.sum(axes, dtype=float), (shares * np.exp(-log_jacobians)).sum(axes, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(present / healthy)


def volume_correlations(
    predicted: Float[np.ndarray, "case region"],
    true: Float[np.ndarray, "case region"],
    regions: Sequence[str],
    subjects: ArrayLike,
) -> dict[str, Entry]:
    """Scores ``volume/PART``: rank correlation over patients of predicted and true log volume change.

    Regions ``PART_left`` and ``PART_right`` are correlated separately and averaged. Intervals cannot be averaged, so
    an entry has only ``mean`` and ``n``, the smaller of both numbers of patients.
    """
    sides: dict[str, list[Entry]] = {}
    for column, region in enumerate(regions):
        part = region.removesuffix("_left").removesuffix("_right")
        sides.setdefault(part, []).append(correlation_entry(predicted[:, column], true[:, column], groups=subjects))
    return {
        f"volume/{part}": {"mean": float(np.mean([e["mean"] for e in entries])), "n": min(e["n"] for e in entries)}
        for part, entries in sides.items()
    }


def amplitude_without_truth(images: Values, baseline: Values, maps: Values, baseline_maps: Values) -> float:
    """Factor by which maps account best for the difference of the groups' mean images; needs no known effects.

    Least-squares slope, over voxels, of the difference of the mean images on the difference of the mean maps.

    Parameters
    ----------
    images, baseline
        Of the class of interest and of the baseline class, ``(case, *voxels)``.
    maps, baseline_maps
        Of the same images.
    """
    observed = images.mean(0) - baseline.mean(0)
    predicted = maps.mean(0) - baseline_maps.mean(0)
    return float((observed * predicted).sum() / (predicted * predicted).sum())
