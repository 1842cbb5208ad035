"""Additive perturbation maps (Eq. 5): the smallest change of an image that removes the class."""

from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from vagan.attribution.method import Convention, Covariates, Unit, differentiating, require_logits
from vagan.axes import class_column, class_probabilities, forward_differences, per_sample_sum
from vagan.effect import baseline_image, effect_map
from vagan.errors import ConfigError, DivergenceError
from vagan.types import Images, Maps, Scores

Preset = Literal["paper", "authors"]


class PerturbationSettings(NamedTuple):
    """Weights of Eq. 5, and of Adam; the defaults are the paper's."""

    map_weight: float = 1e-2
    """``w1``."""
    variation_weight: float = 1e-5
    """``w2``."""
    exponent: float = 2.0
    """``b``."""
    learning_rate: float = 1e-2
    updates: int = 1500


_PRESETS = {
    "paper": PerturbationSettings(),
    "authors": PerturbationSettings(variation_weight=1e-1, learning_rate=1e-1, updates=100),
}


class AdditivePerturbation:
    """Optimise a mask for each image so that adding it makes the class vanish (Eq. 5).

    Minimises ``f(x + m) + w1 * |m|_1 + w2 * sum_u |grad m(u)|_b^b`` by Adam from ``m = 0``, where ``f`` is the
    class's softmax probability and norms are sums over pixels. The effect is minus the mask, in image intensity.

    Parameters
    ----------
    model, target
        Classifier with logits ``(batch, class)``, and class of interest.
    preset
        ``paper``, or ``authors``: what their code does, w2 1e-1, learning rate 1e-1, 100 updates.
    name
        Display name in tables.
    **settings
        `PerturbationSettings` that are to differ from the preset.

    Notes
    -----
    Images of a batch do not influence each other: the objective is a sum over images, and Adam works on each pixel
    by itself.
    """

    unit: Unit = "intensity"
    cost = 1500
    convention: Convention = "signed"

    def __init__(
        self,
        model: nn.Module,
        target: int = 1,
        *,
        preset: Preset = "paper",
        name: str = "additive perturbation",
        **settings: Any,
    ) -> None:
        if preset not in _PRESETS:
            raise ConfigError(f"the preset must be one of {', '.join(_PRESETS)}: found {preset!r}")
        chosen = _PRESETS[preset]._replace(**settings)
        if min(chosen.map_weight, chosen.variation_weight) < 0 or chosen.exponent < 1:
            raise ConfigError(f"weights must not be negative, nor the exponent below 1: found {chosen}")
        if chosen.learning_rate <= 0 or chosen.updates < 1:
            raise ConfigError(f"the learning rate must be positive, and updates at least 1: found {chosen}")
        self._model, self._target, self.settings, self.name = model, target, chosen, name
        self.cost = chosen.updates

    def __repr__(self) -> str:
        return f"AdditivePerturbation(target={self._target}, {self.settings})"

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Effect of the class: what the mask takes away."""
        with differentiating(self._model, images) as leaves:
            points = leaves.detach()
            mask = torch.zeros_like(points, requires_grad=True)
            adam = torch.optim.Adam([mask], lr=self.settings.learning_rate)
            for _ in range(self.settings.updates):
                (mask.grad,) = torch.autograd.grad(self.objective(points, mask).sum(), mask)
                adam.step()
            mask = mask.detach()
        if not mask.isfinite().all():
            raise DivergenceError(
                "the mask must stay finite: it did not; check the classifier's output on the images"
            )
        return effect_map(images, baseline_image(images, mask))

    def objective(self, images: Images, mask: Images) -> Scores:
        """Eq. 5 for each image: class probability, size and roughness of the mask."""
        weights = self.settings
        variation = sum(per_sample_sum(d.abs() ** weights.exponent) for d in forward_differences(mask))
        size = per_sample_sum(mask.abs())
        probability = self._probability(baseline_image(images, mask))
        return probability + weights.map_weight * size + weights.variation_weight * variation

    def _probability(self, images: Images) -> Scores:
        logits = require_logits(self._model(images), len(images), self._target)
        return class_column(class_probabilities(logits), self._target)
