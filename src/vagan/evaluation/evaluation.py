"""The result of an evaluation: scores, their summary as tables and in words, and example images."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vagan.attribution.controls import GroupMeanDifference
from vagan.constants import MANY_EMPTY
from vagan.evaluation.metrics.base import Array
from vagan.evaluation.metrics.counterfactual import REAL_BASELINE
from vagan.evaluation.metrics.registry import find_metric
from vagan.evaluation.statistics import Summary
from vagan.inference.strategies import ClassDecision

HEADLINE = "ncc"
"""Metric that orders the methods and is named first, wherever it was computed."""
CEILING_LABEL = "exact effect (ceiling)"
MISSING = "n/a"

TRUE_EFFECT, KNOWN_EFFECT, OBSERVED_EFFECT = "true effect", "known effect", "observed effect"
"""What figures call effects: exact ones, those that a cohort was given, and changes between two scans."""
RANDOM = "random"
RANDOM_RULE = "the first test images of the class of interest in a random order that does not depend on any score"

SHOWN = {HEADLINE: "NCC", "recall/off-centre": "off-centre recall", "baseline_response_ratio": "M(x0)/M(x1)"}
"""Metrics that tell the methods apart best, and what the terminal calls them."""
TEXT_WIDTH = 100
CONTROL = GroupMeanDifference.name
COMPARED = ("flip_rate", "kernel_distance")

MethodSummary = Mapping[str, Mapping[str, Any]]
"""``{metric: {"mean", "std", "ci95": [low, high], "n"}}``."""
ScoreTable = Mapping[str, MethodSummary]


def markdown_lines(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table of cells, whose first line is the head."""
    head, *rows = lines
    marked = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in marked)


def markdown_table(
    summary: ScoreTable, *, ceiling: MethodSummary | None = None, references: ScoreTable | None = None
) -> str:
    """A Markdown table with a row for each method, best first, of cells ``mean ± std [low, high]``.

    ``summary`` is that of `vagan.evaluation.statistics.summarise`; methods without a headline score come last. The
    last rows are the ``ceiling``, scores of the exact effect, which no method can be asked to exceed, and the
    ``references``, scores of real images.
    """

    def rank(scores: MethodSummary) -> float:
        mean = scores[HEADLINE]["mean"] if HEADLINE in scores else None
        return -mean if _known(mean) else math.inf

    metrics = list(dict.fromkeys(metric for scores in summary.values() for metric in scores))
    rows = sorted(summary.items(), key=lambda row: rank(row[1]))
    if ceiling:
        rows.append((CEILING_LABEL, ceiling))
    rows += (references or {}).items()
    cells = [
        [name, *(score_text(scores.get(metric), find_metric(metric).decimals) for metric in metrics)]
        for name, scores in rows
    ]
    return markdown_lines([["method", *metrics], *cells])


def score_text(score: Mapping[str, Any] | None, digits: int) -> str:
    """``0.934 ± 0.036 [0.920, 0.945]``; what is unknown is left out, and all of it is ``n/a``."""
    if score is None or not _known(score["mean"]):
        return MISSING
    values = (score["mean"], score["std"], *score["ci95"])
    # z: no minus before a rounded zero
    mean, std, low, high = (f"{value:z.{digits}f}" if _known(value) else "" for value in values)
    return mean + (f" ± {std}" if std else "") + (f" [{low}, {high}]" if low and high else "")


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and not math.isnan(value)


@dataclass(frozen=True)
class Examples:
    """A few test images of the class of interest with the maps of all methods that were scored on as many."""

    ids: tuple[str, ...]
    """One for each image."""
    images: Array
    """``(n, channel, *space)``, intensities in [-1, 1]."""
    effects: Array | None
    """Known or observed effects of the same shape: positive where the class made the image brighter."""
    maps: Mapping[str, Array]
    """Effect maps of the same shape and sign, for each method."""
    roles: tuple[str, ...] = ()
    """Why each is shown: ``random``, or what it is the extreme of. Empty: all are random."""
    affine: NDArray[np.float64] | None = None
    """Of volumes: voxels to mm, if known."""
    rule: str = RANDOM_RULE
    """How they were chosen."""
    effects_name: str = KNOWN_EFFECT
    """What figures call the effects; see `vagan.evaluation.ground_truth.GroundTruth`."""

    def random(self) -> "Examples":
        """Those alone that were not chosen by their scores."""
        rows = [row for row, role in enumerate(self.roles) if RANDOM in role]
        if not rows:
            return self
        return replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            images=self.images[rows],
            effects=None if self.effects is None else self.effects[rows],
            maps={name: maps[rows] for name, maps in self.maps.items()},
            roles=(),
        )


