"""Known effects of the images to score."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from vagan.data.cohort import Cohort
from vagan.effect import effect_map
from vagan.errors import CohortError
from vagan.evaluation.evaluation import KNOWN_EFFECT, TRUE_EFFECT
from vagan.evaluation.maps import Cases, MethodMaps, Rows
from vagan.evaluation.metrics.agreement import compared_with
from vagan.evaluation.metrics.base import Array, Need, Values, score, truth_mask
from vagan.evaluation.metrics.detection import otsu_threshold
from vagan.evaluation.metrics.regions import Parts
from vagan.evaluation.metrics.registry import METRICS
from vagan.seeding import numpy_generator

THRESHOLD_IMAGES = 100
CEILING = "ceiling"
"""Name of the exact effect among the methods of score rows."""


@runtime_checkable
class GroundTruth(Protocol):
    """Decides which images are scored, and what their maps are compared with."""

    cases: Cases
    rules: Mapping[str, str]
    """What a reader must know of it."""
    effects_name: str
    """What figures call the effects: ``true effect`` where they are exact."""

    def effect(self, case: int) -> Array | None:
        """Effect of a case, ``(channel, *space)``; None where it is not known."""

    def available(self, maps: MethodMaps) -> Mapping[Need, Any]:
        """What metrics of these maps can use, of the same first cases."""

    def ceiling(self) -> dict[str, Values]:
        """Scores of the exact effects, which no method can be expected to exceed; empty if they are unknown."""


class ExactEffects:
    """Effects and counterfactuals of the class ``label`` as the cohort stores them, as far as it does.

    Other parameters are those of `vagan.evaluation.evaluate.EvaluationOptions`. Raises `CohortError` if there are no
    test images of both classes, or no validation images of the class of interest.
    """

    def __init__(self, cohort: Cohort, label: int, *, limit: int | None, parts: Parts | None, seed: int) -> None:
        self._cohort, self._parts = cohort, parts
        self.rules: Mapping[str, str] = {}
        baseline, rows = (images_to_score(cohort, "test", part, limit, seed) for part in (0, label))
        validation = images_to_score(cohort, "validation", label, THRESHOLD_IMAGES, seed)
        table = cohort.manifest.table.iloc[rows].rename(columns={"id": "case"}).reset_index(drop=True)
        self.cases = Cases(table[["case", "subject", "label"]], rows, baseline, validation)
        self._effects: Array | None = cohort.effects(rows).numpy() if cohort.has_effects else None
        self.effects_name = TRUE_EFFECT if cohort.has_counterfactuals else KNOWN_EFFECT
        self._exact = _exact_effects(cohort, rows) if cohort.has_effects and cohort.has_counterfactuals else None

    def effect(self, case: int) -> Array | None:
        """As stored: it may be a mask."""
        return None if self._effects is None else self._effects[case]

    def available(self, maps: MethodMaps) -> dict[Need, Any]:
        """See `GroundTruth`."""
        if self._effects is None:
            return {}
        count = len(maps.effect)
        effects = compared_with(self._effects[:count], maps.convention)
        exact = effects
        if self._exact is not None:
            # the stored effect may be a mask; how bright the class made a pixel is what the counterfactual tells
            exact = np.where(truth_mask(effects), compared_with(self._exact[:count], maps.convention), 0)
        found: dict[Need, Any] = {"effects": effects, "known effects": effects, "exact effects": exact}
        if maps.ensemble_std is not None:
            found["errors"] = np.abs(maps.effect - (self._effects if self._exact is None else self._exact)[:count])
        if self._parts is not None or self._cohort.has_regions:
            found["parts"] = self._parts_of
        if self._cohort.has_regions:
            found["region masks"] = lambda case: self._cohort.regions([self.cases.rows[case]])
        return found

    def ceiling(self) -> dict[str, Values]:
        """With a threshold from the exact effects of validation images."""
        if self._exact is None:
            return {}
        threshold = otsu_threshold(_exact_effects(self._cohort, self.cases.validation))
        maps = MethodMaps(CEILING, "signed", "intensity", self._exact, threshold=threshold)
        return score(METRICS.values(), {**maps.available(), **self.available(maps)}).cases

    def _parts_of(self, case: int, effect: Array) -> Mapping[str, Array]:
        if self._parts is not None:
            return self._parts(effect)
        return {name: effect * mask for name, mask in self._cohort.regions([self.cases.rows[case]]).items()}


def images_to_score(cohort: Cohort, split: str, label: int, limit: int | None, seed: int) -> Rows:
    """Random subset of a class's images in a split, in random order; the same for every method."""
    found = cohort.manifest.indices(split, label)
    if not len(found):
        name = cohort.manifest.classes[label]
        raise CohortError(f"scores need {split} images of {name!r}, found none in {cohort.path}; split it again")
    return numpy_generator(seed, f"{split} images to score", label).permutation(found)[:limit]


def _exact_effects(cohort: Cohort, rows: Rows) -> Array:
    return effect_map(cohort.images(rows), cohort.counterfactuals(rows)).numpy()
