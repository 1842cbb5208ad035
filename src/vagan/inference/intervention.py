"""What a covariate itself does to images: as if of the one value, less as if of the other."""

from collections.abc import Mapping

import pandas as pd

from vagan.attribution.method import Convention
from vagan.effect import effect_map
from vagan.errors import ConfigError, nearest
from vagan.inference.generator import VAGAN
from vagan.types import Images, Maps

Change = Mapping[str, tuple[str, str]]
"""Covariate -> its value before and after, such as ``{"age": ("60", "80")}``."""


class Contrast:
    """Effect of a change of covariates, whatever the class.

    An image is made to look as if the subject had the values before, and those after; both are changes by the
    generator, so that what it does wrong whatever the values cancels out.

    Parameters
    ----------
    method
        A map generator that was trained with ``training.contrast``, not told of subjects yet.
    change
        What differs; other covariates stay as the subject has them.

    Raises
    ------
    ConfigError
        If the generator cannot change covariates, or not these.
    """

    convention: Convention = "signed"

    def __init__(self, method: VAGAN, change: Change) -> None:
        if not method.contrast:
            raise ConfigError(
                "this model cannot change covariates; train one with --preset contrast and training.covariates"
            )
        known = [covariate.name for covariate in method.covariates]
        for name in change:
            if name not in known:
                raise ConfigError(f"this model was not told of {name!r}; {nearest(name, known)}")
        self.method, self.change = method, change
        self.name = f"{method.name}, {describe_change(change)}"
        self.subjects: pd.DataFrame | None = None
        for place in (0, 1):  # before and after; refused here rather than after the first image
            values = {one.name: one.kinds[0] if one.kinds else str(one.mean) for one in method.covariates}
            method.changing(pd.DataFrame([values]), self._with_values(pd.DataFrame([values]), place))

    def knowing(self, subjects: pd.DataFrame) -> "Contrast":
        """The same for images of which this is known; see `VAGAN.knowing`."""
        told = Contrast(self.method, self.change)
        told.subjects = subjects
        return told

    def attribute(self, images: Images) -> Maps:
        """Positive where the image is brighter after the change than before."""
        if self.subjects is None:
            raise ConfigError("a contrast must know the covariates of each image; say them with --covariates")
        before, after = (
            self.method.changing(self.subjects, self._with_values(self.subjects, place)).counterfactual(images)
            for place in (0, 1)
        )
        return effect_map(after, before)

    def _with_values(self, subjects: pd.DataFrame, place: int) -> pd.DataFrame:
        return subjects.assign(**{name: values[place] for name, values in self.change.items()})


def describe_change(change: Change) -> str:
    """``age 60 to 80``."""
    return ", ".join(f"{name} {before} to {after}" for name, (before, after) in change.items())


def parse_change(text: str) -> dict[str, tuple[str, str]]:
    """``age=60:80,sex=F:M`` -> {"age": ("60", "80"), "sex": ("F", "M")}."""
    change = {}
    for part in text.split(","):
        name, _, values = part.partition("=")
        before, separator, after = values.partition(":")
        if not (name.strip() and separator and before.strip() and after.strip()):
            raise ConfigError(f"a contrast must read like age=60:80 or sex=F:M, found {text!r}")
        change[name.strip()] = (before.strip(), after.strip())
    return change
