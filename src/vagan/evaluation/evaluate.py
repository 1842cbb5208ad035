"""Score any number of methods on the same test images: one row for each case, method and metric."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from vagan.attribution.method import AttributionMethod
from vagan.data.cohort import Cohort
from vagan.errors import CohortError, ConfigError
from vagan.evaluation.examples import Examples, choose_examples
from vagan.evaluation.measures import Measures
from vagan.evaluation.metrics.agreement import apply_convention, energy
from vagan.evaluation.metrics.counterfactual import Judge
from vagan.evaluation.metrics.detection import otsu_threshold
from vagan.evaluation.metrics.regions import Array, Parts
from vagan.evaluation.statistics import ratio_interval, summarise
from vagan.evaluation.tables import score_cells
from vagan.evaluation.truth import Truth
from vagan.inference.attributor import Attributor
from vagan.notebook import table_html
from vagan.progress import Bar
from vagan.seeding import numpy_generator

CEILING = "ceiling"
BATCH = 25
THRESHOLD_IMAGES = 100
EXAMPLES = 4
"""Random ones; those at the ends and in the middle of the scores are shown besides."""

Summary = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Evaluation:
    """Tidy score rows, what follows from them, and examples to look at.

    Attributes
    ----------
    rows
        Columns case, subject, label, method, metric, value.
    summary
        See `vagan.evaluation.statistics.summarise`; method ``ceiling`` is the exact counterfactual.
    thresholds
        For each method the |map| above which a pixel counts as marked.
    map_seconds
        For each method the mean time of one map.
    """

    rows: pd.DataFrame
    summary: Summary
    thresholds: dict[str, float]
    map_seconds: dict[str, float]
    examples: Examples

    def _repr_html_(self) -> str:
        """What notebooks show: mean, deviation and interval of every score, the best method first."""
        methods = {name: scores for name, scores in self.summary.items() if name != CEILING}
        columns, *rows = score_cells(methods, ceiling=self.summary.get(CEILING))
        return table_html(columns, rows)


def evaluate(
    methods: Mapping[str, AttributionMethod | Attributor],
    cohort: Cohort,
    *,
    interest: int = 1,
    limit: int | None = None,
    limits: Mapping[str, int] | None = None,
    regions: Parts | None = None,
    severity: str | None = None,
    judge: Judge | None = None,
    examples: int = EXAMPLES,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Evaluation:
    """Score methods on the test images of a cohort.

    Without known effects only the energy of the maps is scored.

    Parameters
    ----------
    methods
        Name in the tables -> method.
    cohort
        Only its test images are scored; thresholds come from validation images, without truth.
    interest
        Label of the class of interest.
    limit
        Score a random subset of this many images of each class, the same for all methods.
    limits
        Smaller subsets for methods that take long, by name. Subsets are nested: the first images in one order.
    regions
        Splits true effects into named parts, which ``recall/<name>`` scores; see `part_recalls`. Default: the regions
        that the cohort knows, if any; of these ``regional/<name>`` is scored as well, see `regional_correlations`.
    severity
        Numeric column of the manifest. The score ``severity_correlation`` is its rank correlation with the size of
        the maps, over images of the class of interest.
    judge
        A classifier that none of the methods has seen. It scores the methods whose maps are in units of intensity
        (see `Judge.scores`), and ``kernel_distance`` is that of the images without the effect from baseline images.
    examples
        Keep this many random images with their maps, and the best, the median and the worst one.
    seed
        Decides the subset, the validation images and the examples.
    device
        Where the methods get their images; their networks must be there.

    Raises
    ------
    ConfigError
        If a limit is below 1, or the severity is no column of numbers.
    CohortError
        If there are no test or validation images of the class of interest.
    """
    for most in (limit, examples, *(limits or {}).values()):
        if most is not None and most < 1:
            raise ConfigError(f"at least 1 image of each class must be scored and shown, found a limit of {most}")
    tests = {label: images_to_score(cohort, "test", label, limit, seed) for label in (0, interest)}
    validation = images_to_score(cohort, "validation", interest, THRESHOLD_IMAGES, seed)
    truth = Truth(cohort, tests[interest], regions) if cohort.has_effects else None
    measures = Measures(cohort, tests[interest], truth=truth, severity=severity, judge=judge)
    most_of = {name: (limits or {}).get(name, max(map(len, tests.values()))) for name in methods}
    rows: list[pd.DataFrame] = []
    thresholds: dict[str, float] = {}
    seconds: dict[str, float] = {}
    kept: dict[str, Array] = {}
    more: Summary = {}
    total = sum(len(part[: most_of[name]]) for name in methods for part in (validation, *tests.values()))
    if truth is not None:  # the spread of an ensemble is a pass of its own
        total += sum(
            len(tests[interest][: most_of[n]])
            for n, m in methods.items()
            if isinstance(m, Attributor) and len(m.methods) > 1
        )
    with Bar(total, "scoring") as bar:
        maps_of = partial(_maps, cohort=cohort, device=device, bar=bar)
        for name, method in methods.items():
            baseline, diseased = tests[0][: most_of[name]], tests[interest][: most_of[name]]
            if len(diseased) < len(tests[interest]):  # an expensive method: most of its maps go into the scores
                baseline = baseline[: max(1, most_of[name] // 4)]
            marked = apply_convention(maps_of(method, validation[: len(baseline)]), method.convention)
            thresholds[name] = otsu_threshold(marked)
            begin = time.perf_counter()
            maps = maps_of(method, diseased)
            seconds[name] = (time.perf_counter() - begin) / len(maps)
            if len(maps) >= min(examples, len(tests[interest])):
                kept[name] = maps[:examples]
            scores, more[name] = measures.of(method, maps, thresholds[name], maps_of)
            rows += _rows(cohort, diseased, name, scores)
            rows += _rows(cohort, baseline, name, {"energy": energy(maps_of(method, baseline))})
    if truth is not None:
        rows += _rows(cohort, tests[interest], CEILING, truth.ceiling(validation))
    table = pd.concat(rows, ignore_index=True)
    summary = _summary(table, interest)
    for name, entries in more.items():
        summary[name] |= entries
    of_interest = table[table["label"] == interest]
    shown = _examples(
        methods, kept, of_interest, cohort=cohort, tests=tests[interest], random=examples, device=device
    )
    return Evaluation(table, summary, thresholds, seconds, shown)


def _examples(
    methods: Mapping[str, AttributionMethod | Attributor],
    kept: Mapping[str, Array],
    rows: pd.DataFrame,
    *,
    cohort: Cohort,
    tests: NDArray[np.int64],
    random: int,
    device: torch.device | str,
) -> Examples:
    """The chosen images; of the random ones the maps are there, of the others they are made again."""
    ids = cohort.manifest.table["id"]
    choice = choose_examples(rows[rows["method"] != CEILING], list(ids.iloc[tests]), random=random)
    extremes = [place for place in choice.positions if place >= random]
    maps = {}
    with Bar(len(extremes) * len(kept), "examples") as bar:
        for name, first in kept.items():
            made = dict(enumerate(first))
            if extremes:
                again = _maps(methods[name], tests[extremes], cohort=cohort, device=device, bar=bar)
                made |= dict(zip(extremes, again, strict=True))
            maps[name] = np.stack([made[place] for place in choice.positions])
    found = tests[choice.positions]
    return Examples(
        ids=[str(name) for name in ids.iloc[found]],
        images=cohort.images(found).numpy(),
        effects=cohort.effects(found).numpy() if cohort.has_effects else None,
        maps=maps,
        roles=choice.roles,
        rule=choice.rule,
    )


def images_to_score(cohort: Cohort, split: str, label: int, limit: int | None, seed: int) -> NDArray[np.int64]:
    """Random subset of a class's images in a split, in random order; the same for every method."""
    found = cohort.manifest.indices(split, label)
    if not len(found):
        raise CohortError(f"scores need {split} images of class {cohort.manifest.classes[label]!r}, found none")
    return numpy_generator(seed, f"{split} images to score", label).permutation(found)[:limit]


