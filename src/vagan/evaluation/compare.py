"""Score the models of run folders, and the controls, beside each other."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vagan.attribution.integrated import IntegratedGradients
from vagan.attribution.method import AttributionMethod
from vagan.attribution.registry import METHODS, find_method, unit_of
from vagan.axes import class_column, concatenate_batches
from vagan.data.cohort import Cohort
from vagan.errors import CohortError, ConfigError, OutputError
from vagan.evaluation.contenders import controls_of, interest_of, load_models, methods_of, require_models_for
from vagan.evaluation.evaluate import EXAMPLES, evaluate, images_to_score
from vagan.evaluation.results import TABLE, write_results
from vagan.training.accuracy import accuracy_figures, reliability
from vagan.training.device import find_device
from vagan.training.run_folder import RunFolder
from vagan.types import Images

BATCH = 50


def compare_runs(
    cohort: Cohort,
    runs: Sequence[Path],
    out: Path,
    *,
    methods: Sequence[str] | None = None,
    limit: int | None = None,
    subset: int = 20,
    regions: Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]] | None = None,
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
    limit
        Score this many random test images of each class.
    subset
        Methods that need many passes through a network for a map are scored on this many random test images of the
        class of interest, the same for all of them and the first of the others', and on a quarter as many of the
        baseline class.
    regions, examples
        See `evaluate`.
    seed
        Decides the subset and the examples.
    device
        See `vagan.training.device.find_device`.

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
    models = load_models(runs, cohort, place)
    require_models_for(methods or (), models)
    interest = interest_of([model.facts for model in models], cohort)
    if not all(len(cohort.manifest.indices("test", label)) for label in (0, interest)):
        raise CohortError(f"scores need test images of both classes, {cohort.path} has not; split it again")
    compared, expensive = methods_of(models, wanted)
    compared |= {method.name: method for method in controls_of(cohort, wanted, interest, seed)}
    evaluation = evaluate(
        compared,
        cohort,
        interest=interest,
        limit=limit,
        limits=dict.fromkeys(expensive, subset),
        regions=regions,
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
    scored = [images_to_score(cohort, "test", label, limit, seed) for label in (0, interest)]
    classifiers = {
        model.run.name: _test_accuracy(model.network, cohort, scored, place)
        for model in models
        if model.facts.kind != "map-generator"
    }
    folders = [RunFolder(model.run) for model in models]
    units = {name: unit_of(method) for name, method in compared.items()}
    write_results(out, evaluation, cohort, folders, rules=rules, classifiers=classifiers, units=units)
    return (out / TABLE).read_text(encoding="utf-8")


def _completeness(compared: Mapping[str, AttributionMethod], images: Images) -> dict[str, str]:
    """What the attributions of an image miss of its logit's rise over the baseline (Sundararajan et al. 2017)."""
    found = {
        n: m.completeness_error(images).mean() for n, m in compared.items() if isinstance(m, IntegratedGradients)
    }
    text = "; ".join(f"{name}: {error:.2g} in logits" for name, error in found.items())
    return {"completeness error": text} if found else {}


def _test_accuracy(
    network: nn.Module, cohort: Cohort, found: Sequence[NDArray[np.int64]], place: torch.device
) -> dict[str, Any]:
    """Accuracy and reliability on images of the baseline class and of the class of interest."""
    rows, labels = np.concatenate(found), np.repeat(np.arange(2), [len(part) for part in found])
    with torch.no_grad():
        logits = concatenate_batches(*(network(part.to(place)) for part in cohort.images(rows).split(BATCH)))
    probabilities = class_column(logits.softmax(dim=-1), 1).cpu().numpy().astype(np.float64)
    return {**accuracy_figures(probabilities, labels), "reliability": reliability(probabilities, labels)}
