"""What every attribution method is: images in, maps of the same shape out, the model left as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import nn

from vagan.axes import concatenate_batches
from vagan.types import Images, Maps

Convention = Literal["signed", "absolute", "positive"]
"""How scores read a map: as it is, without its sign, or its positive part. Maps themselves stay raw."""


@runtime_checkable
class AttributionMethod(Protocol):
    """Target, baseline image, number of steps and the like are bound when a method is made."""

    name: str
    convention: Convention

    def attribute(self, images: Images) -> Maps:
        """Maps of the images' shape: positive where the class of interest made the image brighter.

        Methods that know no sign, or none in terms of brightness, say so in their ``convention``.
        """


@contextmanager
def preserving(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards modes, gradients and hooks are as before, even on an error."""
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(weights, weights.requires_grad, weights.grad) for weights in model.parameters()]
    hooks = [(registry, dict(registry)) for module in model.modules() for registry in _hook_registries(module)]
    try:
        model.eval()
        yield
    finally:
        for module, was_training in modes:
            module.training = was_training
        for weights, required, gradient in gradients:
            weights.requires_grad_(required)
            weights.grad = gradient
        for registry, entries in hooks:
            registry.clear()
            registry.update(entries)


def _hook_registries(module: nn.Module) -> list[dict[int, Any]]:
    return [
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    ]


def in_batches(method: AttributionMethod, images: Images, size: int) -> Maps:
    """Maps of many images, ``size`` at a time."""
    return concatenate_batches(*(method.attribute(part) for part in torch.split(images, size)))