@dataclass(frozen=True)
class Evaluation:
    """Score rows, what follows from them, and examples to look at."""

    rows: pd.DataFrame
    """Columns case, subject, label, method, metric, value; the exact effect as the method ``ceiling``."""
    summary: Summary
    """By method and metric; see `vagan.evaluation.statistics.summarise`."""
    ceiling: MethodSummary
    """The same of the exact effect, by metric; empty where it is not known."""
    examples: Examples
    references: ScoreTable = field(default_factory=dict)
    """The same of real images, by what they are of; see `vagan.evaluation.metrics.counterfactual`."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """For each method the ``|map|`` above which a pixel counts as marked."""
    map_seconds: Mapping[str, float] = field(default_factory=dict)
    """For each method the mean time of one map."""
    conventions: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    """How the maps of each method are read, and what their values mean."""
    decisions: Mapping[str, Sequence[ClassDecision]] = field(default_factory=dict)
    """For each method with a class gate its decisions, of the baseline images and then of the cases."""
    rules: Mapping[str, Any] = field(default_factory=dict)
    """What a reader must know of how it was measured."""

    def to_frame(self) -> pd.DataFrame:
        """Mean of every metric, a row for each method, the best first, and the ceiling last."""
        means = {name: _means(scores) for name, scores in self.summary.items()}
        table = pd.DataFrame.from_dict(means, orient="index")
        if HEADLINE in table:
            table = table.sort_values(HEADLINE, ascending=False, kind="stable")
        if self.ceiling:
            table.loc[CEILING_LABEL] = pd.Series(_means(self.ceiling))
        return table.rename_axis("method")

    def to_text(self, first: Collection[str] = ()) -> str:
        """The scores that tell the methods apart, in a hundred columns of text; files and report have all.

        The best method comes first, but those of these names, if any, come before all others.
        """
        table = self.to_frame().rename_axis(None)
        table = table.loc[sorted(table.index, key=lambda name: name not in first)]  # stable
        shown = [name for name in SHOWN if name in table] if HEADLINE in table else list(map(str, table))
        scores: ScoreTable = {**self.summary, CEILING_LABEL: self.ceiling}
        headline = [scores[name].get(shown[0]) for name in table.index]
        bounds = [score["ci95"] if score else (None, None) for score in headline]
        table = table[shown].rename(columns=SHOWN)
        table.insert(1, "95 % interval", ["-" if low is None else f"{low:.3f} to {high:.3f}" for low, high in bounds])
        text = table.to_string(float_format="%.3f", na_rep="-")
        while len(text.split("\n")[0]) > TEXT_WIDTH and table.shape[1] > 2:
            table = table.iloc[:, :-1]
            text = table.to_string(float_format="%.3f", na_rep="-")
        return text

    def to_markdown(self) -> str:
        """Mean, deviation and interval of every metric, the best method first."""
        return markdown_table(self.summary, ceiling=self.ceiling, references=self.references)

    def __repr__(self) -> str:
        table = self.to_frame()
        head = f"Evaluation of {len(self.summary)} methods by {len(table.columns)} metrics"
        return f"{head}\n{table.to_string(float_format='%.3f')}"

    def _repr_html_(self) -> str:
        """For notebooks."""
        return str(self.to_frame().to_html(float_format="{:.3f}".format))


def _means(scores: MethodSummary) -> dict[str, float]:
    return {metric: score["mean"] for metric, score in scores.items()}


def verdict(summary: ScoreTable, references: ScoreTable, baseline: str) -> list[str]:
    """A few sentences for each method that independent classifiers scored beside the group mean difference.

    A method is better by a score if the 95 % intervals of both do not overlap. ``summary`` and ``references`` are
    those of an `Evaluation`, ``baseline`` is the name of the baseline class.
    """
    control, real = summary.get(CONTROL, {}), references.get(REAL_BASELINE, {})
    compared = [metric for metric in control if metric.partition("/")[0] in COMPARED]
    sentences = []
    for name, scores in summary.items():
        if name == CONTROL or not compared or not scores.keys() >= set(compared):
            continue
        not_by = [m for m in compared if not _is_better(m, scores[m], control[m])]
        judged = "better" if not not_by else "no better" if not_by == compared else "not clearly better"
        labels = ", ".join(find_metric(metric).label.lower() for metric in not_by)
        but = f" (not by {labels})" if judged == "not clearly better" else ""
        sentences.append(f"{name}: {judged} than the {CONTROL}{but}.")
        if all("flip_rate" in each for each in (scores, control, real)):
            effect, control_effect, of_real = (each["flip_rate"]["mean"] for each in (scores, control, real))
            sentences.append(
                f"With the effect removed {effect:.0%} of the images are classified as {baseline}, with the "
                f"{CONTROL} removed {control_effect:.0%}, of real images of {baseline} {of_real:.0%}."
            )
        if (empty := scores.get("empty_map", {}).get("mean", 0.0)) > MANY_EMPTY:
            sentences.append(f"{empty:.0%} of the maps are no larger than those of baseline images.")
    return sentences


def _is_better(metric: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    (low, high), (other_low, other_high) = one["ci95"], other["ci95"]
    if not all(map(math.isfinite, (low, high, other_low, other_high))):
        return False
    return bool(high < other_low) if find_metric(metric).direction == "lower" else bool(low > other_high)
