"""What a stranger must know of an exported map generator, in plain values."""

from importlib.metadata import version
from typing import Any

from vagan.effect import SIGN
from vagan.model.folder import ModelSpec

LICENCE = "code: Apache-2.0; weights: as the licence of the data that they learned from allows"


def about(facts: ModelSpec) -> dict[str, Any]:
    """Classes, preparation, spacing, sign and origin."""
    baseline, *interests = facts.classes
    return {
        "vagan_version": version("vagan"),
        "baseline_class": baseline,
        "classes_of_interest": interests,
        "sign": SIGN,
        "intensity": "prepared: from -1, the background, to 1",
        "preparation": facts.preparation.model_dump(mode="json"),
        "scans_must_be_preprocessed": facts.pipeline is not None,
        "spacing_mm": facts.spacing_mm,
        "training_shape": facts.shape,
        "output": facts.output,
        "rule": facts.rule,
        "licence": LICENCE,
    }


def axes_of(facts: ModelSpec) -> tuple[str, ...]:
    """Names of the spatial axes; those of volumes point to the subject's right, front and top."""
    return ("height", "width") if facts.num_spatial_dims == 2 else ("right", "front", "top")
