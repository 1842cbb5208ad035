"""Conditioning of networks on class, direction and covariates."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vagan.axes import concatenate_batches, concatenate_channels, expand_over_space

Condition = Float[Tensor, "batch condition"]
"""A row of numbers for each image."""


class FeatureModulation(nn.Module):
    """Scale and shift each feature map by functions of the condition (FiLM, Perez et al. 2018), at first by none."""

    def __init__(self, conditions: int, features: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Linear(conditions, features), nn.Linear(conditions, features)
        for dense in (self.scale, self.shift):
            nn.init.zeros_(dense.weight)
            nn.init.zeros_(dense.bias)

    def forward(self, features: Tensor, condition: Condition) -> Tensor:
        """Features of the same shape."""
        scale, shift = (expand_over_space(dense(condition), features) for dense in (self.scale, self.shift))
        return features * (1 + scale) + shift


def conditioned(network: nn.Module, *conditions: Condition | None) -> Callable[[Tensor], Tensor]:
    """A network as a function of images alone, with their condition bound; the network itself where there is none.

    Conditions are of one batch after the other; images those batches, all of them several times, or the first images.
    """
    given = [condition for condition in conditions if condition is not None]
    if not given:
        return network
    condition = concatenate_batches(*given)

    def of_images(images: Tensor) -> Tensor:
        rows = torch.arange(len(images), device=condition.device) % len(condition)
        return network(images, condition[rows].to(images.device))

    return of_images


def concat_conditions(*parts: Float[Tensor, "_ _"] | None) -> Condition | None:
    """Concatenate conditions along their width; a part of one row applies to all images, None is left out."""
    given = [part for part in parts if part is not None]
    if not given:
        return None
    count = max(map(len, given))
    return concatenate_channels(*(part[torch.arange(count) % len(part)] for part in given))
