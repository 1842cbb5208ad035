"""The maps of a method, computed once and read by all metrics and outputs."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from vagan.attribution.method import Convention, Unit
from vagan.data.cohort import Cohort
from vagan.effect import without_effect
from vagan.errors import OutputError
from vagan.evaluation.metrics.agreement import apply_convention, mean_abs
from vagan.evaluation.metrics.base import Array, Need, Values
from vagan.evaluation.metrics.detection import otsu_threshold
from vagan.inference.attribution import Attribution
from vagan.inference.attributor import Attributor
from vagan.inference.strategies import ClassDecision
from vagan.progress import Bar

BATCH = 25
EXPENSIVE = 20
"""Forward passes per map from which on a method is scored on a subset."""
BATCH_VALUES = 2**21
"""In a batch of volumes at most, or else a single one: networks keep many times as many."""

Rows = NDArray[np.int64]
"""Of a cohort's manifest."""


@dataclass(frozen=True)
class Cases:
    """The images to score, and those that scores are measured by."""

    table: pd.DataFrame
    """Columns case, subject and label of the images of the class of interest, in random order."""
    rows: Rows
    """Where they are in the cohort."""
    baseline: Rows
    validation: Rows
    """Rows of images of the baseline class, and of validation images of the class of interest, which decide the
    thresholds."""

    def first(self, count: int) -> "Cases":
        """The first ones for a method that takes long: most of its maps go into the scores."""
        if count >= len(self.rows):
            return self
        return Cases(self.table[:count], self.rows[:count], self.baseline[: max(1, count // 4)], self.validation)

    @property
    def for_threshold(self) -> Rows:
        """As many validation images as there are baseline images."""
        return self.validation[: len(self.baseline)]

    def __len__(self) -> int:
        return len(self.rows) + len(self.baseline) + len(self.for_threshold)


@dataclass(frozen=True)
class MethodMaps:
    """What a method said about the cases."""

    name: str
    convention: Convention
    unit: Unit
    effect: Array
    """Maps as the method made them, ``(case, channel, *space)``, read from a file as needed."""
    ensemble_std: Array | None = None
    """Of ensembles: standard deviation over the members, of the same shape."""
    log_jacobian: Array | None = None
    """Of methods that deform: logarithm of the volume now over the volume before, ``(case, 1, *space)``."""
    baseline_mean_abs: Values | None = None
    """Mean size of each map of a baseline image."""
    baseline_sizes: Values | None = None
    """Euclidean size of the same maps."""
    residual_mean_abs: Values | None = None
    """Mean ``|map|`` of each counterfactual, attributed again; None where that is not possible or takes long."""
    threshold: float | None = None
    """The ``|map|`` above which a pixel is marked, from validation images; None where there are none."""
    seconds: float = 0.0
    """Mean time of a map."""
    decisions: tuple[ClassDecision, ...] = ()
    """Of a class gate: for the baseline images, then for the cases."""

    def available(self) -> dict[Need, object]:
        """What metrics can use of it."""
        found: dict[Need, object | None] = {
            "raw maps": self.effect,
            "maps": apply_convention(self.effect, self.convention),
            "ensemble std": self.ensemble_std,
            "baseline mean abs": self.baseline_mean_abs,
            "baseline sizes": self.baseline_sizes if self.unit == "intensity" else None,
            "residual mean abs": self.residual_mean_abs,
            "threshold": self.threshold,
        }
        return {need: value for need, value in found.items() if value is not None}


def make_maps(name: str, method: Attributor, cases: Cases, cohort: Cohort, *, folder: Path, bar: Bar) -> MethodMaps:
    """Attribute all images of the cases, and keep the maps in files of the new ``folder``."""
    threshold = None
    if len(cases.for_threshold):
        marked = attribute_rows(method, cases.for_threshold, cohort, bar=bar)
        threshold = otsu_threshold(apply_convention(np.concatenate([*map(_effect, marked)]), method.convention))
    begin = time.perf_counter()
    kept, decisions = _keep(attribute_rows(method, cases.rows, cohort, bar=bar), folder)
    seconds = (time.perf_counter() - begin) / len(cases.rows)
    baseline = []
    for batch in attribute_rows(method, cases.baseline, cohort, bar=bar):
        maps = _effect(batch)
        sizes = [float(np.linalg.norm(map_)) for map_ in maps]
        baseline.append((mean_abs(maps), sizes, batch.decisions or ()))
    residual = []
    if is_attributed_again(method):
        again = attribute_rows(method, cases.rows, cohort, bar=bar, without=kept["effect"])
        residual = [mean_abs(_effect(batch)) for batch in again]
    return MethodMaps(
        name=name,
        convention=method.convention,
        unit=method.unit,
        **kept,
        baseline_mean_abs=np.concatenate([means for means, *_ in baseline]) if baseline else None,
        baseline_sizes=np.concatenate([sizes for _, sizes, _ in baseline]) if baseline else None,
        residual_mean_abs=np.concatenate(residual) if residual else None,
        threshold=threshold,
        seconds=seconds,
        decisions=(*(decision for *_, found in baseline for decision in found), *decisions),
    )


def is_attributed_again(method: Attributor) -> bool:
    """Whether counterfactuals of the method, which are image minus effect, are attributed as well."""
    return method.unit == "intensity" and method.cost < EXPENSIVE


def attribute_rows(
    method: Attributor, rows: Rows, cohort: Cohort, *, bar: Bar, without: Array | None = None
) -> Iterator[Attribution]:
    """Maps of some rows of a cohort, a batch at a time; of the images without these effects, if they are given."""
    size = min(BATCH, max(1, BATCH_VALUES // (cohort.channels * math.prod(cohort.shape))))
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        images = cohort.images(part)
        if without is not None:
            images = torch.from_numpy(without_effect(images.numpy(), without[start : start + size]))
        yield method.attribute(images, cohort.manifest.table.iloc[part])
        bar.advance(by=len(part))


def _effect(batch: Attribution) -> Array:
    return batch.effect.numpy()


def _keep(batches: Iterable[Attribution], folder: Path) -> tuple[dict[str, Array], tuple[ClassDecision, ...]]:
    """Arrays of all batches, which lie in files: maps of volumes would not fit into memory; and the decisions."""
    folder.mkdir()
    shapes: dict[str, tuple[int, ...]] = {}
    decisions: tuple[ClassDecision, ...] = ()
    for batch in batches:
        decisions += batch.decisions or ()
        arrays = {
            "effect": batch.effect,
            "ensemble_std": batch.uncertainty and batch.uncertainty.std,
            "log_jacobian": batch.deformation and batch.deformation.log_jacobian,
        }
        for name, array in arrays.items():
            if array is None:
                continue
            count, *_ = shapes.get(name, (0,))
            shapes[name] = (count + len(array), *array.shape[1:])
            try:
                with (folder / name).open("ab") as file:
                    file.write(np.ascontiguousarray(array.numpy(), np.float32).tobytes())
            except OSError as error:
                raise OutputError(
                    f"cannot keep maps in {folder}: {error.strerror}; free some space, or set TMPDIR to another disk"
                ) from error
    kept = {
        name: np.asarray(np.memmap(folder / name, np.float32, "r", shape=shape)) for name, shape in shapes.items()
    }
    return kept, decisions
