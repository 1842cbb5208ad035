"""What is scored beside each other: the methods that the runs' models allow, and the controls."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from vagan.attribution.method import AttributionMethod
from vagan.attribution.registry import METHODS
from vagan.data.cohort import Cohort
from vagan.errors import CohortError, ConfigError, LeakageError, ModelError
from vagan.evaluation.metrics.counterfactual import Judge
from vagan.inference.attributor import Attributor
from vagan.inference.class_gate import Interval
from vagan.model.folder import ModelSpec, select_class
from vagan.model.trained import TrainedModel
from vagan.nn.classifier import CAMClassifier, Classifier
from vagan.seeding import numpy_generator
from vagan.training.engine.run_folder import RunFolder

MEAN_IMAGES = 1000


class Model(NamedTuple):
    """A trained model of a run."""

    run: Path
    network: nn.Module
    facts: ModelSpec
    """About a single class of interest; see `select_class`."""
    whole: TrainedModel

    def attributor(self, slug: str = "") -> Attributor:
        """A method for it."""
        return Attributor.of(
            [self.whole], slug, class_of_interest=self.facts.classes[1], device=_device_of(self.network)
        )


def load_models(runs: Sequence[Path], cohort: Cohort, place: torch.device, interest: str = "") -> list[Model]:
    """Models of all runs, which must be able to take the cohort's images and must not have seen the test ones.

    ``interest`` names the class of interest, which is needed where a model knows several.
    """
    runs = [run.resolve() for run in runs]
    twice = next((run.name for run in runs if [other.name for other in runs].count(run.name) > 1), None)
    if twice is not None:
        raise ConfigError(f"tables call runs by their folders' names, but {twice!r} occurs twice; rename one")
    loaded = [TrainedModel.load(run, place) for run in runs]
    models = [Model(one.path, one.network, select_class(one.spec, interest)[0], one) for one in loaded]
    for model in models:
        if RunFolder(model.run).is_begun:
            RunFolder(model.run).read_config()  # copied to the results, where the report reads it
        _require_same_kind(model.run, model.facts, cohort)
        _require_unseen(model.run, cohort)
    return models


def load_judge(run: Path, models: Sequence[Model], cohort: Cohort, place: torch.device, interest: str = "") -> Judge:
    """The classifier of a run that is none of the models, and about the same classes."""
    (model,) = load_models([run], cohort, place, interest)
    if not isinstance(model.network, Classifier | CAMClassifier):
        raise ConfigError(f"a judge must be a classifier: {run} holds a {model.facts.kind}; train one with --method")
    if any(_same_weights(model.network, other.network) for other in models):
        raise ConfigError(
            f"a judge must be independent of what it judges: {run} is among the runs, or was trained with the same "
            "seed; train another with --set training.seed"
        )
    interest_of([model.facts, *(other.facts for other in models)], cohort)
    return Judge(model.network, cohort, device=place)


def _same_weights(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def require_models_for(methods: Sequence[str], models: Sequence[Model]) -> None:
    """Refuse methods that no run's model allows."""
    there = {model.facts.kind for model in models} | {"nothing", "training images"}
    for name in methods:
        if METHODS[name].needs not in there:
            raise ConfigError(f"{name} needs the run of a {METHODS[name].needs}, which is not among the runs")


def methods_of(models: Sequence[Model], wanted: Iterable[str]) -> tuple[dict[str, Attributor], list[str]]:
    """Methods of all models by their names in the tables, and which of them are expensive."""
    compared: dict[str, Attributor] = {}
    expensive = []
    for model in models:
        alone = sum(other.facts.kind == model.facts.kind for other in models) == 1
        for slug in (slug for slug in wanted if METHODS[slug].needs == model.facts.kind):
            method = model.attributor(slug)
            name = method.name if alone else f"{method.name} ({model.run.name})"
            compared[name] = method
            expensive += [name] if method.cost > 1 else []
    return compared, expensive


def ensemble_of(models: Sequence[Model]) -> Attributor:
    """The map generators of all runs together."""
    generators = [model for model in models if model.facts.kind == "map-generator"]
    if len(generators) < 2:
        raise ConfigError(f"an ensemble needs two or more runs of map generators, found {len(generators)}")
    first = generators[0]
    return Attributor.of(
        [model.whole for model in generators],
        class_of_interest=first.facts.classes[1],
        device=_device_of(first.network),
    )


def decided_of(models: Sequence[Model], band: Interval, place: torch.device) -> dict[str, Attributor]:
    """By run, each map generator with the class that the classifier in its folder decides."""
    generators = [model for model in models if model.facts.kind == "map-generator"]
    found = {}
    for model in generators:
        method = Attributor.of([model.whole], predict_class=True, reject_interval=band, device=place)
        method.name += "" if len(generators) == 1 else f" ({model.run.name})"
        found[model.run.name] = method
    return found


def _device_of(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def interest_of(models: Sequence[ModelSpec], cohort: Cohort) -> int:
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


def controls_of(cohort: Cohort, wanted: Iterable[str], interest: int, seed: int) -> list[AttributionMethod]:
    """Methods that need no model."""
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


def _require_same_kind(run: Path, facts: ModelSpec, cohort: Cohort) -> None:
    if (facts.num_spatial_dims, facts.channels) != (len(cohort.shape), cohort.channels):
        raise ModelError(
            f"{run} was trained on {facts.num_spatial_dims}-D images of {facts.channels} channels, "
            f"{cohort.path} holds {len(cohort.shape)}-D images of {cohort.channels}; give a matching cohort"
        )


def _require_unseen(run: Path, cohort: Cohort) -> None:
    """Refuse to score a model on images of its own training."""
    if not RunFolder(run).cohort.exists():
        return  # a model folder on its own does not know
    about = RunFolder(run).read_cohort()
    if about["hash"] != cohort.metadata.content_hash:
        return  # other images, even where their names are the same
    table = cohort.manifest.table
    seen = sorted(set(table["id"][table["split"] == "test"]) & set(about["splits"].get("train", [])))
    if seen:
        raise LeakageError(
            f"test images must be new to the model, but {seen[0]!r} and {len(seen) - 1} more were in the training "
            f"of {run}; score it on the split that it was trained on"
        )
