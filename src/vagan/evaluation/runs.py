"""The methods to compare, from runs and controls, on images that no model was trained on."""

import copy
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from vagan.attribution.registry import METHODS, find_slug
from vagan.axes import class_column, concatenate_batches
from vagan.data.cohort import Cohort
from vagan.data.fingerprint import fingerprints, is_among, is_repeated
from vagan.errors import CohortError, ConfigError, LeakageError, ModelError, nearest
from vagan.evaluation.maps import Cases, Rows
from vagan.evaluation.metrics.counterfactual import IndependentClassifier
from vagan.inference.attributor import Attributor
from vagan.inference.strategies import ClassDecision, ClassGate, RejectInterval
from vagan.model.folder import ModelSpec, TrainedModel, select_class
from vagan.nn.classification_metrics import binary_metrics
from vagan.nn.classifier import CAMClassifier, Classifier
from vagan.seeding import numpy_generator
from vagan.training.engine.run_folder import RunFolder

MEAN_IMAGES = 1000
WITHOUT_MODEL = {"nothing", "training images"}
"""What controls need."""
BATCH = 50
SEEN = "are among the training or validation images"


@dataclass(frozen=True)
class RunSelection:
    """Which methods of some runs are scored."""

    methods: Sequence[str] | None = None
    """Names in `vagan.attribution.registry.METHODS`; default: all that have what they need."""
    ensemble: bool = False
    """Score the mean of the map generators of all runs too, and whether its uncertainty predicts its error."""
    reject_interval: RejectInterval | None = None
    """Score map generators also with the class that a classifier predicts, which abstains between these
    probabilities (see `vagan.inference.strategies`), and with maps weighted by its probabilities."""
    classifiers: Sequence[Path] = ()
    """Runs of independent classifiers, which are none of the runs; see `vagan.evaluation.metrics.counterfactual`."""
    exclude_seen: bool = False
    """Leave test images out that a run was trained or validated on; otherwise they are an error."""


class LoadedMethods(NamedTuple):
    """What is scored, by name, and what it comes from."""

    methods: dict[str, Attributor]
    models: list[TrainedModel]
    gated: dict[str, str]
    """Run of each method whose classes are predicted, by the method's name."""
    label: int
    """Of the class that all models are about, in the cohort."""
    classifiers: list[IndependentClassifier]


def load_methods(
    cohort: Cohort, runs: Sequence[Path], selection: RunSelection, *, interest: str, seed: int, device: torch.device
) -> LoadedMethods:
    """Read each run once and make the methods of its model, and the controls.

    ``interest`` names the class of interest; needed where a model has several. Raises `ConfigError` for an unknown
    method, one that no run's model allows, or runs about several classes; `ModelError` if a run was trained on images
    of another kind than the cohort's.
    """
    wanted = [find_slug(name) for name in selection.methods or METHODS]
    needs = {slug: METHODS[slug].needs for slug in wanted}
    models = _load_models(runs, cohort, device)
    there = {model.spec.kind for model in models} | WITHOUT_MODEL
    if missing := next((slug for slug in wanted if selection.methods and needs[slug] not in there), None):
        raise ConfigError(f"{missing} needs the run of a {needs[missing]}, which is not among the runs")
    specs = [select_class(model.spec, interest)[0] for model in models]
    label = class_label(cohort, "" if specs else interest, specs)
    classifiers = [
        load_classifier(run, cohort, models, class_of_interest=interest, device=device)
        for run in selection.classifiers
    ]
    methods: dict[str, Attributor] = {}
    for model in models:
        for slug in wanted:
            if needs[slug] == model.spec.kind:
                made = Attributor.load(model, slug, class_of_interest=interest)
                methods[_named(made, model, models)] = made
    generators = [model for model in models if model.spec.kind == "map-generator"]
    if selection.ensemble:
        if len(generators) < 2:
            raise ConfigError(f"an ensemble needs two or more runs of map generators, found {len(generators)}")
        together = Attributor.load(generators, class_of_interest=interest)
        methods[together.name] = together
    gated = {}
    if selection.reject_interval is not None:
        for model in generators:
            made = Attributor.load(model, predict_class=True, reject_interval=selection.reject_interval)
            name = _named(made, model, models)
            methods[name], gated[name] = made, model.path.name
            if model.spec.output != "tanh":  # there a map of zero changes the image
                expected = made.expected()
                methods[_named(expected, model, models)] = expected
    controls = [_control(slug, cohort, label, seed) for slug in wanted if needs[slug] in WITHOUT_MODEL]
    methods |= {control.name: control for control in controls}
    return LoadedMethods(methods, models, gated, label, classifiers)