def _maps(
    method: AttributionMethod | Attributor,
    indices: NDArray[np.int64],
    *,
    cohort: Cohort,
    device: torch.device | str,
    bar: Bar,
) -> Array:
    parts = []
    for start in range(0, len(indices), BATCH):
        part = indices[start : start + BATCH]
        make = method.effect if isinstance(method, Attributor) else method.attribute
        parts.append(make(cohort.images(part).to(device), cohort.manifest.table.iloc[part]).cpu().numpy())
        bar.advance(by=len(part))
    return np.concatenate(parts)


def _rows(
    cohort: Cohort, indices: NDArray[np.int64], method: str, scores: dict[str, NDArray[np.float64]]
) -> list[pd.DataFrame]:
    """A row for each case and metric; none where a score is undefined (NaN)."""
    about = cohort.manifest.table.iloc[indices]
    return [
        pd.DataFrame(
            {
                "case": about["id"].to_numpy(),
                "subject": about["subject"].to_numpy(),
                "label": about["label"].to_numpy(),
                "method": method,
                "metric": metric,
                "value": values,
            }
        ).dropna(subset="value")
        for metric, values in scores.items()
    ]


def _summary(rows: pd.DataFrame, interest: int) -> Summary:
    """Means over images of the class of interest, and the energy on baseline images relative to it."""
    summary = summarise(rows[rows["label"] == interest])
    energies = rows[rows["metric"] == "energy"]
    for method, of_method in energies.groupby("method"):
        baseline = of_method[of_method["label"] == 0]
        diseased = of_method[of_method["label"] == interest]
        if len(baseline) and diseased["value"].mean() > 0:
            low, high = ratio_interval(
                baseline["value"],
                diseased["value"],
                numerator_groups=baseline["subject"],
                denominator_groups=diseased["subject"],
            )
            ratio = float(baseline["value"].mean() / diseased["value"].mean())
            summary[str(method)]["energy_ratio"] = {
                "mean": ratio,
                "std": None,
                "ci95": [low, high],
                "n": len(baseline),
            }
    return summary
