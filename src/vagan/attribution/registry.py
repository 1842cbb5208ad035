"""Every attribution method by its name on the command line. A new method is one file and one line here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import nn

from vagan.attribution.cam import CAM, GradCAM
from vagan.attribution.controls import GradientMagnitude, GroupMeanDifference, RandomSmoothMap
from vagan.attribution.guided import GuidedBackpropagation
from vagan.attribution.integrated import IntegratedGradients
from vagan.attribution.method import AttributionMethod
from vagan.attribution.occlusion import Occlusion
from vagan.attribution.perturbation import AdditivePerturbation
from vagan.errors import ConfigError, nearest
from vagan.inference.class_gate import AUTO, SURE, Band, Decided, Labeller
from vagan.inference.ensemble import Ensemble
from vagan.inference.generator import VAGAN
from vagan.inference.intervention import Contrast
from vagan.model.folder import ModelSpec, load_model, select_class
from vagan.model.ood import MahalanobisOOD
from vagan.nn.conditioning import Condition

Needs = Literal["map-generator", "classifier", "cam-classifier", "training images", "nothing"]
Unit = Literal["intensity", "class score", "class score per intensity", "none"]


@dataclass(frozen=True)
class Entry:
    """How to make a method.

    Attributes
    ----------
    make
        Called with what ``needs`` says, then with the method's own options by name.
    needs
        ``map-generator``: a loaded map generator, with options from its facts.
        ``classifier``: a loaded classifier, be it a CAM classifier or not; comparisons give it the paper's
        classifier. ``cam-classifier``: a CAM classifier. ``training images``: those of the baseline class and those
        of the class of interest.
        ``nothing``: no arguments.
    unit
        Of the maps' values. Intensity means prepared intensity, class score the logit.
    passes
        About how many passes through the network a map takes; expensive methods are scored on fewer images.
    """

    make: Callable[..., AttributionMethod]
    needs: Needs
    unit: Unit = "none"
    passes: int = 1

    def explains(self, kind: str) -> bool:
        """Whether the method can explain a single model of this kind."""
        return self.needs in (kind, "nothing") or (self.needs == "classifier" and kind == "cam-classifier")

    def of(
        self, network: nn.Module, facts: ModelSpec, condition: Condition | None = None, *, into: bool = False
    ) -> AttributionMethod:
        """The method for a loaded model that it explains; see `vagan.model.folder.select_class`."""
        if self.needs == "nothing":
            return self.make()
        if self.needs == "map-generator":
            return self.make(
                network,
                output=facts.output,
                condition=condition,
                covariates=facts.covariates,
                into=into,
                contrast=facts.intervention,
            )
        return self.make(network)


METHODS: dict[str, Entry] = {
    "vagan": Entry(VAGAN, "map-generator", "intensity"),
    "guided-backprop": Entry(GuidedBackpropagation, "classifier", "class score per intensity"),
    "integrated-gradients": Entry(IntegratedGradients, "classifier", "class score", passes=50),
    "grad-cam": Entry(partial(GradCAM, layer="convolutions"), "classifier", "class score"),
    "occlusion": Entry(Occlusion, "classifier", "class score", passes=250),
    "perturbation": Entry(partial(AdditivePerturbation, preset="authors"), "classifier", "intensity", passes=100),
    "perturbation-paper": Entry(
        partial(AdditivePerturbation, preset="paper", name="additive perturbation, 1500 steps"),
        "classifier",
        "intensity",
        passes=1500,
    ),
    "cam": Entry(CAM, "cam-classifier", "class score"),
    "group-mean": Entry(GroupMeanDifference, "training images", "intensity"),
    "gradient-magnitude": Entry(GradientMagnitude, "nothing"),
    "random": Entry(RandomSmoothMap, "nothing"),
}
"""By name on the command line."""


def find_method(name: str) -> Entry:
    """Look a method up; an unknown name is an error that names the nearest."""
    if name not in METHODS:
        raise ConfigError(f"no attribution method is called {name!r}; {nearest(name, METHODS)}")
    return METHODS[name]


def unit_of(method: AttributionMethod) -> Unit:
    """What a method's values mean; none for methods that are not in `METHODS`."""
    if isinstance(method, Decided | Contrast):
        return "intensity"
    for entry in METHODS.values():
        made = entry.make.func if isinstance(entry.make, partial) else entry.make
        if isinstance(made, type) and isinstance(method, made):
            return entry.unit
    return "none"


