"""Voxel grids in mm, and interpolation between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, find_objects, gaussian_filter, label

Matrix = NDArray[np.float64]  #: 4x4, on homogeneous coordinates. ``a_from_b`` takes points of b to points of a.
Points = NDArray[Any] | Sequence[float] | Sequence[int]  #: One point or many, ``(..., 3)``.
Coordinates = Float32[np.ndarray, "3 x y z"]  #: Points in mm, RAS+, in the arrangement of a volume.
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  #: To the coordinates of DICOM and ITK, and back.
COARSER = 1.5  #: From this ratio of target to source spacing on, images are smoothed first, against aliasing.
SIGMA_OF_FWHM = float(1 / np.sqrt(8 * np.log(2)))


@dataclass(frozen=True)
class Grid:
    """A box of voxels in RAS+ order: ``affine`` takes a voxel's index to mm."""

    shape: tuple[int, int, int]
    affine: Matrix

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Distance of neighbouring voxels along each axis."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def origin_mm(self) -> NDArray[np.float64]:
        """Where the first voxel is."""
        return self.affine[:3, 3]

    @property
    def center_mm(self) -> NDArray[np.float64]:
        """The middle of the box."""
        return transform_points(self.affine, (np.array(self.shape) - 1) / 2)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    def box(self, low: Points, high: Points) -> "Grid":
        """The grid of voxels ``low`` to ``high`` (exclusive) of this one; both may lie outside it."""
        low, high = np.asarray(low, int), np.asarray(high, int)
        return Grid(tuple((high - low).tolist()), affine_of(self.affine[:3, :3], transform_points(self.affine, low)))

    @classmethod
    def upright(cls, shape: tuple[int, int, int], spacing_mm: float | Points, center_mm: Points) -> "Grid":
        """Axes along right, front and top, around a point."""
        spacing = np.broadcast_to(np.asarray(spacing_mm, float), 3)
        return cls(shape, affine_of(np.diag(spacing), np.asarray(center_mm) - spacing * (np.array(shape) - 1) / 2))

    @classmethod
    def spanning(cls, low_mm: Points, high_mm: Points, spacing_mm: float) -> "Grid":
        """Upright, with voxels at one corner and less than a voxel beyond the opposite one."""
        low, high = np.asarray(low_mm, float), np.asarray(high_mm, float)
        shape = np.ceil((high - low) / spacing_mm).astype(int) + 1
        return cls(tuple(shape.tolist()), affine_of(spacing_mm * np.eye(3), low))

    def coordinates(self) -> Coordinates:
        """Where each voxel is, in mm, in single precision."""
        axes = [np.arange(extent, dtype=np.float32) for extent in self.shape]
        return move(self.affine, np.meshgrid(*axes, indexing="ij", sparse=True))


def affine_of(linear: NDArray[np.float64], offset: NDArray[np.float64]) -> Matrix:
    """The matrix that takes a point ``p`` to ``linear @ p + offset``."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, offset
    return matrix


def move(matrix: Matrix, coordinates: Coordinates | Sequence[NDArray[np.float32]]) -> Coordinates:
    """Coordinates after a linear map, in single precision."""
    x, y, z = coordinates
    return np.stack([row[0] * x + row[1] * y + row[2] * z + row[3] for row in matrix[:3].astype(np.float32)])


def transform_points(matrix: Matrix, points: Points) -> NDArray[np.float64]:
    """Apply a 4x4 matrix to points ``(..., 3)``."""
    return np.asarray(points, float) @ matrix[:3, :3].T + matrix[:3, 3]


def resample(
    values: NDArray[np.float32] | NDArray[np.bool_],
    grid: Grid,
    onto: Grid,
    grid_from_onto: Matrix | None = None,
    *,
    outside: float = 0.0,
    order: Literal[0, 1, 3] = 1,
) -> NDArray[np.float32]:
    """Values of one grid at the voxels of another, and ``outside`` where it does not reach.

    ``grid_from_onto`` takes a point in mm of ``onto`` to its place in mm of ``grid``; by default to the same place.
    ``order`` is that of the interpolation: 0 nearest voxel, 1 linear, 3 cubic B-spline. Voxels that fall on voxels
    keep their values exactly. Onto a much coarser grid the values are smoothed first, by a Gaussian whose width at
    half height makes up for the difference in resolution.
    """
    voxels = np.linalg.inv(grid.affine) @ (np.eye(4) if grid_from_onto is None else grid_from_onto) @ onto.affine
    nearest = voxels.round()
    if np.abs(voxels - nearest).max() < 1e-6:  # crops, pads and flips stay exact
        voxels = nearest
    source = values.astype(np.float32, copy=False)
    steps = np.linalg.norm(voxels[:3, :3], axis=1)  # voxels of the source passed per voxel of the target
    if order and (steps > COARSER).any():
        sigma = np.where(steps > COARSER, np.sqrt(np.maximum(steps**2 - 1, 0)) * SIGMA_OF_FWHM, 0)
        source = gaussian_filter(source, sigma, mode="nearest")
    matrix, offset = voxels[:3, :3], voxels[:3, 3]
    return affine_transform(source, matrix, offset, onto.shape, order=order, mode="constant", cval=outside)


def bounds_of(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last-plus-one index of the true voxels along each axis."""
    (box,) = find_objects(mask.astype(np.uint8))
    return np.array([side.start for side in box]), np.array([side.stop for side in box])


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected piece of a mask; of an empty one nothing."""
    pieces, _ = label(mask)
    return mask & (pieces == np.bincount(pieces[mask], minlength=1).argmax())


def nearest_rigid(matrix: Matrix, keeping: Points) -> Matrix:
    """The rotation (by polar decomposition) and shift nearest to an affine, which agree with it at a point."""
    left, _, right = np.linalg.svd(matrix[:3, :3])
    rotation = left @ right
    return affine_of(rotation, transform_points(matrix, keeping) - rotation @ np.asarray(keeping, float))
