"""Smooth, invertible deformations of images: from a network's raw output to displacement and change of volume.

A field has one component for each spatial axis, in pixels. The displacement ``u`` maps places ``p`` to ``p + u(p)``,
and an image that is warped by it shows at ``p`` what was at ``p + u(p)``. The network gives a velocity; following it
for a unit of time never folds space, and following it backwards undoes the deformation (Arsigny et al., MICCAI 2006;
integrated on a coarser grid as in VoxelMorph, Dalca et al. 2019).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from vagan.axes import (
    as_channel,
    block_means,
    central_differences,
    crop_to,
    forward_differences,
    matrices_of,
    pixel_places,
    resize_linear,
    sample_linear,
    spatial_shape,
)
from vagan.types import Images, Scalar

Field = Float[Tensor, "batch dims *space"]

BACKGROUND = -1.0
"""Intensity beyond the border of prepared images."""
BLOCK = 2
"""Fields are smooth: one vector for this many pixels along each axis says all, for an eighth of the work in 3-D."""
SQUARINGS = 6
SMALLEST_RATIO = 1e-3
"""Volume ratios below are reported as this: on a grid, a very strong shrinkage can come out as none or less."""


def velocity(raw: Field) -> Float[Tensor, "batch dims *reduced"]:
    """Velocity on the coarse grid, in pixels of the fine one for each unit of time."""
    return block_means(raw, BLOCK)


def follow(coarse: Float[Tensor, "batch dims *reduced"], shape: tuple[int, ...]) -> Field:
    """Displacement after a unit of time, on a grid of this shape: scaling and squaring.

    Half of the time, done twice, is the whole: ``u <- u + u(p + u)``, beginning with a time so short that
    displacement and velocity are the same.
    """
    moved = coarse * (0.5**SQUARINGS / BLOCK)
    places = pixel_places(coarse)
    for _ in range(SQUARINGS):
        moved = moved + sample_linear(moved, places + moved, outside="border")
    padded = tuple(BLOCK * extent for extent in spatial_shape(coarse))
    return crop_to(resize_linear(BLOCK * moved, padded), shape)


def warp(images: Images, displacement: Field) -> Images:
    """Show at ``p`` what is at ``p + u(p)``; beyond the border is background. Where u = 0, exactly the same image."""
    above = images - BACKGROUND
    places = pixel_places(images)
    moved = sample_linear(above, places + displacement, outside="zeros")
    # not `moved` itself: in the difference the rounding of places cancels
    return images + (moved - sample_linear(above, places, outside="zeros"))


def log_volume_ratio(displacement: Field) -> Float[Tensor, "batch 1 *space"]:
    """Log-Jacobian: logarithm of the volume of a place's image under ``p -> p + u(p)`` over its own volume.

    The same in pixels and in mm, whatever the spacing.
    """
    slopes = matrices_of(central_differences(displacement))
    ratios = torch.linalg.det(slopes + torch.eye(slopes.shape[-1], dtype=slopes.dtype, device=slopes.device))
    return as_channel(ratios.clamp(min=SMALLEST_RATIO).log())


def movement(coarse: Float[Tensor, "batch dims *reduced"]) -> Scalar:
    """Mean absolute component of the velocity, in pixels of the fine grid; a shift of the whole image costs most."""
    return coarse.abs().mean()


def roughness(coarse: Float[Tensor, "batch dims *reduced"]) -> Scalar:
    """Mean square of the velocity's slopes, all components along all axes: 0 for a shift of the whole image."""
    slopes = [difference.square().mean() for difference in forward_differences(coarse / BLOCK)]
    return torch.stack(slopes).mean()
