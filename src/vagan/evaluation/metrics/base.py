"""The `Metric` record, and the loop over cases that most metrics share.

Maps and effects are arrays ``(case, channel, *space)``. A case's channels and pixels count alike, and one case is
read at a time, so that volumes need no second copy in memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy.typing import NDArray

from vagan.errors import CohortError, ModelError

CaseMaps = Shaped[np.ndarray, "case channel *space"]
CaseMasks = Bool[np.ndarray, "case channel *space"]
CaseScores = Float[np.ndarray, " case"]
Pixels = Float[np.ndarray, "*pixels"]
"""Of one case."""
Region = Bool[np.ndarray, "*pixels"]
Array = NDArray[np.float32]
Values = NDArray[np.float64]
Entry = dict[str, Any]
"""``{"mean", "std", "ci95": [low, high], "n"}``, as in ``summary.json``."""

Need = Literal[
    "raw maps", "maps", "effects", "known effects", "exact effects", "brain masks", "threshold", "parts",
    "region masks", "ensemble std", "errors", "severity", "baseline mean abs", "baseline subjects",
    "baseline sizes", "baseline contrasts", "residual mean abs", "subjects", "image contrasts",
    "prediction", "prediction without effect", "reference features",
]  # fmt: skip
"""What a function may require, in the order of its arguments. ``maps`` are read by their method's convention, see
`vagan.evaluation.metrics.agreement.apply_convention`; ``raw maps`` are as the method made them. ``effects`` may
be observed ones with noise; ``known effects`` are exact about where the class acts, but may be masks; ``exact
effects`` are image minus counterfactual there."""

TRUTH: frozenset[Need] = frozenset({"effects", "known effects", "exact effects", "errors"})
"""Needs that only known effects can meet."""

TRUTH_FRACTION = 0.1
"""Of an effect's largest size: less is not counted as effect. Of simulated atrophy a tenth keeps 95 % of the squared
effect in 2 % of the voxels; the effect is not zero in 14 % of them."""


@dataclass(frozen=True)
class Metric:
    """All there is to know about a metric: how it is computed, what for, and how it is read."""

    function: Callable[..., Any]
    """Gets what ``needs`` says, as arguments in that order. Its name is the metric's, the first line of its docstring
    tells readers of tables what it means."""
    label: str
    """In tables and figures."""
    needs: tuple[Need, ...]
    """A metric is computed where all of this is available."""
    direction: Literal["higher", "lower", "neither"] = "higher"
    """Which values are good."""
    best: float | None = None
    """Score of the exact effect, where it is known in advance."""
    over: Literal["cases", "cohort"] = "cases"
    """What the function returns: a value for each of the ``cases`` (NaN where undefined), or one `Entry` for the
    whole ``cohort`` (None where undefined)."""
    by_part: bool = False
    """Whether it returns a mapping from the names of parts to these; the metric is then called ``name/part``."""
    decimals: int = 2
    """In tables."""

    @property
    def name(self) -> str:
        """In ``scores.csv``, ``summary.json`` and ``table.md``."""
        return str(self.function.__name__)

    @property
    def explanation(self) -> str:
        """What it means, and which values are good."""
        meaning = (self.function.__doc__ or "").splitlines()[0].rstrip(".")
        return meaning if self.direction == "neither" else f"{meaning}; {self.direction} is better"

    @property
    def needs_truth(self) -> bool:
        """Whether it needs known effects; other metrics cannot tell which map is right."""
        return bool(TRUTH & set(self.needs))


class MetricScores(NamedTuple):
    """What metrics made of the maps of one method."""

    cases: dict[str, Values]
    """By metric, one value for each case; NaN where undefined."""
    cohort: dict[str, Entry]
    """By metric, one entry for all cases together."""


def score(metrics: Iterable[Metric], available: Mapping[Need, Any]) -> MetricScores:
    """Compute every metric whose needs are met."""
    scores = MetricScores({}, {})
    for metric in metrics:
        if not available.keys() >= set(metric.needs):
            continue
        found = metric.function(*(available[need] for need in metric.needs))
        parts = {f"/{part}": one for part, one in found.items()} if metric.by_part else {"": found}
        of_kind: dict[str, Any] = scores.cases if metric.over == "cases" else scores.cohort
        of_kind.update({f"{metric.name}{part}": one for part, one in parts.items() if one is not None})
    return scores


def per_case(*, needs_effect: bool = False) -> Callable[[Callable[..., float]], Callable[..., CaseScores]]:
    """Make a metric ``(maps, effects, ...)`` of a function of one case's map and effect, ``(channel, *space)``.

    What else the metric needs is the same for all cases. It raises `ModelError` if a map is not finite, and
    `CohortError` if an effect is not, or is zero everywhere although the metric needs one (``needs_effect``).
    """

    def decorate(function: Callable[..., float]) -> Callable[..., CaseScores]:
        def metric(maps: CaseMaps, effects: CaseMaps, *more: Any, **named: Any) -> CaseScores:
            if maps.shape != effects.shape:
                found = f"{maps.shape} and {effects.shape}"
                raise ValueError(f"maps and effects must have one shape, found {found}; resample to one grid first")
            pairs = zip(each_map(maps), _each_effect(effects, needs_effect), strict=True)
            return np.array([function(map_, effect, *more, **named) for map_, effect in pairs], dtype=np.float64)

        # but for the signature, which is its own
        update_wrapper(metric, function, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
        del metric.__wrapped__  # type: ignore[attr-defined]
        return metric

    return decorate


def each_map(maps: CaseMaps) -> Iterator[Values]:
    """The map of each case, of at least one pixel; `ModelError` if one is not finite."""
    if maps.ndim < 3 or not maps.size:
        raise ValueError(f"maps must be (case, channel, *space) and hold at least one pixel, got shape {maps.shape}")
    for case, pixels in enumerate(maps):
        if not np.isfinite(pixels).all():
            raise ModelError(
                f"maps must be finite: the map of case {case} holds NaN or infinity; "
                "check the image, then whether the training diverged"
            )
        yield pixels.astype(np.float64)


def _each_effect(effects: CaseMaps, needs_effect: bool) -> Iterator[Values]:
    for case, pixels in enumerate(effects):
        if not np.isfinite(pixels).all():
            raise CohortError(f"effects must be finite: that of case {case} is not; make the cohort again")
        if needs_effect and not pixels.any():
            raise CohortError(
                f"this metric needs an effect that is not zero everywhere: that of case {case} is; "
                "score only images of a class of interest"
            )
        yield pixels.astype(np.float64)


def truth_mask(effects: CaseMaps) -> CaseMasks:
    """Where each case has an effect: at least `TRUTH_FRACTION` of its own largest; nowhere if that is zero.

    Every metric that needs to know *where* the effect is uses this. Of masks it is where they are not zero. A
    deformation's effect is almost nowhere zero, but mostly negligible.
    """
    masks = [truth_of(effect) for effect in _each_effect(effects, needs_effect=False)]
    return np.stack(masks) if masks else np.zeros(effects.shape, bool)


def truth_of(effect: Pixels) -> Region:
    """`truth_mask` of one case."""
    size = np.abs(effect)
    return (size >= TRUTH_FRACTION * size.max()) & (size > 0)
