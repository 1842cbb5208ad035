"""Convolution, pooling and batch norm for any number of spatial axes, and the paper's initialisation."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils.checkpoint import checkpoint

from vagan.axes import expand_over_space, spatial_mean
from vagan.nn.fast_double_backward import Conv2d, Conv3d

Layer = TypeVar("Layer", _ConvNd, nn.Linear)
_CONV = {2: Conv2d, 3: Conv3d}
_CONV_TRANSPOSE = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_MAX_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
PAPER_MOMENTUM = 0.01
"""Weight of the newest batch in the running statistics; TensorFlow calls this a momentum of 0.99."""
BATCH_NORM_EPS = 1e-3
"""The paper's."""


def conv(num_spatial_dims: int, inputs: int, outputs: int, *, kernel: int = 3, bias: bool = True) -> _ConvNd:
    """Convolution of stride 1 that keeps the spatial shape; He-normal weights, zero bias."""
    layer = _CONV[num_spatial_dims](inputs, outputs, kernel, padding=kernel // 2, bias=bias)
    return he_normal(layer, inputs * kernel**num_spatial_dims)


def conv_transpose(num_spatial_dims: int, inputs: int, outputs: int, *, bias: bool = True) -> _ConvNd:
    """Transposed convolution, kernel 4, stride 2: doubles every spatial extent."""
    layer = _CONV_TRANSPOSE[num_spatial_dims](inputs, outputs, 4, stride=2, padding=1, bias=bias)
    # stride 2 spreads each input over 4 ** n outputs but an output sees only 2 ** n of the kernel's taps
    return he_normal(layer, inputs * 2**num_spatial_dims)


def max_pool(num_spatial_dims: int) -> nn.Module:
    """Maximum over non-overlapping windows of two pixels along each axis."""
    return _MAX_POOL[num_spatial_dims](2)


class GlobalContext(nn.Module):
    """Add to each feature map, everywhere, a number that depends on all means (ParseNet, Liu et al. 2016)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.dense = nn.Linear(features, features)
        nn.init.normal_(self.dense.weight, std=features**-0.5)
        nn.init.zeros_(self.dense.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        return features + expand_over_space(self.dense(spatial_mean(features)), features)


def conv_block(
    num_spatial_dims: int,
    inputs: int,
    outputs: int,
    *,
    batch_norm: bool = True,
    momentum: float = PAPER_MOMENTUM,
    up: bool = False,
) -> nn.Sequential:
    """Convolution (transposed if ``up``), optional batch norm, and ReLU as a module, which methods can hook."""
    layer = conv_transpose if up else conv
    layers: list[nn.Module] = [layer(num_spatial_dims, inputs, outputs, bias=not batch_norm)]
    if batch_norm:
        layers.append(_BATCH_NORM[num_spatial_dims](outputs, eps=BATCH_NORM_EPS, momentum=momentum))
    return nn.Sequential(*layers, nn.ReLU())


def conv_levels(
    num_spatial_dims: int,
    inputs: int,
    width: int,
    *,
    max_width: int | None = None,
    first: int = 0,
    poolings: int = 4,
    batch_norm: bool = True,
    momentum: float = PAPER_MOMENTUM,
) -> list[list[nn.Module]]:
    """Layers of the critic and of the classifiers: 1, 1, 2, 2 and 3 convolutions, of twice as many maps each time.

    Levels before ``first`` are left out. The first ``poolings`` of the rest end in a `max_pool`; the last level has
    ``2 ** (4 - first) * width`` maps, or ``max_width``, if that is less.
    """
    levels: list[list[nn.Module]] = []
    for level, convolutions in enumerate((1, 1, 2, 2, 3)[first:]):
        outputs = width * 2**level if max_width is None else min(width * 2**level, max_width)
        blocks: list[nn.Module] = []
        for _ in range(convolutions):
            blocks.append(conv_block(num_spatial_dims, inputs, outputs, batch_norm=batch_norm, momentum=momentum))
            inputs = outputs
        levels.append([*blocks, max_pool(num_spatial_dims)] if level < poolings else blocks)
    return levels


def recomputed(block: nn.Module, features: Tensor, *more: Tensor) -> Tensor:
    """Apply a block, but keep nothing of what happens inside: it happens again when derivatives are taken.

    Running statistics count a batch once, though it passes twice.
    """
    if not torch.is_grad_enabled():
        return block(features, *more)
    return checkpoint(
        block,
        features,
        *more,
        use_reentrant=False,
        preserve_rng_state=False,  # nothing in the networks is random
        context_fn=lambda: (nullcontext(), FrozenStatistics(block)),
    )


@contextmanager
def measuring_statistics(network: nn.Module) -> Iterator[None]:
    """Passes inside this block give batch norm new statistics: the plain means over them, without derivatives.

    Like `torch.optim.swa_utils.update_bn`, but for networks that take more than images.
    """
    norms = [part for part in network.modules() if isinstance(part, _BatchNorm)]
    momenta, mode = [norm.momentum for norm in norms], network.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # all passes count alike
    network.train()
    try:
        with torch.no_grad():
            yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.train(mode)


class FrozenStatistics:
    """Passes inside this context leave running statistics as they are; it may be entered again and again."""

    def __init__(self, block: nn.Module) -> None:
        self._norms = [part for part in block.modules() if isinstance(part, _BatchNorm) and part.training]

    def __enter__(self) -> None:
        self._before = [(norm.momentum, norm.num_batches_tracked) for norm in self._norms]
        for norm in self._norms:
            norm.momentum = 0.0  # the batch counts for nothing
            norm.num_batches_tracked = None

    def __exit__(self, *_: object) -> None:
        for norm, (momentum, count) in zip(self._norms, self._before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def he_normal(layer: Layer, fan_in: int) -> Layer:
    """Give a layer He-normal weights and a bias of zero."""
    nn.init.normal_(layer.weight, std=(2 / fan_in) ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
