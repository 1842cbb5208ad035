"""What the reader of a map must know, in words and numbers: it stands beside every map."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vagan.attribution.method import AttributionMethod, Convention
from vagan.attribution.registry import Entry, LoadedMethod
from vagan.effect import SIGN, SIGN_INTO
from vagan.inference.ensemble import Ensemble
from vagan.inference.generator import VAGAN
from vagan.inference.intervention import Contrast, describe_change
from vagan.inference.knowing import subjects_known_to

READING: dict[Convention, str] = {
    "signed": "positive: what is there, and bright, speaks for the class; negative: against it",
    "absolute": "the size alone, whatever the sign, says how much a place matters",
    "positive": "positive values speak for the class; negative ones are not read",
}

CONTRAST = (
    "image as if after the change - image as if before, the class left alone; positive: the change made it brighter"
)


def describe(loaded: LoadedMethod, path: Path, values: NDArray[np.float32], *, scale: float) -> dict[str, Any]:
    """What a reader of a map must know: of what, by what, and how its sign and unit are meant."""
    method, facts = loaded.method, loaded.facts
    return {
        "source": path.name,
        "method": method.name,
        **_meaning(method, loaded.entry, scale),
        **_contrast(method),
        "baseline_class": facts.classes[0],
        "class_of_interest": facts.classes[1],
        **_subject(loaded),
        "shape": list(values.shape[1:]),
        "mean_absolute_effect": float(np.abs(values).mean()),
        "model": {"rule": facts.rule, "cohort_hash": facts.cohort_hash},
    }


def _contrast(method: AttributionMethod) -> dict[str, Any]:
    """Of a contrast, what is compared."""
    one = method.members[0] if isinstance(method, Ensemble) else method
    return {"sign": CONTRAST, "contrast": describe_change(one.change)} if isinstance(one, Contrast) else {}


def _subject(loaded: LoadedMethod) -> dict[str, Any]:
    """What the networks were told of the image, and whether that is beyond what they have seen."""
    subject = subjects_known_to(loaded.method)
    if subject is None:
        return {}
    covariates = loaded.facts.covariates
    beyond = [
        f"{one.name} is beyond that of the baseline images, {one.seen[0]:g} to {one.seen[1]:g}: an extrapolation"
        for one in covariates
        if one.extrapolates(subject).any()
    ]
    told = {one.name: str(subject[one.name].iloc[0]) for one in covariates}
    return {"covariates": told, **({"covariates_beyond": beyond} if beyond else {})}


def _meaning(method: AttributionMethod, entry: Entry, scale: float) -> dict[str, Any]:
    if entry.unit != "intensity":
        return {"sign": READING[method.convention], "unit": entry.unit}
    return {
        "sign": SIGN_INTO if isinstance(method, VAGAN) and method.into else SIGN,
        "unit": "intensity after scaling to [-1, 1]",
        "times_this_in_the_units_of_the_file": scale,
    }
