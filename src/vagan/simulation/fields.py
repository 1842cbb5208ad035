"""Values on a lattice in mm, sampled anywhere, and smooth invertible maps as exponentials of velocities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Places = Float32[np.ndarray, "3 x y z"]
"""Points in mm, RAS+, in the arrangement of a volume."""

Vectors = Float32[np.ndarray, "3 x y z"]
"""Velocities or displacements in mm at the points of a lattice."""

Point = Sequence[int | float]
Channels = Float32[np.ndarray, "channel i j k"]
"""Values at the points of a lattice."""

SQUARINGS = 6


@dataclass(frozen=True)
class Lattice:
    """An upright box of points, the same distance apart in all directions."""

    origin_mm: tuple[float, float, float]
    """Place of the first point: the left, back, lower corner."""
    spacing_mm: float
    shape: tuple[int, int, int]

    @classmethod
    def spanning(cls, low_mm: Point, high_mm: Point, spacing_mm: float) -> "Lattice":
        """From corner to corner, the second one within a spacing."""
        low, high = np.asarray(low_mm, float), np.asarray(high_mm, float)
        shape = np.ceil((high - low) / spacing_mm).astype(int) + 1
        return cls(tuple(low.tolist()), spacing_mm, tuple(shape.tolist()))

    @classmethod
    def around(cls, center_mm: Point, spacing_mm: float, shape: Sequence[int]) -> "Lattice":
        """Of this many points, with this middle."""
        origin = np.asarray(center_mm, float) - spacing_mm * (np.array(shape) - 1) / 2
        return cls(tuple(origin.tolist()), spacing_mm, tuple(shape))  # type: ignore[arg-type]

    @property
    def affine(self) -> NDArray[np.float64]:
        """Takes the index of a point to mm."""
        affine = np.diag([*[self.spacing_mm] * 3, 1.0])
        affine[:3, 3] = self.origin_mm
        return affine

    @property
    def point_ml(self) -> float:
        """Volume that a point stands for."""
        return self.spacing_mm**3 / 1000

    def places(self) -> Places:
        """Where the points are."""
        return places_of(self.affine, self.shape)

    def sample(
        self, values: Channels, places: Places, *, outside: Literal["zeros", "border"] = "border"
    ) -> Float32[np.ndarray, "channel x y z"]:
        """Values at any places, linear between the points; beyond them zero, or what the border has."""
        scale = 2 / (self.spacing_mm * (np.array(self.shape) - 1))
        axes = zip(places, self.origin_mm, scale, strict=True)
        relative = np.stack([(place - np.float32(origin)) * np.float32(step) - 1 for place, origin, step in axes])
        grid = torch.from_numpy(np.ascontiguousarray(np.moveaxis(relative[::-1], 0, -1)))
        sampled = torch.nn.functional.grid_sample(
            torch.from_numpy(np.ascontiguousarray(values))[None], grid[None], padding_mode=outside, align_corners=True
        )
        return sampled[0].numpy()


def places_of(affine: NDArray[np.float64], shape: Sequence[int]) -> Places:
    """Places of the voxels of any grid: ``affine`` takes an index to mm."""
    axes = [np.arange(extent, dtype=np.float32) for extent in shape]
    i, j, k = np.meshgrid(*axes, indexing="ij", sparse=True)
    rows = affine[:3].astype(np.float32)
    return np.stack([row[0] * i + row[1] * j + row[2] * k + row[3] for row in rows])


@dataclass(frozen=True)
class Deformation:
    """The map ``x -> x + u(x)``; ``u`` is given on a lattice.

    Images are pulled back: the deformed image at ``x`` is the image at ``x + u(x)``. Where the map spreads points
    apart, the deformed image shows things smaller.
    """

    lattice: Lattice
    displacement_mm: Vectors
    outside: Literal["zeros", "border"] = "zeros"
    """Displacement beyond the lattice."""

    def __call__(self, places: Places) -> Places:
        """Where the map takes these places."""
        return places + self.lattice.sample(self.displacement_mm, places, outside=self.outside)

    def jacobian(self) -> Float32[np.ndarray, "x y z"]:
        """Determinant of the map's derivative at the lattice's points: above 0 means no folds."""
        rows = [np.stack(np.gradient(part, self.lattice.spacing_mm)) for part in self.displacement_mm]
        derivative = np.moveaxis(np.stack(rows), (0, 1), (-2, -1)) + np.eye(3)
        return np.linalg.det(derivative).astype(np.float32)


def exponential(
    velocity_mm: Vectors, lattice: Lattice, *, outside: Literal["zeros", "border"] = "zeros"
) -> Deformation:
    """Flow along a velocity for one unit of time, by scaling and squaring (Arsigny et al., MICCAI 2006).

    The flow along the negative velocity is the inverse map.
    """
    places = lattice.places()
    displacement = velocity_mm / np.float32(2**SQUARINGS)
    for _ in range(SQUARINGS):
        displacement = displacement + lattice.sample(displacement, places + displacement, outside=outside)
    return Deformation(lattice, displacement, outside)


def smooth_noise(rng: np.random.Generator, shape: Sequence[int], sigma_vox: float) -> NDArray[np.float32]:
    """Gaussian noise of standard deviation 1, correlated over ``sigma_vox``; opposite faces of the box join."""
    noise = gaussian_filter(rng.standard_normal(tuple(shape), dtype=np.float32), sigma_vox, mode="wrap")
    # of blurred white noise; as long as the kernel fits into the box
    expected = (2 * np.sqrt(np.pi) * sigma_vox) ** (-len(shape) / 2)
    return noise / np.float32(expected)
