"""What networks are told about an image besides its pixels, such as which class of interest it is of."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vagan.axes import expand_over_space

Condition = Float[Tensor, "batch condition"]
"""A row of numbers for each image."""


class FeatureModulation(nn.Module):
    """Scale and shift each feature map by what is known of the image (FiLM, Perez et al. 2018).

    Starts as the identity.

    Parameters
    ----------
    conditions
        Numbers that are known of each image.
    features
        Feature maps.
    """

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


def told(network: nn.Module, condition: Condition | None) -> Callable[[Tensor], Tensor]:
    """A network as a function of images alone, after it was told their condition; as it is where there is none.

    Parameters
    ----------
    network
        Called with images and condition.
    condition
        Of a batch. Images may be that batch, several such batches one after the other, or the first of one.
    """
    if condition is None:
        return network

    def of_images(images: Tensor) -> Tensor:
        places = torch.arange(len(images), device=condition.device) % len(condition)
        return network(images, condition[places].to(images.device))

    return of_images
