"""Maps and effects one case at a time, checked, and where an effect counts as there.

Maps and effects are arrays ``(case, channel, *space)``. A case's channels and pixels count alike, and one case
is read at a time, so that volumes need no second copy in memory.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from vagan.errors import CohortError, ModelError

CaseMaps = Shaped[np.ndarray, "case channel *space"]
CaseMasks = Bool[np.ndarray, "case channel *space"]
CaseScores = Float[np.ndarray, " case"]
Pixels = Float[np.ndarray, "*pixels"]
"""Of one case."""
Region = Bool[np.ndarray, "*pixels"]

TRUTH_FRACTION = 0.1
"""Of an effect's largest size: less is not counted as effect. Of simulated atrophy a tenth keeps 95 % of the squared
effect in 2 % of the voxels; the effect is not zero in 14 % of them."""


def truth_mask(effects: CaseMaps) -> CaseMasks:
    """Where each case has an effect: at least `TRUTH_FRACTION` of its own largest.

    Every score that needs to know *where* the effect is takes it from here. Of masks it is where they are not zero.
    A deformation's effect is almost nowhere zero, and most of it is too faint to be meant.

    Returns
    -------
    CaseMasks
        False everywhere in a case without any effect.
    """
    masks = [truth_of(effect_of(effects, case)) for case in range(len(effects))]
    return np.stack(masks) if masks else np.zeros(effects.shape, bool)


def truth_of(effect: Pixels) -> Region:
    """`truth_mask` of one case."""
    size = np.abs(effect)
    return (size >= TRUTH_FRACTION * size.max()) & (size > 0)


def for_each_case(
    score: Callable[[Pixels, Pixels], float], maps: CaseMaps, effects: CaseMaps, *, with_truth: bool = False
) -> CaseScores:
    """One value for each case from its map and its effect, both ``(channel, *space)``.

    Parameters
    ----------
    score
        Of a case.
    maps, effects
        Of the same shape.
    with_truth
        Whether the score is undefined where there is no effect.

    Raises
    ------
    ModelError
        If a map is not finite.
    CohortError
        If an effect is not finite, or there is none although the score needs one.
    """
    require_pixels(maps)
    if maps.shape != effects.shape:
        raise ValueError(
            f"maps and effects must have the same shape: {maps.shape} and {effects.shape}; "
            "bring both to one grid first"
        )
    values = [score(map_of(maps, case), effect_of(effects, case, with_truth)) for case in range(len(maps))]
    return np.array(values, dtype=np.float64)


def require_pixels(maps: CaseMaps) -> None:
    """Refuse arrays of other axes, or without any pixel."""
    if maps.ndim < 3 or not maps.size:
        raise ValueError(f"maps must be (case, channel, *space) and hold at least one pixel, got shape {maps.shape}")


def map_of(maps: CaseMaps, case: int) -> Pixels:
    """One case's map, finite."""
    pixels: np.ndarray[Any, Any] = maps[case].astype(np.float64)
    if not np.isfinite(pixels).all():
        raise ModelError(
            f"maps must be finite: the map of case {case} holds NaN or infinity; "
            "check the image, then whether the model's training diverged"
        )
    return pixels


def effect_of(effects: CaseMaps, case: int, with_truth: bool = False) -> Pixels:
    """One case's effect, finite."""
    pixels: np.ndarray[Any, Any] = effects[case].astype(np.float64)
    if not np.isfinite(pixels).all():
        raise CohortError(f"effects must be finite: that of case {case} holds NaN or infinity; make the cohort again")
    if with_truth and not pixels.any():
        raise CohortError(
            f"this score needs an effect that is not zero everywhere: that of case {case} is; "
            "score only images of a class of interest"
        )
    return pixels
