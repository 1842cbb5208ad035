"""How far the members of an ensemble agree on a map, as files beside it.

``_spread``: standard deviation of the members' maps, in the map's unit.
``_sign-agreement``: from 0, half of the members against half, to 1, all of one sign.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vagan.attribution.method import AttributionMethod
from vagan.inference.ensemble import Ensemble, agreement, spread
from vagan.types import Images

SPREAD, AGREEMENT = "spread", "sign-agreement"

Arrays = dict[str, NDArray[np.float32]]


def certainty_arrays(method: AttributionMethod, images: Images) -> Arrays:
    """Both of a batch of one, ``(channel, *space)``; nothing where the method is no ensemble."""
    if not isinstance(method, Ensemble):
        return {}
    maps = method.maps(images)
    return {SPREAD: spread(maps)[0].cpu().numpy(), AGREEMENT: agreement(maps)[0].cpu().numpy()}


def describe_certainty(method: AttributionMethod, arrays: Arrays) -> dict[str, Any]:
    """What the description of a map says of them."""
    if not isinstance(method, Ensemble):
        return {}
    return {
        "certainty": {
            "members": len(method.members),
            "spread": "standard deviation of the members' maps, in the map's unit",
            "mean_spread": float(arrays[SPREAD].mean()),
            "sign_agreement": "size of the mean sign: 0 half against half, 1 all alike",
            "mean_sign_agreement": float(arrays[AGREEMENT].mean()),
        }
    }
