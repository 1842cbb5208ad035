"""Interventions: the effect of a change of covariates, whatever the class."""

from collections.abc import Mapping

import pandas as pd

from vagan.attribution.vagan import VAGAN, Explanation
from vagan.data.covariates import encode_covariates
from vagan.effect import effect_map
from vagan.errors import ConfigError, nearest
from vagan.model.folder import ModelSpec
from vagan.types import Images

Value = str | int | float
Intervention = Mapping[str, tuple[Value, Value]]
"""Covariate -> its value before and after, such as ``{"age": (60, 80)}``; other covariates stay as they are."""


def explain_intervention(
    method: VAGAN, images: Images, covariates: pd.DataFrame, intervention: Intervention
) -> Explanation:
    """Positive where the image is brighter after the intervention than before; the counterfactual is that after it.

    Both images are made by the generator, so that its errors that do not depend on the values cancel.
    """
    (before, ood_score), (after, _) = (
        method.changed(images, covariates, covariates.assign(**_values(intervention, side))) for side in (0, 1)
    )
    return Explanation(effect_map(after, before), after, None, ood_score)


def require_intervention(spec: ModelSpec, intervention: Intervention) -> None:
    """Refuse, before the first image, covariates that the model cannot change, and impossible values."""
    if not spec.intervention:
        raise ConfigError(
            "an intervention needs a model trained with --preset intervention and training.covariates: "
            "this one cannot change covariates"
        )
    usual = {one.name: one.categories[0] if one.categories else str(one.mean) for one in spec.covariates}
    for name in intervention:
        if name not in usual:
            raise ConfigError(f"the model has no covariate {name!r} to change; {nearest(name, usual)}")
    for side in (0, 1):
        encode_covariates(spec.covariates, pd.DataFrame([usual | _values(intervention, side)]))


def describe_intervention(intervention: Intervention) -> str:
    """``age 60 to 80``."""
    return ", ".join(f"{name} {before} to {after}" for name, (before, after) in intervention.items())


def _values(intervention: Intervention, side: int) -> dict[str, Value]:
    return {name: values[side] for name, values in intervention.items()}
