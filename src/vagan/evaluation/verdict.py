"""What scores without known effects say in words: whether maps are better than the controls."""

import math
from collections.abc import Mapping
from typing import Any

from vagan.attribution.controls import GroupMeanDifference
from vagan.conventions import MANY_EMPTY
from vagan.evaluation.evaluation import Scores
from vagan.evaluation.metrics.counterfactual import REAL_BASELINE
from vagan.evaluation.metrics.registry import find_metric

CONTROL = GroupMeanDifference.name
COMPARED = ("flip_rate", "kernel_distance")


def verdict(summary: Mapping[str, Scores], references: Mapping[str, Scores], baseline: str) -> list[str]:
    """A few sentences for each method that independent classifiers scored beside the group mean difference.

    A method is better by a score if the 95 % intervals of both do not overlap.

    Parameters
    ----------
    summary, references
        See `vagan.evaluation.evaluation.Evaluation`.
    baseline
        Name of the baseline class.
    """
    control, real = summary.get(CONTROL, {}), references.get(REAL_BASELINE, {})
    compared = [metric for metric in control if metric.partition("/")[0] in COMPARED]
    sentences = []
    for name, scores in summary.items():
        if name == CONTROL or not compared or not scores.keys() >= set(compared):
            continue
        not_by = [m for m in compared if not _is_better(m, scores[m], control[m])]
        judged = (
            "better than" if not not_by else "no better than" if not_by == compared else "not clearly better than"
        )
        labels = ", ".join(find_metric(metric).label.lower() for metric in not_by)
        sentences.append(
            f"{name}: {judged} the {CONTROL}{f' (not by {labels})' if judged.startswith('not ') else ''}."
        )
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
