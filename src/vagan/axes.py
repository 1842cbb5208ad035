"""The only place that spells tensor axes.

Tensors are ``(batch, channel, *space)``. Reductions over "everything but the batch" are where this
field's codes go wrong most often (a norm over one image axis instead of the whole image), so they are
written once, here, and compared with loops over samples in the tests.
"""

from types import EllipsisType

import torch
from jaxtyping import Float
from torch import Tensor

from vagan.types import Images, Scores

BATCH, CHANNEL, FIRST_SPATIAL = 0, 1, 2


def num_spatial_dims(images: Images) -> int:
    """Number of spatial axes, e.g. 2 for ``(batch, channel, height, width)``."""
    return images.ndim - FIRST_SPATIAL


def num_channels(images: Images) -> int:
    """Extent of the channel axis."""
    return images.shape[CHANNEL]


def spatial_shape(images: Images) -> tuple[int, ...]:
    """Extent of the spatial axes."""
    return tuple(images.shape[FIRST_SPATIAL:])


def per_sample_norm(tensor: Float[Tensor, "batch *rest"]) -> Scores:
    """Euclidean norm over all axes but the batch."""
    return torch.linalg.vector_norm(tensor.flatten(CHANNEL), dim=CHANNEL)


def per_sample_mean(tensor: Float[Tensor, "batch *rest"]) -> Scores:
    """Mean over all axes but the batch."""
    return tensor.flatten(CHANNEL).mean(dim=CHANNEL)


def per_sample_sum(tensor: Float[Tensor, "batch *rest"]) -> Scores:
    """Sum over all axes but the batch."""
    return tensor.flatten(CHANNEL).sum(dim=CHANNEL)


def expand_like(scores: Scores, tensor: Float[Tensor, "batch *rest"]) -> Float[Tensor, "batch *ones"]:
    """One number per sample, shaped so that it broadcasts against ``tensor``."""
    return scores.reshape(-1, *[1] * (tensor.ndim - 1))


def norm_along_first_spatial_axis(tensor: Images) -> Float[Tensor, "batch channel *rest"]:
    """Euclidean norm over the first spatial axis alone.

    Only the ``one-axis`` gradient penalty wants this: it is what the authors' public code computes.
    """
    return torch.linalg.vector_norm(tensor, dim=FIRST_SPATIAL)


def spatial_mean(features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel"]:
    """Mean over the spatial axes of each feature map."""
    return features.flatten(FIRST_SPATIAL).mean(dim=FIRST_SPATIAL)


def expand_over_space(
    values: Float[Tensor, "batch channel"], features: Float[Tensor, "batch channel *space"]
) -> Float[Tensor, "batch channel *ones"]:
    """One number for each feature map, with as many spatial axes of extent one as the features have."""
    return values.reshape(*values.shape, *[1] * num_spatial_dims(features))


def batch_mean(images: Images) -> Float[Tensor, "1 channel *space"]:
    """Mean image of a batch, kept as a batch of one."""
    return images.mean(dim=BATCH, keepdim=True)


def weighted_channel_sum(
    features: Float[Tensor, "batch channel *space"], weights: Float[Tensor, "batch channel"]
) -> Float[Tensor, "batch 1 *space"]:
    """Sum of the feature maps of each sample, each with its weight; the channel axis stays, with extent one."""
    return (features * expand_over_space(weights, features)).sum(dim=CHANNEL, keepdim=True)


def class_column(logits: Float[Tensor, "batch classes"], index: int) -> Scores:
    """Logits of one class."""
    return logits.select(CHANNEL, index)


def class_probabilities(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
    """Softmax over the classes of each sample."""
    return logits.softmax(CHANNEL)


def forward_differences(images: Images) -> list[Float[Tensor, "batch channel *shorter"]]:
    """Differences between neighbours along each spatial axis, one tensor an axis, shorter by one along it."""
    return [images.diff(dim=axis) for axis in range(FIRST_SPATIAL, images.ndim)]


def concatenate_channels(*tensors: Float[Tensor, "batch _ *space"]) -> Float[Tensor, "batch _ *space"]:
    """Join feature maps of equal batch and space."""
    return torch.cat(tensors, dim=CHANNEL)


def concatenate_batches(*tensors: Float[Tensor, "_ channel *space"]) -> Float[Tensor, "_ channel *space"]:
    """Join images of equal channel and space."""
    return torch.cat(tensors, dim=BATCH)


def channels_last(num_dims: int) -> torch.memory_format:
    """Memory layout with the channels of a pixel side by side; the fast one for convolutions."""
    return torch.channels_last if num_dims == 2 else torch.channels_last_3d


def pad_to_multiple(images: Images, multiple: int) -> Float[Tensor, "batch channel *padded"]:
    """Repeat the border at the far end of each spatial axis until its extent is a multiple.

    See Also
    --------
    crop_to : undoes it.
    """
    padding: list[int] = []
    for extent in reversed(spatial_shape(images)):  # torch pads from the last axis backwards
        padding += [0, -extent % multiple]
    return torch.nn.functional.pad(images, padding, mode="replicate") if any(padding) else images


def crop_to(images: Images, shape: tuple[int, ...]) -> Float[Tensor, "batch channel *cropped"]:
    """Keep the first ``shape`` pixels of the spatial axes."""
    keep: tuple[slice | EllipsisType, ...] = (..., *(slice(extent) for extent in shape))
    return images[keep]


def resize_linear(images: Images, shape: tuple[int, ...]) -> Float[Tensor, "batch channel *resized"]:
    """Interpolate linearly to another spatial shape; both cover the same field of view."""
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[num_spatial_dims(images)]
    return torch.nn.functional.interpolate(images, shape, mode=mode, align_corners=False)
