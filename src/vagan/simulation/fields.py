"""Scalar and vector fields sampled on grids, and flows of velocity fields."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from vagan.deformation import scaling_and_squaring
from vagan.geometry import Coordinates, Grid

Vectors = Float32[np.ndarray, "3 x y z"]  # velocities or displacements in mm at the voxels of a grid
Channels = Float32[np.ndarray, "channel i j k"]  # values at the voxels of a grid
Image = Float32[np.ndarray, "x y z"]
Outside = Literal["zeros", "border"]


def spacing_of(grid: Grid) -> float:
    """Distance of neighbouring voxels in mm, of a grid where it is the same along all axes."""
    return float(grid.spacing_mm[0])


def sample(
    values: Channels, grid: Grid, coordinates: Coordinates, *, outside: Outside = "border"
) -> Float32[np.ndarray, "channel x y z"]:
    """Values of an upright grid at any points, linear between voxels; beyond them zero, or the border's value."""
    axes = zip(coordinates, grid.origin_mm, 2 / (grid.spacing_mm * (np.array(grid.shape) - 1)), strict=True)
    relative = np.stack([(along - np.float32(origin)) * np.float32(step) - 1 for along, origin, step in axes])
    at = torch.from_numpy(np.ascontiguousarray(np.moveaxis(relative[::-1], 0, -1)))
    sampled = torch.nn.functional.grid_sample(
        torch.from_numpy(np.ascontiguousarray(values))[None], at[None], padding_mode=outside, align_corners=True
    )
    return sampled[0].numpy()


@dataclass(frozen=True)
class Warp:
    """The map ``x -> x + u(x)``; ``u`` is given on a grid.

    The warped image at ``x`` is the image at ``x + u(x)``: smaller where the map spreads points apart.
    """

    grid: Grid
    displacement_mm: Vectors
    outside: Outside = "zeros"  # displacement beyond the grid

    def __call__(self, coordinates: Coordinates) -> Coordinates:
        """Where the map takes these points."""
        return coordinates + sample(self.displacement_mm, self.grid, coordinates, outside=self.outside)


def integrate_velocity(velocity_mm: Vectors, grid: Grid, *, outside: Outside = "zeros") -> Warp:
    """Flow along a velocity for one unit of time; the flow along the negative velocity is the inverse map."""
    coordinates = grid.coordinates()
    displacement = scaling_and_squaring(velocity_mm, lambda u: sample(u, grid, coordinates + u, outside=outside))
    return Warp(grid, displacement, outside)


def smooth_noise(rng: np.random.Generator, shape: Sequence[int], sigma_vox: float) -> NDArray[np.float32]:
    """Gaussian noise of standard deviation 1, correlated over ``sigma_vox``; opposite faces of the box join."""
    noise = gaussian_filter(rng.standard_normal(tuple(shape), dtype=np.float32), sigma_vox, mode="wrap")
    # of blurred white noise; as long as the kernel fits into the box
    return noise / np.float32((2 * np.sqrt(np.pi) * sigma_vox) ** (-len(shape) / 2))
