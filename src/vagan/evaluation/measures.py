"""All that is measured of a method's maps of images of the class of interest, as far as there is something to ask."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vagan.attribution.method import AttributionMethod
from vagan.data.cohort import Cohort
from vagan.data.manifest import REQUIRED
from vagan.errors import ConfigError, nearest
from vagan.evaluation.certainty import EnsembleStd, spread_error
from vagan.evaluation.metrics.agreement import apply_convention, energy
from vagan.evaluation.metrics.counterfactual import Judge
from vagan.evaluation.metrics.regions import Array, Values
from vagan.evaluation.statistics import correlation_entry
from vagan.evaluation.truth import Truth
from vagan.inference.attributor import Attributor


class Measures:
    """Scores for each case, and entries of the summary that are of all cases together.

    Parameters
    ----------
    cohort, rows
        The images.
    truth
        Their effects, if known.
    severity
        Column of the manifest with numbers.
    judge
        A classifier that none of the methods has seen.

    Raises
    ------
    ConfigError
        If the severity is no column of numbers.
    """

    def __init__(
        self,
        cohort: Cohort,
        rows: NDArray[np.int64],
        *,
        truth: Truth | None,
        severity: str | None,
        judge: Judge | None,
    ) -> None:
        self._rows, self._truth, self._judge = rows, truth, judge
        self._subjects = cohort.manifest.table["subject"].to_numpy()[rows]
        self._severities = None if severity is None else _numbers(cohort, severity, rows)
        self._before = None if judge is None else judge.opinion(rows)

    def of(
        self,
        method: AttributionMethod | Attributor,
        maps: Array,
        threshold: float,
        maps_of: Callable[[AttributionMethod, NDArray[np.int64]], Array],
    ) -> tuple[dict[str, Values], dict[str, dict[str, Any]]]:
        """Scores and entries of the maps of the first images.

        Parameters
        ----------
        method
            That made them.
        maps
            As it made them.
        threshold
            Above which a pixel is marked.
        maps_of
            Makes more maps.
        """
        rows, subjects = self._rows[: len(maps)], self._subjects[: len(maps)]
        scores: dict[str, Values] = {"energy": energy(maps)}
        entries: dict[str, dict[str, Any]] = {}
        if self._truth is not None:
            scored = apply_convention(maps, method.convention)
            scores |= self._truth.scores(scored, threshold, method.convention)
            entries |= self._truth.regional(scored, method.convention)
            if isinstance(method, Attributor) and len(method.methods) > 1:
                scores["spread_error"] = spread_error(maps_of(EnsembleStd(method), rows), self._truth.errors(maps))
        if self._severities is not None:
            severities = self._severities[: len(maps)]
            entries["severity_correlation"] = correlation_entry(scores["energy"], severities, groups=subjects)
        if self._judge is not None and self._before is not None and method.unit == "intensity":
            after = self._judge.opinion(rows, maps)
            scores |= self._judge.scores(rows, maps, self._before.first(len(maps)), after)
            entries["kernel_distance"] = self._judge.distance(after.features, subjects)
        return scores, entries


def _numbers(cohort: Cohort, column: str, rows: NDArray[np.int64]) -> Values:
    """A column of the manifest; NaN where a cell is empty."""
    table = cohort.manifest.table
    if column not in table:
        hint = nearest(column, map(str, table.columns))
        raise ConfigError(f"the severity must be a column of the manifest: {column!r} is none; {hint}")
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)[rows]
    if np.isfinite(values).sum() < 3:
        raise ConfigError(f"the severity must be numbers, {column!r} has fewer than three in the images to score")
    if column in REQUIRED:  # digits perhaps, but no amount
        raise ConfigError(
            f"the severity must be a column of numbers that measure something: {column!r} only tells which image it "
            "is; give another column of the manifest"
        )
    return values
