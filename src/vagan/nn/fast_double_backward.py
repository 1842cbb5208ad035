"""Convolutions of stride 1 whose second derivatives, which the gradient penalty needs, are fast on NVIDIA GPUs too.

A convolution's derivative by its input has a derivative by the weights, and PyTorch takes that one as a convolution
with the image for a kernel. cuDNN has no fast one with kernels so large: in volumes it takes several times as long as
all the rest of a critic's update. Written as a transposed convolution, the derivative by the input has an ordinary
derivative of its own.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

_CONVOLVE = {2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def detours(images: Tensor) -> bool:
    """Whether these images are better convolved by way of `_Convolve`; on the CPU PyTorch's own way is faster."""
    return images.is_cuda


class Conv2d(nn.Conv2d):
    """PyTorch's, with stride 1."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolved(self, input, weight, bias) if detours(input) else super()._conv_forward(input, weight, bias)


class Conv3d(nn.Conv3d):
    """PyTorch's, with stride 1."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolved(self, input, weight, bias) if detours(input) else super()._conv_forward(input, weight, bias)


def _convolved(layer: _ConvNd, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    kind = images.device.type
    if torch.is_autocast_enabled(kind):  # it would look into the convolution, but not into its derivatives
        images, weight = (tensor.to(torch.get_autocast_dtype(kind)) for tensor in (images, weight))
    with torch.autocast(kind, enabled=False):
        features = _Convolve.apply(images, weight, int(layer.padding[0]))
        return features if bias is None else features + bias.to(features.dtype).view(1, -1, *[1] * (images.ndim - 2))


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, images: Tensor, weight: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.padding = padding  # type: ignore[attr-defined]
        return _CONVOLVE[images.ndim - 2](images, weight, padding=padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (gradient,), (images, weight) = gradients, ctx.saved_tensors
        dims = images.ndim - 2
        by_images = by_weight = None
        if ctx.needs_input_grad[0]:
            by_images = _TRANSPOSED[dims](gradient, weight, padding=ctx.padding)
        if ctx.needs_input_grad[1]:
            ones, padding, zeros = [1] * dims, [ctx.padding] * dims, [0] * dims
            _, by_weight, _ = torch.ops.aten.convolution_backward(
                gradient, images, weight, None, ones, padding, ones, False, zeros, 1, [False, True, False]
            )
        return by_images, by_weight, None
