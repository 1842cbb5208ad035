"""Every attribution method by its name on the command line. A new method is one file and one line here."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from vagan.attribution.cam import CAM, GradCAM
from vagan.attribution.controls import GradientMagnitude, GroupMeanDifference, RandomSmoothMap
from vagan.attribution.generator import VAGAN
from vagan.attribution.guided import GuidedBackpropagation
from vagan.attribution.integrated import IntegratedGradients
from vagan.attribution.method import AttributionMethod
from vagan.attribution.occlusion import Occlusion
from vagan.attribution.perturbation import AdditivePerturbation
from vagan.errors import ConfigError, nearest

Needs = Literal["map-generator", "classifier", "cam-classifier", "training images", "nothing"]


@dataclass(frozen=True)
class Entry:
    """How to make a method.

    Attributes
    ----------
    make
        Called with what ``needs`` says, then with the method's own options by name.
    needs
        ``map-generator``: a loaded map generator (option ``output`` from its facts). ``classifier``: a loaded
        classifier, be it a CAM classifier or not. ``cam-classifier``: a CAM classifier. ``training images``: those
        of the baseline class and those of the class of interest. ``nothing``: no arguments.
    passes
        About how many passes through the network a map takes; expensive methods are scored on fewer images.
    """

    make: Callable[..., AttributionMethod]
    needs: Needs
    passes: int = 1


METHODS: dict[str, Entry] = {
    "vagan": Entry(VAGAN, "map-generator"),
    "guided-backprop": Entry(GuidedBackpropagation, "classifier"),
    "integrated-gradients": Entry(IntegratedGradients, "classifier", passes=50),
    "grad-cam": Entry(partial(GradCAM, layer="convolutions"), "classifier"),
    "occlusion": Entry(Occlusion, "classifier", passes=700),
    "perturbation": Entry(partial(AdditivePerturbation, preset="authors"), "classifier", passes=100),
    "perturbation-paper": Entry(
        partial(AdditivePerturbation, preset="paper", name="additive perturbation, 1500 steps"),
        "classifier",
        passes=1500,
    ),
    "cam": Entry(CAM, "cam-classifier"),
    "group-mean": Entry(GroupMeanDifference, "training images"),
    "gradient-magnitude": Entry(GradientMagnitude, "nothing"),
    "random": Entry(RandomSmoothMap, "nothing"),
}


def find_method(name: str) -> Entry:
    """Look a method up; an unknown name is an error that names the nearest."""
    if name not in METHODS:
        raise ConfigError(f"no attribution method is called {name!r}; {nearest(name, METHODS)}")
    return METHODS[name]
