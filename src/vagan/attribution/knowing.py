"""Methods that are told of the covariates of the images that they will get."""

import pandas as pd

from vagan.attribution.ensemble import Ensemble, Spread
from vagan.attribution.generator import VAGAN
from vagan.attribution.method import AttributionMethod


def subjects_known_to(method: AttributionMethod) -> pd.DataFrame | None:
    """What a method was told of the images that it will get; None if nothing."""
    one = method.members[0] if isinstance(method, Ensemble) else method
    return one.subjects if isinstance(one, VAGAN) else None


def knowing(method: AttributionMethod, subjects: pd.DataFrame) -> AttributionMethod:
    """The method, for images of which this is known; as it is where it needs to know nothing.

    Parameters
    ----------
    method
        Any.
    subjects
        See `VAGAN.knowing`.
    """
    if isinstance(method, VAGAN):
        return method.knowing(subjects)
    if isinstance(method, Ensemble):
        return Ensemble([knowing(member, subjects) for member in method.members])
    if isinstance(method, Spread):
        return Spread(Ensemble([knowing(member, subjects) for member in method.ensemble.members]))
    return method