def _named(method: Attributor, model: TrainedModel, models: Sequence[TrainedModel]) -> str:
    """With the run's name behind it where several runs have the method."""
    is_alone = sum(other.spec.kind == model.spec.kind for other in models) == 1
    return method.name if is_alone else f"{method.name} ({model.path.name})"


def _control(slug: str, cohort: Cohort, label: int, seed: int) -> Attributor:
    """A method that needs no model."""
    entry, images = METHODS[slug], []
    for part in (0, label) if entry.needs == "training images" else ():
        rows = numpy_generator(seed, "mean", part).permutation(cohort.manifest.indices("train", part))
        images.append(cohort.images(rows[:MEAN_IMAGES]))
    return Attributor([entry.make(*images)])


def _load_models(runs: Sequence[Path], cohort: Cohort, device: torch.device) -> list[TrainedModel]:
    """Models of all runs, which must be able to take the cohort's images."""
    runs = [run.resolve() for run in runs]
    names = [run.name for run in runs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"tables call runs by their folders' names, but {twice!r} occurs twice; rename one")
    models = [TrainedModel.load(run, device) for run in runs]
    for model in models:
        if RunFolder(model.path).is_begun:
            RunFolder(model.path).read_config()  # copied to the results, where the report reads it
        spec = model.spec
        if (spec.num_spatial_dims, spec.channels) != (len(cohort.shape), cohort.channels):
            raise ModelError(
                f"{model.path} was trained on {spec.num_spatial_dims}-D images of {spec.channels} channels, "
                f"{cohort.path} holds {len(cohort.shape)}-D images of {cohort.channels}; give a matching cohort"
            )
    return models


def load_classifier(
    run: Path, cohort: Cohort, models: Sequence[TrainedModel], *, class_of_interest: str, device: torch.device
) -> IndependentClassifier:
    """The classifier of a run that is none of the models, and about the same classes; else `ConfigError`."""
    (found,) = _load_models([run], cohort, device)
    if not isinstance(found.network, Classifier | CAMClassifier):
        made = "`vagan train --method classifier` makes one"
        raise ConfigError(f"an independent classifier is needed: {run} holds a {found.spec.kind}; {made}")
    weights, others = found.network.state_dict(), [other.network.state_dict() for other in models]
    if any(
        other.keys() == weights.keys() and all(torch.equal(weights[name], other[name]) for name in weights)
        for other in others
    ):
        raise ConfigError(
            f"a classifier must be independent of the methods: {run} is among the runs, or was trained with the same "
            "seed; train another with another training.seed"
        )
    class_label(cohort, "", [select_class(model.spec, class_of_interest)[0] for model in (found, *models)])
    return IndependentClassifier(found.network, cohort, name=run.name)


def class_label(cohort: Cohort, class_of_interest: str, specs: Sequence[ModelSpec] = ()) -> int:
    """Label, in this cohort, of a class of interest, or of the one that all models are about."""
    classes = cohort.manifest.classes
    if class_of_interest:
        if class_of_interest not in classes[1:]:
            hint = nearest(class_of_interest, classes[1:])
            raise ConfigError(f"{cohort.path} has no class of interest {class_of_interest!r}; {hint}")
        return classes.index(class_of_interest)
    pairs = sorted({spec.classes for spec in specs})
    if len(pairs) > 1:
        found = " and ".join(f"{interest} against {baseline}" for baseline, interest in pairs[:2])
        raise ConfigError(f"runs that are compared must be about the same classes: found {found}")
    if len(classes) == 2:
        return 1  # whatever the classes are called here
    if not pairs or pairs[0][0] != classes[0] or pairs[0][1] not in classes:
        of_the_runs = f"the models are about {' and '.join(pairs[0])}" if pairs else "no model says which to score"
        raise CohortError(
            f"{cohort.path} holds several classes of interest ({', '.join(classes[1:])} beside {classes[0]}), "
            f"and {of_the_runs}; give runs that were trained on these classes, or `class_of_interest`"
        )
    return classes.index(pairs[0][1])


