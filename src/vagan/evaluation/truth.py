"""What is known of the images to score, and all scores of maps against it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vagan.attribution.method import Convention
from vagan.data.cohort import Cohort
from vagan.effect import effect_map
from vagan.evaluation.metrics.agreement import METRICS, amplitude_slope, compared_with, energy
from vagan.evaluation.metrics.base import truth_mask
from vagan.evaluation.metrics.detection import MASK_METRICS, otsu_threshold
from vagan.evaluation.metrics.regions import Array, Parts, Values, part_recalls, regional_correlations, regional_means


class Truth:
    """Effects of some images of a cohort.

    Parameters
    ----------
    cohort, rows
        It must know their effects.
    parts
        See `part_recalls`.

    Attributes
    ----------
    effects
        As stored: they may be masks. ``(case, channel, *space)``.
    """

    def __init__(self, cohort: Cohort, rows: NDArray[np.int64], parts: Parts | None) -> None:
        self._cohort, self._rows, self._parts = cohort, rows, parts
        self.effects: Array = cohort.effects(rows).numpy()
        self._exact = _exact_effects(cohort, rows) if cohort.has_counterfactuals else None

    def scores(self, maps: Array, threshold: float, convention: Convention = "signed") -> dict[str, Values]:
        """Every score of the maps of the first images, as they are read by their convention; NaN where undefined."""
        effects, rows = compared_with(self.effects[: len(maps)], convention), self._rows[: len(maps)]
        scores = {metric.name: metric.function(maps, effects) for metric in METRICS}
        if self._exact is not None:
            # the stored effect may be a mask; how bright the class made a pixel is what the counterfactual tells
            exact = np.where(truth_mask(effects), compared_with(self._exact[: len(maps)], convention), 0)
            scores["amplitude_slope"] = amplitude_slope(maps, exact)
        scores |= {metric.name: metric.function(maps, effects, threshold) for metric in MASK_METRICS}
        return scores | part_recalls(maps, effects, self._cohort, rows, self._parts)

    def regional(self, maps: Array, convention: Convention) -> dict[str, dict[str, Any]]:
        """Means over regions against those of the effects, as maps of this convention are compared with them."""
        if not self._cohort.has_regions:
            return {}
        effects, rows = compared_with(self.effects[: len(maps)], convention), self._rows[: len(maps)]
        true = regional_means(effects, self._cohort, rows)
        subjects = self._cohort.manifest.table["subject"].to_numpy()[rows]
        return regional_correlations(regional_means(maps, self._cohort, rows), true, subjects)

    def errors(self, maps: Array) -> Array:
        """How far the maps of the first images are from the exact effect, or from the stored one, at each pixel."""
        known = self.effects if self._exact is None else self._exact
        return np.abs(maps - known[: len(maps)])

    def ceiling(self, validation: NDArray[np.int64]) -> dict[str, Values]:
        """Scores of the exact effects, with a threshold from those of validation images; none if not known."""
        if self._exact is None:
            return {}
        threshold = otsu_threshold(_exact_effects(self._cohort, validation))
        return {"energy": energy(self._exact), **self.scores(self._exact, threshold)}


def _exact_effects(cohort: Cohort, rows: NDArray[np.int64]) -> Array:
    return effect_map(cohort.images(rows), cohort.counterfactuals(rows)).numpy()
