"""Score the models of run folders, and the controls, beside each other."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vagan.attribution.integrated import IntegratedGradients
from vagan.attribution.method import AttributionMethod
from vagan.attribution.registry import METHODS, Entry, find_method
from vagan.axes import class_column, concatenate_batches
from vagan.data.cohort import Cohort
from vagan.errors import CohortError, ConfigError, LeakageError, ModelError, OutputError
from vagan.evaluation.evaluate import evaluate
from vagan.evaluation.results import TABLE, write_results
from vagan.model_folder import ModelFacts, load_model
from vagan.seeding import numpy_generator
from vagan.training.accuracy import accuracy_figures, reliability
from vagan.training.device import find_device
from vagan.training.run_folder import RunFolder

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
    runs = [run.resolve() for run in runs]
    twice = next((run.name for run in runs if [other.name for other in runs].count(run.name) > 1), None)
    if twice is not None:
        raise ConfigError(f"tables call runs by their folders' names, but {twice!r} occurs twice; rename one")
    if subset < 1:
        raise ConfigError(f"the subset for expensive methods must be at least 1 image, found {subset}")
    if out.exists() and not out.is_dir():
        raise OutputError(f"the results folder must be a folder: {out} is a file; choose another name")
    place = find_device(device)
    loaded = [(run, *load_model(run)) for run in runs]
    kinds = {facts.kind for _, _, facts in loaded} | {"nothing", "training images"}
    missing = [name for name in methods or () if METHODS[name].needs not in kinds]
    if missing:
        raise ConfigError(f"{missing[0]} needs the run of a {METHODS[missing[0]].needs}, which is not among the runs")
    interest = _interest([facts for _, _, facts in loaded], cohort)
    if not all(len(cohort.manifest.indices("test", label)) for label in (0, interest)):
        raise CohortError(f"scores need test images of both classes, {cohort.path} has not; split it again")
    compared: dict[str, AttributionMethod] = {}
    limits: dict[str, int] = {}
    rules: set[str] = set()
    classifiers = {}
    for run, network, facts in loaded:
        network.to(place)
        _require_same_kind(run, facts, cohort)
        _require_unseen(run, cohort)
        rules.add(facts.rule)
        alone = sum(other.kind == facts.kind for _, _, other in loaded) == 1
        for entry, method in _methods_of(network, facts, wanted):
            name = method.name if alone else f"{method.name} ({run.name})"
            compared[name] = method
            if entry.passes > 1:
                limits[name] = subset
        if facts.kind != "map-generator":
            classifiers[run.name] = _test_accuracy(network, cohort, interest, place)
    compared |= {method.name: method for method in _controls(cohort, wanted, interest, seed)}
    evaluation = evaluate(
        compared, cohort, interest=interest, limit=limit, limits=limits, regions=regions, seed=seed, device=place
    )
    shown = torch.from_numpy(evaluation.examples.images).to(place)
    stated: dict[str, Any] = {
        "selection": "; ".join(sorted(rules)),
        "conventions": {name: method.convention for name, method in compared.items()},
        "images": f"{'all' if limit is None else limit} test images of each class; a random subset of {subset}, the "
        f"same for all, for methods that need many passes for a map{_in_brackets(list(limits))}",
    }
    # Sundararajan et al. 2017: what the attributions of an image miss of its logit's rise over the baseline image
    errors = {
        n: m.completeness_error(shown).mean() for n, m in compared.items() if isinstance(m, IntegratedGradients)
    }
    if errors:
        stated["completeness error"] = "; ".join(f"{name}: {error:.2g} in logits" for name, error in errors.items())
    write_results(out, evaluation, cohort, [RunFolder(run) for run in runs], rules=stated, classifiers=classifiers)
    return (out / TABLE).read_text()


def _in_brackets(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def _methods_of(
    network: torch.nn.Module, facts: ModelFacts, wanted: Iterable[str]
) -> list[tuple[Entry, AttributionMethod]]:
    entries = [METHODS[name] for name in wanted if METHODS[name].needs == facts.kind]
    return [(entry, entry.of(network, facts)) for entry in entries]


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


def _test_accuracy(network: torch.nn.Module, cohort: Cohort, interest: int, place: torch.device) -> dict[str, Any]:
    found = [cohort.manifest.indices("test", label) for label in (0, interest)]
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
    about = json.loads(record.read_text())
    if about["hash"] != cohort.facts.content_hash:
        return  # other images, even where their names are the same
    table = cohort.manifest.table
    seen = sorted(set(table["id"][table["split"] == "test"]) & set(about["splits"].get("train", [])))
    if seen:
        raise LeakageError(
            f"test images must be new to the model, but {seen[0]!r} and {len(seen) - 1} more were in the training "
            f"of {run}; score it on the split that it was trained on"
        )
