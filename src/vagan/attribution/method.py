"""The protocol of attribution methods, and a guard that restores the model's state."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol, runtime_checkable

import pandas as pd
import torch
from torch import Tensor, nn

from vagan.axes import class_column
from vagan.errors import ConfigError, ModelError
from vagan.types import Images, Maps, Scores

Convention = Literal["signed", "absolute", "positive"]
"""How metrics read a map: as it is, without its sign, or its positive part. Maps themselves stay raw."""

Unit = Literal["intensity", "class score", "class score per intensity", "none"]
"""Of a map's values. Intensity means that of prepared images, the class score is the logit."""

Covariates = pd.DataFrame | None
"""One row per image, or a single row for all; None where nothing is known."""


@runtime_checkable
class AttributionMethod(Protocol):
    """Anything that makes maps. Target, reference image, number of steps and the like are bound at construction."""

    @property
    def name(self) -> str:
        """Display name in tables and figures."""

    @property
    def unit(self) -> Unit:
        """Of the maps' values."""

    @property
    def convention(self) -> Convention:
        """How metrics read the maps."""

    @property
    def cost(self) -> int:
        """Approximate number of forward passes per map."""

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Maps of the images' shape: positive where the class of interest made the image brighter.

        Methods without a sign, or without one in terms of brightness, have another ``convention``. Covariates are
        ignored where the network is not conditioned on them.
        """


def require_images(images: Any) -> None:
    """Refuse what is no ``(batch, channel, *space)`` of floating-point numbers: arrays, integers, single images."""
    if not isinstance(images, Tensor) or not images.is_floating_point() or images.ndim not in (4, 5):
        kind = str(images.dtype).removeprefix("torch.") if hasattr(images, "dtype") else "no numbers"
        raise ConfigError(
            "images must be a tensor (batch, channel, *space) of floating-point numbers in [-1, 1], found a "
            f"{type(images).__name__} of {kind} of shape {tuple(getattr(images, 'shape', ()))}; convert it"
        )


@contextmanager
def preserving(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards modules' modes and what needs gradients are as before."""
    modes = [(module, module.training) for module in model.modules()]
    needed = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        model.eval()
        yield
    finally:
        for module, was_training in modes:
            module.training = was_training
        for weight, required in needed:
            weight.requires_grad_(required)


@contextmanager
def differentiating(model: nn.Module, images: Images) -> Iterator[Images]:
    """`preserving`, and a copy of the images with respect to which gradients can be taken, inside ``no_grad`` too.

    The weights need no gradients inside the block, which saves the memory of what only those would need.
    """
    require_images(images)
    with preserving(model), torch.inference_mode(False), torch.enable_grad():
        model.requires_grad_(False)
        yield images.clone().detach().requires_grad_()


def class_scores(model: nn.Module, images: Images, target: int) -> Scores:
    """Logit of the target class for each image; the images stay as they are, even if the model works in place."""
    return class_column(require_logits(model(images.clone()), len(images), target), target)


def require_logits(logits: Any, num_images: int, target: int) -> Tensor:
    """Refuse what is not logits ``(batch, class)`` of so many images, and a target that is none of the classes."""
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != num_images:
        found = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ModelError(
            f"a classifier must return logits of shape (batch, class): found {found} for {num_images} images; "
            "wrap the model so that it returns nothing else"
        )
    _, num_classes = logits.shape
    if not 0 <= target < num_classes:
        raise ModelError(f"the target must be a class from 0 to {num_classes - 1}: found {target}")
    return logits
