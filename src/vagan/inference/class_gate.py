"""Which class an image is of, where nobody says: a calibrated classifier decides, and the map follows."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vagan.attribution.method import Convention, preserving
from vagan.axes import class_probabilities
from vagan.errors import ConfigError, ModelError
from vagan.inference.generator import VAGAN
from vagan.model.folder import CONFIG, load_model
from vagan.types import Images, Maps

AUTO = "auto"
FOLDER = "classifier"
"""In the run folder of a map generator: the run folder of the classifier that decides."""
Band = tuple[float, float]
SURE: Band = (0.35, 0.65)


class Decision(NamedTuple):
    """What is decided about an image."""

    label: int
    """0 for the baseline class; of an undecided image the most probable class of interest, whose map is shown."""
    undecided: bool
    probabilities: tuple[float, ...]
    """Of each class, the baseline class first."""


def decide(probabilities: Sequence[float], band: Band = SURE) -> Decision:
    """The baseline class if anything else is improbable, a class of interest if it is probable, undecided between.

    Parameters
    ----------
    probabilities
        Of each class, the baseline class first.
    band
        Baseline where the classes of interest together are at most as probable as the first number, a class of
        interest where it is at least as probable as the second.
    """
    low, high = band
    _, *interests = probabilities
    best = max(range(len(interests)), key=interests.__getitem__)
    is_baseline = sum(interests) <= low
    undecided = not is_baseline and interests[best] < high
    return Decision(0 if is_baseline else 1 + best, undecided, tuple(probabilities))


class Labeller:
    """Classifier of all classes, whose probabilities are calibrated.

    Parameters
    ----------
    network
        From images to logits ``(batch, class)``.
    temperature
        By which logits are divided (Guo et al., ICML 2017).
    """

    def __init__(self, network: nn.Module, *, temperature: float = 1.0) -> None:
        self._network, self._temperature = network, temperature

    @classmethod
    def load(cls, run: Path, classes: Sequence[str], device: torch.device | str = "cpu") -> "Labeller":
        """The one in the run folder of a map generator, of these classes.

        Raises
        ------
        ModelError
            If there is none, or of other classes.
        """
        if not (run / FOLDER / "model" / CONFIG).is_file():
            raise ModelError(
                f"{run} must hold a classifier to decide which class an image is of, but does not; give the command "
                "of its training again with --with-classifier, or say the class"
            )
        network, facts = load_model(run / FOLDER)
        if facts.kind != "label-classifier" or facts.classes != tuple(classes):
            raise ModelError(
                f"the classifier in {run} must tell {', '.join(classes)} apart, found a {facts.kind} of "
                f"{', '.join(facts.classes)}; train it with `vagan train --with-classifier`"
            )
        return cls(network.to(device), temperature=facts.temperature)

    def probabilities(self, images: Images) -> Float[Tensor, "batch classes"]:
        """Of each class, the baseline class first."""
        with preserving(self._network), torch.no_grad():
            return class_probabilities(self._network(images) / self._temperature)

    def decide(self, images: Images, band: Band = SURE) -> list[Decision]:
        """Of each image; see `decide`."""
        return [decide(row, band) for row in self.probabilities(images).tolist()]


class Decided:
    """Map of the class that each image is decided to be of: nothing for the baseline class.

    An undecided image gets the map of its most probable class of interest: what that class would have done to it, if
    it is of it. Whoever shows the map must say so.

    Parameters
    ----------
    methods
        For each class of interest, in the order of the classes.
    labeller
        Decides.
    band
        See `decide`.
    """

    convention: Convention = "signed"

    def __init__(self, methods: Sequence[VAGAN], labeller: Labeller, band: Band = SURE) -> None:
        self.methods, self.labeller, self.band = tuple(methods), labeller, band
        self.name = f"{methods[0].name}, labels predicted"

    @property
    def subjects(self) -> pd.DataFrame | None:
        """What the methods were told of the images that they will get."""
        return self.methods[0].subjects

    def knowing(self, subjects: pd.DataFrame) -> "Decided":
        """The same for images of which this is known; see `VAGAN.knowing`."""
        return Decided([method.knowing(subjects) for method in self.methods], self.labeller, self.band)

    def decisions(self, images: Images) -> list[Decision]:
        """Of each image."""
        return self.labeller.decide(images, self.band)

    def attribute(self, images: Images) -> Maps:
        """Effect of the decided class in each image; zero in those of the baseline class."""
        decisions = self.decisions(images)
        maps = torch.zeros_like(images)
        for label, method in enumerate(self.methods, start=1):
            chosen = [place for place, decision in enumerate(decisions) if decision.label == label]
            if chosen:  # all images pass, for what is known is known of all of them in their order
                maps[chosen] = method.attribute(images)[chosen]
        return maps


def parse_band(text: str) -> Band:
    """``0.35:0.65`` -> (0.35, 0.65)."""
    low, _, high = text.partition(":")
    try:
        band = (float(low), float(high))
    except ValueError as error:
        raise ConfigError(f"a band must read like 0.35:0.65, found {text!r}") from error
    if not 0 <= band[0] <= band[1] <= 1:
        raise ConfigError(f"a band must be two probabilities, the lower one first, found {text!r}")
    return band
