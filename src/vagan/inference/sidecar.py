"""The JSON sidecar of each map: image, model, sign and unit."""

from typing import Any

import numpy as np

from vagan.inference.attribution import Array, Attribution, SourceImage

ABSTAINED = "abstained"

_MEANING = {
    "baseline": "predicted to be of the baseline class: the map is zero",
    "interest": "predicted to be of this class: its map",
    ABSTAINED: "no class is probable enough: the map is that of the most probable class of interest",
}
_EXPECTED = "the expected effect: the map of this class, multiplied by its probability before it was applied"


def describe(one: Attribution, source: SourceImage, effect: Array) -> dict[str, Any]:
    """Description of the map of a single image, whose effect on its own grid is given."""
    in_intensity, spec = one.unit == "intensity", one.spec
    shown = 1 if one.decisions is None else one.decisions[0].label or 1
    given = one.covariates
    entries = {
        "source": source.path.name,
        "method": one.method,
        "sign": one.sign,
        "unit": "intensity after scaling to [-1, 1]" if in_intensity else one.unit,
        "times_this_in_the_units_of_the_file": source.intensity_scale if in_intensity else None,
        "baseline_class": spec and spec.classes[0],
        "class_of_interest": spec and spec.classes[shown],
        "covariates": None if given is None else {name: str(given[name].iloc[0]) for name in given},
        "covariates_beyond": list(extrapolations(one)) or None,
        "shape": list(effect.shape[1:]),
        "mean_absolute_effect": float(np.abs(effect).mean()),
        "model": spec and {"rule": spec.rule, "cohort_hash": spec.cohort_hash},
        "predicted_class": _decision(one),
        "ood_score": None if one.ood_score is None else round(float(one.ood_score[0]), 3),
        "ood_threshold": None if one.ood_threshold is None else round(one.ood_threshold, 3),
        "is_ood": None if one.is_ood is None else bool(one.is_ood[0]),
        "uncertainty": _uncertainty(one),
    }
    return {name: value for name, value in entries.items() if value is not None}


def describe_deformation(vectors: Array, log_jacobian: Array, unit: str) -> dict[str, Any]:
    """Description of a deformation ``(dims, *space)`` in this unit."""
    return {
        "deformation": {
            "displacement": f"how far the class moved the tissue that is now here, in {unit}",
            "largest_displacement": float(np.linalg.norm(vectors, axis=0).max()),
            "log_jacobian": "logarithm of the volume now over the volume before; negative: the class shrank it",
            "smallest_and_largest_log_jacobian": [float(log_jacobian.min()), float(log_jacobian.max())],
        }
    }


def decision_of(one: Attribution) -> str:
    """Name of the predicted class of a single image, or ``abstained``; empty where nothing was decided."""
    if one.decisions is None or one.spec is None or one.reject_interval is None:
        return ""
    (decision,) = one.decisions
    return ABSTAINED if decision.abstained else one.spec.classes[decision.label]


def extrapolations(one: Attribution) -> tuple[str, ...]:
    """Covariates beyond those of the training's baseline images, in words."""
    if one.covariates is None or one.spec is None:
        return ()
    text = "{} is outside the range of the baseline images, {:g} to {:g}: an extrapolation"
    return tuple(
        text.format(covariate.name, *covariate.baseline_range)
        for covariate in one.spec.covariates
        if covariate.is_extrapolated(one.covariates).any()
    )


def _decision(one: Attribution) -> dict[str, Any] | None:
    if one.decisions is None or one.spec is None:
        return None
    (decision,) = one.decisions
    common = {
        "probabilities": dict(zip(one.spec.classes, decision.probabilities, strict=True)),
        "by": "a classifier in the run folder, its probabilities calibrated on validation images",
    }
    if one.reject_interval is None:
        return {"map_of": one.spec.classes[decision.label], "meaning": _EXPECTED, **common}
    meaning = ABSTAINED if decision.abstained else "interest" if decision.label else "baseline"
    decided = {"decision": decision_of(one), "meaning": _MEANING[meaning]}
    return {**decided, **common, "reject_interval": list(one.reject_interval)}


def _uncertainty(one: Attribution) -> dict[str, Any] | None:
    if one.uncertainty is None:
        return None
    return {
        "members": one.members,
        "std": "standard deviation of the members' maps, in the map's unit",
        "mean_std": float(one.uncertainty.std.mean()),
        "sign_agreement": "size of the mean sign: 0 half against half, 1 all alike",
        "mean_sign_agreement": float(one.uncertainty.sign_agreement.mean()),
    }
