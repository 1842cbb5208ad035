"""Tensor axes by name; no other module uses axis numbers.

Tensors are ``(batch, channel, *space)``. Reductions over all but the batch are where this field's codes go wrong most
often (a norm over one image axis instead of the whole image): the tests compare them with loops over samples.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vagan.types import Images, Scores

BATCH, CHANNEL, FIRST_SPATIAL = 0, 1, 2
Members = Float[Tensor, "member batch channel *space"]  #: Maps of the same images by several models.


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


def largest_axial_slice(
    images: Images, evidence: Images
) -> tuple[Float[Tensor, "batch channel *shown"], Float[Tensor, "batch channel *shown"]]:
    """Of each volume of both the slice, normal to the last axis, where the evidence is largest; 2-D as they are."""
    if num_spatial_dims(images) < 3:
        return images, evidence
    places = evidence.abs().flatten(1, -2).sum(dim=1).argmax(dim=-1).reshape(-1, 1, 1, 1, 1)
    return images.take_along_dim(places, dim=-1), evidence.take_along_dim(places, dim=-1)


def norm_along_one_axis(tensor: Images) -> Float[Tensor, "batch channel *rest"]:
    """Norm over one axis, for the ``one-axis`` gradient penalty alone: what the authors' public code computes."""
    return torch.linalg.vector_norm(tensor, dim=FIRST_SPATIAL)


def spatial_mean(features: Images) -> Float[Tensor, "batch channel"]:
    """Mean over the spatial axes of each feature map."""
    return features.flatten(FIRST_SPATIAL).mean(dim=FIRST_SPATIAL)


def expand_over_space(
    values: Float[Tensor, "batch channel"], features: Float[Tensor, "batch channel *space"]
) -> Float[Tensor, "batch channel *ones"]:
    """One number for each feature map, with as many spatial axes of extent one as the features have."""
    return values.reshape(*values.shape, *[1] * num_spatial_dims(features))


def mirrored(images: Images, chosen: Bool[np.ndarray, " batch"], axis: int) -> Images:
    """The same images, the chosen ones mirrored along a spatial axis."""
    images = images.clone()
    images[torch.from_numpy(chosen)] = images[torch.from_numpy(chosen)].flip(FIRST_SPATIAL + axis)
    return images


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


def central_differences(images: Images) -> list[Images]:
    """Slope at each pixel along each spatial axis, one tensor an axis; one-sided at the border."""
    return list(torch.gradient(images, dim=list(range(FIRST_SPATIAL, images.ndim))))


def matrices_of(columns: list[Float[Tensor, "batch dims *space"]]) -> Float[Tensor, "batch *space dims dims"]:
    """One matrix a pixel, of which ``columns[j]`` holds column j along its channels."""
    return torch.stack([column.movedim(CHANNEL, -1) for column in columns], dim=-1)


def split_channels(images: Float[Tensor, "batch _ *space"], *counts: int) -> tuple[Tensor, ...]:
    """Undo `concatenate_channels`."""
    return images.split(list(counts), dim=CHANNEL)


def first_channels(tensor: Float[Tensor, "batch _ *space"], count: int) -> Float[Tensor, "batch _ *space"]:
    """The first feature maps, or numbers of each row."""
    return tensor.narrow(CHANNEL, 0, count)


def as_channel(values: Float[Tensor, "batch *space"]) -> Float[Tensor, "batch 1 *space"]:
    """One number a pixel as the only channel of an image."""
    return values.unsqueeze(CHANNEL)


def identity_grid(images: Images) -> Float[Tensor, "1 dims *space"]:
    """Each pixel's own indices; component i runs along spatial axis i."""
    extents = [torch.arange(extent, dtype=images.dtype, device=images.device) for extent in spatial_shape(images)]
    return torch.stack(torch.meshgrid(*extents, indexing="ij"))[None]


def transform_coordinates(
    coordinates: Float[Tensor, "1 dims *space"], matrix: Float[Tensor, "dims dims"], offset: Float[Tensor, " dims"]
) -> Float[Tensor, "1 dims *space"]:
    """Take each point ``p`` to ``matrix @ p + offset``."""
    moved = torch.einsum("ij,bj...->bi...", matrix.to(coordinates), coordinates)
    return moved + expand_over_space(offset.to(coordinates)[None], coordinates)


def sample_linear(
    images: Images, coordinates: Float[Tensor, "_ dims *space"], *, outside: Literal["zeros", "border"]
) -> Images:
    """Values at points between the pixels, interpolated linearly; coordinates as in `identity_grid`.

    Beyond the outermost pixels lie zeros, or the nearest pixel's value.
    """
    extents = torch.tensor(spatial_shape(images), dtype=coordinates.dtype, device=coordinates.device)
    coordinates = coordinates.movedim(CHANNEL, -1)
    # torch wants the image to span -1 to 1, and the last axis first
    grid = ((2 * coordinates + 1) / extents - 1).flip(-1).expand(images.shape[BATCH], *[-1] * (images.ndim - 1))
    return torch.nn.functional.grid_sample(images, grid, mode="bilinear", padding_mode=outside, align_corners=False)


