"""Every attribution method by its slug, as options name it."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from torch import nn

from vagan.attribution.cam import CAM, GradCAM
from vagan.attribution.controls import GradientMagnitude, GroupMeanDifference, RandomSmoothMap
from vagan.attribution.gradients import GuidedBackpropagation, IntegratedGradients
from vagan.attribution.method import AttributionMethod
from vagan.attribution.perturbation import AdditivePerturbation, Occlusion
from vagan.attribution.vagan import VAGAN
from vagan.errors import ConfigError, nearest

Needs = Literal["map-generator", "classifier", "cam-classifier", "training images", "nothing"]


class MethodEntry(NamedTuple):
    """A method's class, and what it is made of."""

    method: type[Any]
    needs: Needs
    """``map-generator``, ``classifier``, ``cam-classifier``: the network. A classifier may be a CAM classifier or
    not; comparisons give it the paper's. ``training images``: those of the baseline class and those of the class of
    interest. ``nothing``: no arguments."""
    options: Mapping[str, Any] = {}
    """That differ from the class's own defaults."""

    @property
    def label(self) -> str:
        """The method's name in tables."""
        return str(self.options.get("name") or self.method.name)

    @property
    def cost(self) -> int:
        """Approximate number of forward passes per map."""
        cost = self.method.cost
        return int(cost if isinstance(cost, int) else self.make(nn.Identity()).cost)

    def make(self, *needed: Any, **options: Any) -> AttributionMethod:
        """The method, from what it needs."""
        return self.method(*needed, **{**self.options, **options})

    def explains(self, kind: str) -> bool:
        """Whether the method can explain a single model of this kind."""
        return self.needs in (kind, "nothing") or (self.needs == "classifier" and kind == "cam-classifier")


METHODS: dict[str, MethodEntry] = {
    "vagan": MethodEntry(VAGAN, "map-generator"),
    "guided-backprop": MethodEntry(GuidedBackpropagation, "classifier"),
    "integrated-gradients": MethodEntry(IntegratedGradients, "classifier"),
    "grad-cam": MethodEntry(GradCAM, "classifier", {"layer": "convolutions"}),
    "occlusion": MethodEntry(Occlusion, "classifier"),
    "additive-perturbation": MethodEntry(
        AdditivePerturbation, "classifier", {"variation_weight": 1e-1, "learning_rate": 1e-1, "updates": 100}
    ),
    "additive-perturbation-1500-steps": MethodEntry(
        AdditivePerturbation, "classifier", {"updates": 1500, "name": "additive perturbation, 1500 steps"}
    ),
    "cam": MethodEntry(CAM, "cam-classifier"),
    "group-mean-difference": MethodEntry(GroupMeanDifference, "training images"),
    "gradient-magnitude": MethodEntry(GradientMagnitude, "nothing"),
    "random-map": MethodEntry(RandomSmoothMap, "nothing"),
}
"""All methods by slug."""


def find_slug(name: str) -> str:
    """Slug of a method from it or from its name in tables, in any case; an unknown one names the nearest."""
    slugs = {_plain(known): slug for slug, entry in METHODS.items() for known in (entry.label, slug)}
    if _plain(name) not in slugs:
        raise ConfigError(f"no attribution method is called {name!r}; {nearest(name, METHODS)}")
    return slugs[_plain(name)]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