def classifier_metrics(
    loaded: LoadedMethods, cohort: Cohort, cases: Cases, decisions: Mapping[str, Sequence[ClassDecision]]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Accuracy and calibration of all classifiers on the test images, and what readers must know of class gates."""
    rows = np.concatenate([cases.baseline, cases.rows])
    labels = np.repeat(np.arange(2), [len(cases.baseline), len(cases.rows)])
    classifiers = [model for model in loaded.models if model.spec.kind != "map-generator"]
    images = cohort.images(rows if classifiers else [])
    metrics, rules = {}, {}
    for model in classifiers:
        gate, device = ClassGate(model.network), next(model.network.parameters()).device
        parts = [gate.probabilities(part.to(device)) for part in images.split(BATCH)]
        probabilities = class_column(concatenate_batches(*parts), 1).numpy(force=True).astype(np.float64)
        metrics[model.path.name] = binary_metrics(probabilities, labels)
    for name, run in loaded.gated.items():
        probabilities = np.array([1 - decision.probabilities[0] for decision in decisions[name]])
        metrics[f"{run}, class gate"] = found = binary_metrics(probabilities, labels)
        abstained = float(np.mean([decision.abstained for decision in decisions[name]]))
        rules[f"predicted classes of {run}"] = (
            f"accuracy {found['accuracy']:.1%} on test images, calibration error {found['calibration_error']:.3f}; "
            f"abstained on {abstained:.1%}, which are shown as of the class of interest; images of the baseline "
            "class have no map. Expected effects are maps multiplied by the probability of the class"
        )
    return metrics, rules


def require_unseen(
    cohort: Cohort, rows: Rows, runs: Iterable[Path], *, exclude: bool = False, warn: bool = True
) -> Rows:
    """Rows of a cohort that none of the runs was trained or validated on; `LeakageError` if none remains.

    An image counts as seen if its pixels are those of one of the run's images but for a linear change of intensity,
    or if its subject is one of the run's, provided that subjects are more than names of single images and that the
    cohort holds other images of the run; otherwise subjects of the same name, perhaps of other people, are a warning.
    Seen images are a `LeakageError` unless they are to be excluded.
    """
    found, table = fingerprints(cohort, rows), cohort.manifest.table.iloc[rows]
    remarks: list[str] = []
    twins = np.flatnonzero(is_repeated(found))
    if len(twins):
        remarks.append(
            f"{len(twins)} of {len(rows)} images to score are copies of others, e.g. {table['id'].iloc[twins[0]]!r}; "
            "scores count them more than once: see `vagan check`"
        )
    named = table["subject"].ne(table["id"]).to_numpy()
    seen = np.zeros(len(rows), bool)
    for run in sorted({run.resolve() for run in runs}):
        folder = RunFolder(run if RunFolder(run).cohort.exists() else run.parent)
        seen_by_run = folder.read_seen() if folder.cohort.exists() else None  # exported models hold no fingerprints
        if seen_by_run is None:
            continue
        pixels = is_among(found, seen_by_run[0])
        subjects = table["subject"].isin(seen_by_run[1]).to_numpy() & named
        everything = np.arange(len(cohort) if subjects.any() else 0)
        if pixels.any() or is_among(fingerprints(cohort, everything), seen_by_run[0]).any():
            pixels |= subjects
        elif subjects.any():
            remarks.append(
                f"{subjects.sum()} of {len(rows)} images to score have subjects of the same names as those that "
                f"{run} was trained on, e.g. {table['subject'][subjects].iloc[0]!r}; check that they are other people"
            )
        if pixels.any() and not exclude:
            raise LeakageError(
                f"{pixels.sum()} of {len(rows)} images to score {SEEN} of {run} (by their pixels or subjects), e.g. "
                f"{table['id'].to_numpy()[pixels][0]!r}; give a cohort with the split of its training, or leave them "
                "out with `exclude_seen`"
            )
        seen |= pixels
    for remark in remarks if warn else ():
        print(f"warning: {remark}", file=sys.stderr, flush=True)
    if seen.all() and len(seen):
        raise LeakageError(f"all {len(rows)} images to score {SEEN} of the runs; give a cohort of other images")
    return rows[~seen]


def without_seen(cohort: Cohort, runs: Iterable[Path], *, exclude: bool) -> tuple[Cohort, dict[str, str]]:
    """The cohort without the test images that the runs have seen, and a rule for the results, if there are any."""
    rows = cohort.manifest.indices("test")
    excluded = np.setdiff1d(rows, require_unseen(cohort, rows, runs, exclude=exclude))
    if not len(excluded):
        return cohort, {}
    rest = copy.copy(cohort)
    rest.manifest = replace(cohort.manifest, excluded=frozenset(excluded.tolist()))
    return rest, {"excluded": f"{len(excluded)} of {len(rows)} test images: they {SEEN} of a run"}
