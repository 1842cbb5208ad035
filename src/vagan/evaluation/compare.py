"""Score the models of run folders, and the controls, beside each other."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vagan.attribution.integrated import IntegratedGradients
from vagan.attribution.method import AttributionMethod
from vagan.attribution.registry import METHODS, find_method
from vagan.axes import class_column, concatenate_batches
from vagan.data.cohort import Cohort
from vagan.errors import CohortError, ConfigError, LeakageError, ModelError, OutputError
from vagan.evaluation.evaluate import evaluate, images_to_score
from vagan.evaluation.results import TABLE, write_results
from vagan.model_folder import ModelFacts, load_model
from vagan.seeding import numpy_generator
from vagan.training.accuracy import accuracy_figures, reliability
from vagan.training.device import find_device
from vagan.training.run_folder import RunFolder
from vagan.types import Images

BATCH = 50
MEAN_IMAGES = 1000


def compare_runs(
    cohort: Cohort,
    runs: Sequence[Path],
    out: Path,
    *,
    methods: Sequence[str] | None = None,
    limit: int | None = None,
    subset: int = 20,
    regions: Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]] | None = None,
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
    regions
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
    models = _load(runs, cohort, place)
    _require_models_for(methods or (), models)
    interest = _interest([model.facts for model in models], cohort)
    if not all(len(cohort.manifest.indices("test", label)) for label in (0, interest)):
        raise CohortError(f"scores need test images of both classes, {cohort.path} has not; split it again")
    compared, expensive = _methods_of(models, wanted)
    compared |= {method.name: method for method in _controls(cohort, wanted, interest, seed)}
    evaluation = evaluate(
        compared,
        cohort,
        interest=interest,
        limit=limit,
        limits=dict.fromkeys(expensive, subset),
        regions=regions,
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
    write_results(out, evaluation, cohort, folders, rules=rules, classifiers=classifiers)
    return (out / TABLE).read_text(encoding="utf-8")


class _Model(NamedTuple):
    run: Path
    network: nn.Module
    facts: ModelFacts


def _load(runs: Sequence[Path], cohort: Cohort, place: torch.device) -> list[_Model]:
    """Models of all runs, which must be able to take the cohort's images and must not have seen the test ones."""
    runs = [run.resolve() for run in runs]
    twice = next((run.name for run in runs if [other.name for other in runs].count(run.name) > 1), None)
    if twice is not None:
        raise ConfigError(f"tables call runs by their folders' names, but {twice!r} occurs twice; rename one")
    models = [_Model(run, *load_model(run)) for run in runs]
    for model in models:
        model.network.to(place)
        _require_same_kind(model.run, model.facts, cohort)
        _require_unseen(model.run, cohort)
    return models


def _require_models_for(methods: Sequence[str], models: Sequence[_Model]) -> None:
    there = {model.facts.kind for model in models} | {"nothing", "training images"}
    for name in methods:
        if METHODS[name].needs not in there:
            raise ConfigError(f"{name} needs the run of a {METHODS[name].needs}, which is not among the runs")


def _methods_of(models: Sequence[_Model], wanted: Iterable[str]) -> tuple[dict[str, AttributionMethod], list[str]]:
    """Methods of all models by their names in the tables, and which of them are expensive."""
    compared: dict[str, AttributionMethod] = {}
    expensive = []
    for run, network, facts in models:
        alone = sum(other.facts.kind == facts.kind for other in models) == 1
        for entry in (METHODS[name] for name in wanted if METHODS[name].needs == facts.kind):
            method = entry.of(network, facts)
            name = method.name if alone else f"{method.name} ({run.name})"
            compared[name] = method
            expensive += [name] if entry.passes > 1 else []
    return compared, expensive


def _completeness(compared: Mapping[str, AttributionMethod], images: Images) -> dict[str, str]:
    """What the attributions of an image miss of its logit's rise over the baseline (Sundararajan et al. 2017)."""
    found = {
        n: m.completeness_error(images).mean() for n, m in compared.items() if isinstance(m, IntegratedGradients)
    }
    text = "; ".join(f"{name}: {error:.2g} in logits" for name, error in found.items())
    return {"completeness error": text} if found else {}


def _interest(models: Sequence[ModelFacts], cohort: Cohort) -> int:
    """Label, in this cohort, of the class that all models are about."""
    classes = cohort.manifest.classes
    pairs = sorted({facts.classes for facts in models})
    if len(pairs) > 1:
        raise ConfigError(
            "runs that are compared must be about the same classes: found "
            + " and ".join(f"{interest} against {baseline}" for baseline, interest in pairs[:2])
        )
    if len(classes) == 2:
        return 1  # whatever the classes are called here
    if not pairs or pairs[0][0] != classes[0] or pairs[0][1] not in classes:
        of_the_runs = f"the runs are about {' and '.join(pairs[0])}" if pairs else "there is no run to choose one"
        raise CohortError(
            f"{cohort.path} holds more than one class of interest ({', '.join(classes[1:])} beside {classes[0]}), "
            f"and {of_the_runs}; give runs that were trained on these classes"
        )
    return classes.index(pairs[0][1])


def _controls(cohort: Cohort, wanted: Iterable[str], interest: int, seed: int) -> list[AttributionMethod]:
    controls: list[AttributionMethod] = []
    for entry in (METHODS[name] for name in wanted):
        if entry.needs == "nothing":
            controls.append(entry.make())
        elif entry.needs == "training images":
            rows = [
                numpy_generator(seed, "mean", label).permutation(cohort.manifest.indices("train", label))
                for label in (0, interest)
            ]
            controls.append(entry.make(*(cohort.images(found[:MEAN_IMAGES]) for found in rows)))
    return controls


def _test_accuracy(
    network: nn.Module, cohort: Cohort, found: Sequence[NDArray[np.int64]], place: torch.device
) -> dict[str, Any]:
    """Accuracy and reliability on images of the baseline class and of the class of interest."""
    rows, labels = np.concatenate(found), np.repeat(np.arange(2), [len(part) for part in found])
    with torch.no_grad():
        logits = concatenate_batches(*(network(part.to(place)) for part in cohort.images(rows).split(BATCH)))
    probabilities = class_column(logits.softmax(dim=-1), 1).cpu().numpy().astype(np.float64)
    return {**accuracy_figures(probabilities, labels), "reliability": reliability(probabilities, labels)}


def _require_same_kind(run: Path, facts: ModelFacts, cohort: Cohort) -> None:
    if (facts.num_spatial_dims, facts.channels) != (len(cohort.shape), cohort.channels):
        raise ModelError(
            f"{run} was trained on {facts.num_spatial_dims}-D images of {facts.channels} channels, "
            f"{cohort.path} holds {len(cohort.shape)}-D images of {cohort.channels}; give a matching cohort"
        )


def _require_unseen(run: Path, cohort: Cohort) -> None:
    """Refuse to score a model on images of its own training."""
    record = RunFolder(run).cohort
    if not record.is_file():
        return  # a model folder on its own does not know
    about = json.loads(record.read_text(encoding="utf-8"))
    if about["hash"] != cohort.facts.content_hash:
        return  # other images, even where their names are the same
    table = cohort.manifest.table
    seen = sorted(set(table["id"][table["split"] == "test"]) & set(about["splits"].get("train", [])))
    if seen:
        raise LeakageError(
            f"test images must be new to the model, but {seen[0]!r} and {len(seen) - 1} more were in the training "
            f"of {run}; score it on the split that it was trained on"
        )
