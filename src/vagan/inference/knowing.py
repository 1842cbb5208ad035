"""Methods that are told of the covariates of the images that they will get."""

import pandas as pd

from vagan.attribution.method import AttributionMethod
from vagan.errors import ConfigError
from vagan.inference.class_gate import Decided
from vagan.inference.ensemble import Ensemble, Spread
from vagan.inference.generator import VAGAN
from vagan.inference.intervention import Change, Contrast


def subjects_known_to(method: AttributionMethod) -> pd.DataFrame | None:
    """What a method was told of the images that it will get; None if nothing."""
    one = method.members[0] if isinstance(method, Ensemble) else method
    return one.subjects if isinstance(one, VAGAN | Contrast | Decided) else None


def generator_of(method: AttributionMethod) -> VAGAN | None:
    """The map generator behind a method, the first of several; None if there is none."""
    if isinstance(method, Ensemble):
        return generator_of(method.members[0])
    if isinstance(method, Contrast):
        return method.method
    if isinstance(method, Decided):
        return method.methods[0]
    return method if isinstance(method, VAGAN) else None


def contrasting(method: AttributionMethod, change: Change) -> AttributionMethod:
    """What a change of covariates does, by this map generator or by all members; see `Contrast`."""
    if isinstance(method, VAGAN):
        return Contrast(method, change)
    if isinstance(method, Ensemble):
        return Ensemble([contrasting(member, change) for member in method.members])
    raise ConfigError(f"a contrast needs a map generator, and {method.name} is none")


def knowing(method: AttributionMethod, subjects: pd.DataFrame) -> AttributionMethod:
    """The method, for images of which this is known; as it is where it needs to know nothing.

    Parameters
    ----------
    method
        Any.
    subjects
        See `VAGAN.knowing`.
    """
    if isinstance(method, VAGAN | Contrast | Decided):
        return method.knowing(subjects)
    if isinstance(method, Ensemble):
        return Ensemble([knowing(member, subjects) for member in method.members])
    if isinstance(method, Spread):
        return Spread(Ensemble([knowing(member, subjects) for member in method.ensemble.members]))
    return method
