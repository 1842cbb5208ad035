"""Strategies of an attributor: the class gate and ensembles."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from vagan.attribution.method import preserving
from vagan.attribution.vagan import Explanation
from vagan.axes import class_probabilities, expand_like, member_mean, member_std, stack_members
from vagan.effect import Deformation
from vagan.errors import ModelError
from vagan.model.folder import CONFIG, ModelSpec, load_model
from vagan.nn.conditioning import Condition
from vagan.types import Images, Maps, Scores

CLASS_GATE_FOLDER = "classifier"
"""In the run folder of a map generator: the run folder of the classifier that decides."""
RejectInterval = tuple[float, float]
REJECT_INTERVAL: RejectInterval = (0.35, 0.65)
ALWAYS_OF_INTEREST: RejectInterval = (-1.0, 0.0)
"""With which `decide` returns the most probable class of interest, however improbable."""


class ClassDecision(NamedTuple):
    """The class that is shown for an image."""

    label: int
    """0 for the baseline class; after an abstention the most probable class of interest, whose map is shown."""
    abstained: bool
    probabilities: tuple[float, ...]
    """Of each class, the baseline class first."""


def decide(probabilities: Sequence[float], reject_interval: RejectInterval = REJECT_INTERVAL) -> ClassDecision:
    """The baseline class if anything else is improbable, a class of interest if it is probable, else an abstention.

    The baseline class's probability comes first. It is decided for where the classes of interest together are at most
    as probable as the first number of the interval, for one of these where it is as probable as the second or more.
    """
    low, high = reject_interval
    _, *interests = probabilities
    best = max(range(len(interests)), key=interests.__getitem__)
    is_baseline = sum(interests) <= low
    abstained = not is_baseline and interests[best] < high
    return ClassDecision(0 if is_baseline else 1 + best, abstained, tuple(probabilities))


@dataclass(frozen=True, eq=False)
class ClassGate:
    """Classifier of all classes with calibrated probabilities."""

    network: nn.Module = field(repr=False)
    """From images to logits ``(batch, class)``."""
    _: KW_ONLY
    temperature: float = 1.0
    """By which logits are divided (Guo et al., ICML 2017)."""

    @classmethod
    def load(cls, run: Path, classes: Sequence[str], device: torch.device | str = "cpu") -> "ClassGate":
        """The one in the run folder of a map generator, of these classes."""
        if not (run / CLASS_GATE_FOLDER / "model" / CONFIG).is_file():
            raise ModelError(
                "predicted classes and expected effects need a classifier in the run folder: "
                f"{run} has none; repeat the training's command as `vagan train --with-classifier`, or name the "
                "`class_of_interest`"
            )
        network, spec = load_model(run / CLASS_GATE_FOLDER)
        if spec.kind != "label-classifier" or spec.classes != tuple(classes):
            raise ModelError(
                f"the classifier in {run} must separate {', '.join(classes)}, found a {spec.kind} of "
                f"{', '.join(spec.classes)}; train it with `vagan train --with-classifier`"
            )
        return cls(network.to(device), temperature=spec.temperature)

    def probabilities(self, images: Images) -> Float[Tensor, "batch classes"]:
        """Of each class, the baseline class first."""
        with preserving(self.network), torch.no_grad():
            return class_probabilities(self.network(images) / self.temperature)

    def decide(self, images: Images, reject_interval: RejectInterval = REJECT_INTERVAL) -> tuple[ClassDecision, ...]:
        """One decision per image; see `decide`."""
        return tuple(decide(row, reject_interval) for row in self.probabilities(images).tolist())


def task_conditions(spec: ModelSpec, decisions: Sequence[ClassDecision]) -> Condition | None:
    """Of each image the task that removes its class; of the baseline class any, for its map is not shown."""
    conditions = spec.task_conditions()
    return None if conditions is None else conditions[[max(decision.label - 1, 0) for decision in decisions]]


def probabilities_of(decisions: Sequence[ClassDecision], device: torch.device) -> Scores:
    """Of the class of interest that is shown for each image."""
    return torch.tensor([one.probabilities[one.label] for one in decisions], device=device)


def without_effect_in_baseline(found: Explanation, images: Images, decisions: Sequence[ClassDecision]) -> Explanation:
    """No effect in images that are predicted to be of the baseline class."""
    baseline = torch.tensor([float(decision.label == 0) for decision in decisions], device=images.device)

    def without(values: Tensor, replacement: Tensor | float = 0.0) -> Tensor:
        return torch.where(expand_like(baseline, values) > 0, replacement, values)

    counterfactual = None if found.counterfactual is None else without(found.counterfactual, images)
    effect, moved = tree_map_only(Tensor, without, (found.effect, found.deformation))
    return found._replace(effect=effect, counterfactual=counterfactual, deformation=moved)


class Uncertainty(NamedTuple):
    """Agreement of an ensemble's members, pixel by pixel; see Lakshminarayanan et al., NeurIPS 2017."""

    std: Maps
    """Sample standard deviation of the members' effects, in their unit."""
    sign_agreement: Maps
    """Size of the members' mean sign: from 0, half against half, to 1, all of one sign."""


def combined(members: Sequence[Explanation]) -> tuple[Explanation, Uncertainty | None]:
    """Mean effect, counterfactual and deformation over members, and their agreement; all else from the first one."""
    if len(members) == 1:
        return members[0], None
    effects = stack_members(*(one.effect for one in members))
    counterfactuals = [one.counterfactual for one in members if one.counterfactual is not None]
    deformations = [one.deformation for one in members if one.deformation is not None]
    first = members[0]
    found = Explanation(member_mean(effects), ood_score=first.ood_score, ood_threshold=first.ood_threshold)
    if len(counterfactuals) == len(members):
        found = found._replace(counterfactual=member_mean(stack_members(*counterfactuals)))
    if len(deformations) == len(members):
        fields = zip(*deformations, strict=True)
        found = found._replace(deformation=Deformation(*(member_mean(stack_members(*field)) for field in fields)))
    return found, Uncertainty(member_std(effects), member_mean(effects.sign()).abs())