def concatenate_channels(*tensors: Float[Tensor, "batch _ *space"]) -> Float[Tensor, "batch _ *space"]:
    """Join feature maps of equal batch and space."""
    return torch.cat(tensors, dim=CHANNEL)


def concatenate_batches(*tensors: Float[Tensor, "_ channel *space"]) -> Float[Tensor, "_ channel *space"]:
    """Join images of equal channel and space."""
    return torch.cat(tensors, dim=BATCH)


def stack_members(*maps: Images) -> Members:
    """Maps of the same images by several methods, one after the other along a new first axis."""
    return torch.stack(maps, dim=0)


def member_mean(members: Members) -> Images:
    """Mean over members."""
    return members.mean(dim=0)


def member_std(members: Members) -> Images:
    """Standard deviation over members, of a sample."""
    return members.std(dim=0, correction=1)


def channels_last(num_dims: int) -> torch.memory_format:
    """Memory layout with the channels of a pixel side by side; the fast one for convolutions."""
    return torch.channels_last if num_dims == 2 else torch.channels_last_3d


def pad_to_multiple(images: Images, multiple: int) -> Float[Tensor, "batch channel *padded"]:
    """Repeat the border at the far end of each spatial axis until its extent is a multiple; `crop_to` undoes it."""
    padding: list[int] = []
    for extent in reversed(spatial_shape(images)):  # torch pads from the last axis backwards
        padding += [0, (extent + multiple - 1) // multiple * multiple - extent]
    return torch.nn.functional.pad(images, padding, mode="replicate") if any(padding) else images


def crop_to(images: Images, shape: tuple[int, ...]) -> Float[Tensor, "batch channel *cropped"]:
    """Keep the first ``shape`` pixels of the spatial axes."""
    return images[(slice(None),) * FIRST_SPATIAL + tuple(map(slice, shape))]


def block_means(images: Images, edge: int) -> Float[Tensor, "batch channel *reduced"]:
    """Mean over blocks of ``edge`` pixels along each axis; the last ones are filled by repeating the border."""
    pool = {2: torch.nn.functional.avg_pool2d, 3: torch.nn.functional.avg_pool3d}[num_spatial_dims(images)]
    return pool(pad_to_multiple(images, edge), edge)


def repeat_blocks(images: Images, edge: int) -> Float[Tensor, "batch channel *enlarged"]:
    """Each pixel as a block of ``edge`` pixels along each axis; `block_means` undoes it."""
    return torch.nn.functional.interpolate(images, scale_factor=edge, mode="nearest")


def space_to_depth(images: Images, edge: int) -> Float[Tensor, "batch _ *reduced"]:
    """Each block of ``edge`` pixels along each axis as the channels of one pixel; extents must be multiples of it."""
    dims = num_spatial_dims(images)
    split = (length for extent in spatial_shape(images) for length in (extent // edge, edge))
    blocks = images.reshape(*images.shape[:FIRST_SPATIAL], *split)
    outer, inner = (range(FIRST_SPATIAL + first, FIRST_SPATIAL + 2 * dims, 2) for first in (0, 1))
    return blocks.permute(BATCH, CHANNEL, *inner, *outer).flatten(CHANNEL, CHANNEL + dims)


def depth_to_space(features: Images, edge: int) -> Float[Tensor, "batch _ *enlarged"]:
    """Channels of one pixel as a block of ``edge`` pixels along each axis; undoes `space_to_depth`."""
    dims, extents = num_spatial_dims(features), spatial_shape(features)
    blocks = features.unflatten(CHANNEL, (-1, *[edge] * dims))
    inner, outer = (range(FIRST_SPATIAL + first, FIRST_SPATIAL + first + dims) for first in (0, dims))
    order = [axis for pair in zip(outer, inner, strict=True) for axis in pair]
    return blocks.permute(BATCH, CHANNEL, *order).reshape(
        features.shape[BATCH], -1, *(edge * extent for extent in extents)
    )


def binomial_filter(images: Images) -> Images:
    """Weights 1/4, 1/2 and 1/4 of the neighbours along each axis; the border is repeated."""
    for axis in range(FIRST_SPATIAL, images.ndim):
        count = images.shape[axis]
        first, last = images.narrow(axis, 0, 1), images.narrow(axis, count - 1, 1)
        wide = torch.cat([first, images, last], dim=axis)
        images = 0.5 * images + 0.25 * (wide.narrow(axis, 0, count) + wide.narrow(axis, 2, count))
    return images


def resize_linear(images: Images, shape: tuple[int, ...]) -> Float[Tensor, "batch channel *resized"]:
    """Interpolate linearly to another spatial shape; both cover the same field of view."""
    mode = {2: "bilinear", 3: "trilinear"}[num_spatial_dims(images)]
    return torch.nn.functional.interpolate(images, shape, mode=mode, align_corners=False)
