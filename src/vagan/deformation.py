"""Smooth, invertible deformations: velocity fields, displacement and volume change.

A field has one component for each spatial axis, in pixels. The displacement ``u`` maps a point ``p`` to ``p + u(p)``;
an image warped by it shows at ``p`` what was at ``p + u(p)``. The network predicts a stationary velocity field. Its
flow over a unit of time never folds space, and the flow of its negative is the inverse (Arsigny et al., MICCAI 2006;
integrated on a coarser grid as in VoxelMorph, Dalca et al. 2019).
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from vagan import axes
from vagan.constants import BACKGROUND
from vagan.types import Images, Scalar

Field = Float[Tensor, "batch dims *space"]
Vectors = TypeVar("Vectors", Tensor, NDArray[np.float32])

BLOCK = 2  #: Pixels along each axis with one vector: fields are smooth, and this is an eighth of the work in 3-D.
SQUARINGS = 6
MIN_RATIO = 1e-3
"""Volume ratios below are reported as this: on a grid, a very strong shrinkage can come out as none or less."""


def velocity(raw: Field) -> Float[Tensor, "batch dims *reduced"]:
    """Velocity on the coarse grid, in pixels of the fine one for each unit of time."""
    return axes.block_means(raw, BLOCK)


def integrate_velocity(
    coarse: Float[Tensor, "batch dims *reduced"], shape: tuple[int, ...], *, block: int = BLOCK
) -> Field:
    """Displacement after a unit of time, on a grid of this shape, which has ``block`` pixels for a vector."""
    grid = axes.identity_grid(coarse)
    moved = scaling_and_squaring(coarse / BLOCK, lambda u: axes.sample_linear(u, grid + u, outside="border"))
    if block == 1:
        return moved
    padded = tuple(block * extent for extent in axes.spatial_shape(coarse))
    return axes.crop_to(axes.resize_linear(block * moved, padded), shape)


def scaling_and_squaring(velocity: Vectors, composed: Callable[[Vectors], Vectors]) -> Vectors:
    """Displacement of the flow along a velocity over a unit of time.

    The flow over half of the time, applied twice, is the whole: ``u <- u + u(p + u)``, starting from a time so short
    that the displacement is proportional to the velocity. ``composed`` gives ``u(p + u(p))`` of a displacement ``u``.
    """
    displacement = velocity * 0.5**SQUARINGS
    for _ in range(SQUARINGS):
        displacement = displacement + composed(displacement)
    return displacement


def warp(images: Images, displacement: Field) -> Images:
    """Show at ``p`` what is at ``p + u(p)``; background beyond the border. Exactly the same image where u = 0."""
    above = images - BACKGROUND
    coordinates = axes.identity_grid(images)
    moved = axes.sample_linear(above, coordinates + displacement, outside="zeros")
    # not `moved` itself: the rounding of coordinates cancels in the difference
    return images + (moved - axes.sample_linear(above, coordinates, outside="zeros"))


def warp_posed(images: Images, coordinates: Field, displacement: Field) -> Images:
    """`warp` of images that were sampled from these at ``coordinates``, by one interpolation instead of two.

    A second one would blur what moves, and a critic would detect the blur. The border is repeated.
    """
    moved = axes.sample_linear(coordinates, axes.identity_grid(displacement) + displacement, outside="border")
    return axes.sample_linear(images, moved, outside="border")


def log_volume_ratio(displacement: Field) -> Float[Tensor, "batch 1 *space"]:
    """Log-Jacobian determinant of ``p -> p + u(p)``: local volume after over before, in pixels as in mm."""
    slopes = axes.matrices_of(axes.central_differences(displacement))
    ratios = torch.linalg.det(slopes + torch.eye(slopes.shape[-1], dtype=slopes.dtype, device=slopes.device))
    return axes.as_channel(ratios.clamp(min=MIN_RATIO).log())


def displacement_penalty(coarse: Float[Tensor, "batch dims *reduced"]) -> Scalar:
    """Mean absolute component of the velocity, in pixels of the fine grid; highest for a shift of the whole image."""
    return coarse.abs().mean()


def squared_velocity(coarse: Float[Tensor, "batch dims *reduced"]) -> Scalar:
    """Mean squared component of the velocity, in pixels of the fine grid."""
    return coarse.square().mean()


def smoothness_penalty(coarse: Float[Tensor, "batch dims *reduced"]) -> Scalar:
    """Mean squared gradient of the velocity, all components along all axes; 0 for a shift of the whole image."""
    slopes = [difference.square().mean() for difference in axes.forward_differences(coarse / BLOCK)]
    return torch.stack(slopes).mean()