class LoadedMethod(NamedTuple):
    """A method bound to a model, and what is to be known of both."""

    method: AttributionMethod
    entry: Entry
    facts: ModelSpec
    device: torch.device
    """Where the network is, and where images must be."""


def load_method(
    run: Path,
    name: str = "",
    *,
    interest: str = "",
    into: bool = False,
    band: Band = SURE,
    device: torch.device | str = "cpu",
) -> LoadedMethod:
    """A method for the model of a run folder or model folder.

    Parameters
    ----------
    run
        Where the model is.
    name
        Name in `METHODS`; a map generator explains itself if none is given.
    interest
        Class of interest; needed where the model knows several. ``auto``: a classifier decides for each image.
    into
        What the class would do to images of the baseline class, of a map generator that learnt both directions.
    band
        How probable a class must be for that; see `vagan.inference.class_gate.decide`.
    device
        Where the network is to be, and the images that it gets.

    Raises
    ------
    ConfigError
        If no method is called so, the model is of a kind that it cannot explain, or a choice must be made.
    """
    if name:
        find_method(name)
    network, whole = load_model(run)
    if interest == AUTO and whole.kind == "map-generator" and name in ("", "vagan"):
        return LoadedMethod(
            _decided(run, network, whole, band, device), METHODS["vagan"], whole, torch.device(device)
        )
    facts, condition = select_class(whole, interest, insert=into)
    if not name and facts.kind == "map-generator":
        name = "vagan"
    fitting = [known for known, entry in METHODS.items() if entry.explains(facts.kind)]
    if name not in fitting:
        problem = f"{name} cannot explain it" if name else "a method must be chosen with --method"
        raise ConfigError(f"{run} holds a {facts.kind}: {problem}; choose one of {', '.join(fitting)}")
    method = METHODS[name].of(network.to(device), facts, condition, into=into)
    if isinstance(method, VAGAN):
        method.likeness = MahalanobisOOD.load(run)
    return LoadedMethod(method, METHODS[name], facts, torch.device(device))


def _decided(run: Path, network: nn.Module, facts: ModelSpec, band: Band, device: torch.device | str) -> Decided:
    """Maps of the class that the classifier in a map generator's run folder decides each image to be of."""
    labeller = Labeller.load(run, facts.classes, device)
    network.to(device)
    methods = []
    for name in facts.classes[1:]:
        method = METHODS["vagan"].of(network, *select_class(facts, name))
        assert isinstance(method, VAGAN)
        method.likeness = MahalanobisOOD.load(run)
        methods.append(method)
    return Decided(methods, labeller, band)


def load_ensemble(
    runs: Sequence[Path], name: str = "", *, interest: str = "", device: torch.device | str = "cpu"
) -> LoadedMethod:
    """The same method for the models of several runs, as one; see `load_method`.

    Raises
    ------
    ConfigError
        If a run is named twice, or the models are not about the same classes, or take images that were prepared
        differently.
    """
    places = [run.resolve() for run in runs]
    twice = next((run for run, place in zip(runs, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise ConfigError(f"an ensemble's members must differ: {twice} is named twice; give runs of different seeds")
    loaded = [load_method(run, name, interest=interest, device=device) for run in runs]
    first = loaded[0]
    for run, other in zip(runs, loaded, strict=True):
        for fact in ("kind", "num_spatial_dims", "channels", "classes", "preparation", "pipeline"):
            ours, theirs = getattr(first.facts, fact), getattr(other.facts, fact)
            if ours != theirs:
                raise ConfigError(
                    f"an ensemble's models must agree in {fact}: {runs[0]} has {ours}, {run} has {theirs}; "
                    "give runs of one cohort with different seeds"
                )
    return first._replace(method=Ensemble([other.method for other in loaded]))
