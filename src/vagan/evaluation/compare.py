"""Score the models of run folders, and the controls, beside each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vagan.attribution.integrated import IntegratedGradients
from vagan.attribution.method import AttributionMethod
from vagan.attribution.registry import METHODS, find_method
from vagan.axes import class_column, concatenate_batches
from vagan.data.cohort import Cohort
from vagan.errors import CohortError, ConfigError, OutputError
from vagan.evaluation.evaluate import EXAMPLES, evaluate, images_to_score
from vagan.evaluation.metrics.counterfactual import Judge
from vagan.evaluation.metrics.regions import Parts
from vagan.evaluation.results import TABLE, write_results
from vagan.evaluation.runs import (
    controls_of,
    decided_of,
    ensemble_of,
    interest_of,
    load_judge,
    load_models,
    methods_of,
    require_models_for,
)
from vagan.inference.attributor import Attributor
from vagan.inference.class_gate import Interval
from vagan.training.accuracy import accuracy_figures, reliability
from vagan.training.engine.device import find_device
from vagan.training.engine.run_folder import RunFolder
from vagan.types import Images

BATCH = 50


def compare_runs(
    cohort: Cohort,
    runs: Sequence[Path],
    out: Path,
    *,
    methods: Sequence[str] | None = None,
    interest: str = "",
    limit: int | None = None,
    subset: int = 20,
    regions: Parts | None = None,
    severity: str | None = None,
    judge: Path | None = None,
    labels: Interval | None = None,
    ensemble: bool = False,
    examples: int = EXAMPLES,
    seed: int = 0,
    device: str = "auto",
) -> str:
    """Evaluate every method that the runs' models allow and write a results folder.

    Parameters
    ----------
    cohort
        Its test images are scored.
    runs
        Trained models. The same method of several runs gets the run's name behind its own.
    out
        Results folder.
    methods
        Names in `vagan.attribution.registry.METHODS`; default: all that have what they need.
    interest
        Class of interest; needed where a model knows several.
    limit
        Score this many random test images of each class.
    subset
        Methods that need many passes through a network for a map are scored on this many random test images of the
        class of interest, the same for all of them and the first of the others', and on a quarter as many of the
        baseline class.
    regions, severity, examples
        See `evaluate`.
    judge
        Run of a classifier that is not among the runs; see `vagan.evaluation.metrics.counterfactual`.
    labels
        Score map generators also with the class that a classifier decides, undecided between these probabilities; see
        `vagan.inference.class_gate`.
    ensemble
        Score the mean of the map generators of all runs too, and whether their spread tells its error.
    seed
        Decides the subset and the examples.
    device
        See `vagan.training.engine.device.find_device`.

    Returns
    -------
    str
        The score table, in Markdown.

    Raises
    ------
    ConfigError
        For an unknown method, or one that no run's model allows.
    ModelError
        If a run was trained on images of another kind than the cohort's.
    """
    wanted = list(methods or METHODS)
    for name in wanted:
        find_method(name)
    if subset < 1:
        raise ConfigError(f"the subset for expensive methods must be at least 1 image, found {subset}")
    if out.exists() and not out.is_dir():
        raise OutputError(f"the results folder must be a folder: {out} is a file; choose another name")
    place = find_device(device)
    models = load_models(runs, cohort, place, interest)
    require_models_for(methods or (), models)
    label = interest_of([model.facts for model in models], cohort)
    if not all(len(cohort.manifest.indices("test", part)) for part in (0, label)):
        raise CohortError(f"scores need test images of both classes, {cohort.path} has not; split it again")
    judging = None if judge is None else load_judge(judge, models, cohort, place, interest)
    compared: dict[str, Attributor | AttributionMethod] = {}
    made, expensive = methods_of(models, wanted)
    compared |= made
    if ensemble:
        together = ensemble_of(models)
        compared[together.name] = together
    decided = {} if labels is None else decided_of(models, labels, place)
    compared |= {method.name: method for method in decided.values()}
    compared |= {method.name: method for method in controls_of(cohort, wanted, label, seed)}
    evaluation = evaluate(
        compared,
        cohort,
        interest=label,
        limit=limit,
        limits=dict.fromkeys(expensive, subset),
        regions=regions,
        severity=severity,
        judge=judging,
        examples=examples,
        seed=seed,
        device=place,
    )
    rules = {
        "selection": "; ".join(sorted({model.facts.rule for model in models})),
        "conventions": {name: method.convention for name, method in compared.items()},
        "images": f"{'all' if limit is None else limit} test images of each class; a random subset of {subset}, the "
        f"same for all, for methods that need many passes for a map ({', '.join(expensive) or 'none here'})",
        **_completeness(compared, torch.from_numpy(evaluation.examples.images).to(place)),
    }
    scored = [images_to_score(cohort, "test", part, limit, seed) for part in (0, label)]
    if judging is not None and judge is not None:
        rules["judge"] = _about_judge(judging, judge.name, *scored)
    classifiers = {
        model.run.name: _test_accuracy(model.network, cohort, scored, place)
        for model in models
        if model.facts.kind != "map-generator"
    }
    for run, method in decided.items():
        classifiers[f"{run}, labels"], undecided = _test_labels(method, cohort, scored, place)
        about = classifiers[f"{run}, labels"]
        rules[f"labels of {run}"] = (
            f"right in {about['accuracy']:.1%} of test images, calibration error {about['calibration_error']:.3f}; "
            f"{undecided:.1%} undecided, which are shown as of the class of interest; of the baseline class: no map"
        )
    folders = [RunFolder(model.run) for model in models]
    units = {name: method.unit for name, method in compared.items()}
    write_results(out, evaluation, cohort, folders, rules=rules, classifiers=classifiers, units=units)
    return (out / TABLE).read_text(encoding="utf-8")


def _about_judge(judge: Judge, name: str, baseline: NDArray[np.int64], diseased: NDArray[np.int64]) -> str:
    """Who judged, and between what its distances lie."""
    healthy, ill = judge.opinion(baseline), judge.opinion(diseased)
    right = np.concatenate([healthy.probabilities <= 0.5, ill.probabilities > 0.5]).mean()
    near, far = (judge.distance(opinion.features, np.arange(len(opinion.features))) for opinion in (healthy, ill))
    return (
        f"{name}, seen by none of the methods, right in {right:.1%} of the images as they are; kernel distance from "
        f"validation images of the baseline class: {far['mean']:.3g} of images of the class of interest, "
        f"{near['mean']:.3g} of test images of the baseline class"
    )


def _completeness(compared: Mapping[str, AttributionMethod | Attributor], images: Images) -> dict[str, str]:
    """What the attributions of an image miss of its logit's rise over the baseline (Sundararajan et al. 2017)."""
    methods = {n: m.methods[0] for n, m in compared.items() if isinstance(m, Attributor)}
    found = {n: m.completeness_error(images).mean() for n, m in methods.items() if isinstance(m, IntegratedGradients)}
    text = "; ".join(f"{name}: {error:.2g} in logits" for name, error in found.items())
    return {"completeness error": text} if found else {}


