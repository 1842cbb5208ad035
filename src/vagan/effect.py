"""The additive model of the paper (Eq. 1) and the sign convention. Nobody else writes a minus.

``M(x)`` is what must be *added* to an image to make it look like the baseline class: ``y = x + M(x)``.
The *effect* is what the class put there: ``effect = x - y``, which is ``-M(x)`` unless the output is bounded.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vagan.types import Images, Maps

Output = Literal["add", "tanh"]


def baseline_image(images: Images, raw_map: Images, output: Output = "add") -> Images:
    """Counterfactual image ``y``: the same image as if it belonged to the baseline class.

    Parameters
    ----------
    images
        ``x``, intensities in [-1, 1].
    raw_map
        ``M(x)``, the same shape.
    output
        ``add``: ``y = x + M`` (Eq. 1; exactly ``x`` where ``M = 0``).
        ``tanh``: ``y = tanh(x + M)``, as in the authors' public code; not the identity at ``M = 0``.
    """
    total = images + raw_map
    return total.tanh() if output == "tanh" else total


def effect_map(images: Images, baseline: Images) -> Maps:
    """Effect of the class: positive where it made the image brighter.

    Parameters
    ----------
    images
        ``x``, as observed.
    baseline
        ``y``, as it would look without the class of interest.
    """
    return images - baseline


def difference(later: NDArray[np.floating[Any]], earlier: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Observed effect of what happened between two scans on one grid: positive where the later one is brighter."""
    return later - earlier


def without_effect(image: NDArray[np.floating[Any]], effect: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """The image as it would look without an effect; undoes `difference`."""
    return image - effect