def _test_labels(
    method: Attributor, cohort: Cohort, found: Sequence[NDArray[np.int64]], place: torch.device
) -> tuple[dict[str, Any], float]:
    """How well images of the baseline class and of the class of interest are told apart, and the share undecided."""
    rows, labels = np.concatenate(found), np.repeat(np.arange(2), [len(part) for part in found])
    gate, interval = method.gate, method.reject_interval
    assert gate is not None
    decisions = [one for part in cohort.images(rows).split(BATCH) for one in gate.decide(part.to(place), interval)]
    probabilities = np.array([1 - one.probabilities[0] for one in decisions])
    about = {**accuracy_figures(probabilities, labels), "reliability": reliability(probabilities, labels)}
    return about, float(np.mean([one.abstained for one in decisions]))


def _test_accuracy(
    network: nn.Module, cohort: Cohort, found: Sequence[NDArray[np.int64]], place: torch.device
) -> dict[str, Any]:
    """Accuracy and reliability on images of the baseline class and of the class of interest."""
    rows, labels = np.concatenate(found), np.repeat(np.arange(2), [len(part) for part in found])
    with torch.no_grad():
        logits = concatenate_batches(*(network(part.to(place)) for part in cohort.images(rows).split(BATCH)))
    probabilities = class_column(logits.softmax(dim=-1), 1).cpu().numpy().astype(np.float64)
    return {**accuracy_figures(probabilities, labels), "reliability": reliability(probabilities, labels)}
