"""Regions affected by the disease, from MNI coordinates and tissue.

A region is a tube along a line of MNI coordinates, as far as it holds the tissue of the region; the left side
mirrors the right. On the MNI152 template the hippocampi overlap with those of the JHU atlas as well (Dice 0.65 and
0.70) as the atlas' left one with its right one (0.61).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from vagan.geometry import Grid
from vagan.simulation.fields import spacing_of

Tissue = Literal["csf", "grey", "brain"]
Number = int | float
Masks = Mapping[str, NDArray[np.bool_]]

REGIONS = tuple(f"{part}_{side}" for part in ("hippocampus", "ventricle", "temporal") for side in ("left", "right"))


def part_of(region: str) -> str:
    """The part of the brain that a region is the left or right one of."""
    return region.split("_", maxsplit=1)[0]


@dataclass(frozen=True)
class Tube:
    """All within a radius of a line."""

    line: tuple[tuple[Number, Number, Number, Number], ...]
    """``(x, y, z, radius)`` of its corners on the right side, in mm."""
    flat: float = 1.0
    """By how much it is flatter from top to bottom than it is wide."""

    def contains(self, grid: Grid, side: str) -> NDArray[np.bool_]:
        """Points of the grid in the tube, on one side of the brain."""
        corners = np.array(self.line, float) * (1 if side == "right" else -1, 1, 1, 1)
        radius = corners[:, 3].max()
        box = _box(grid, corners[:, :3].min(0) - radius, corners[:, :3].max(0) + radius)
        x, y, z = (axis[box] for axis in np.broadcast_arrays(*_coordinates(grid)))
        coordinates, weights = [x, y, z * self.flat], np.array([1, 1, self.flat])
        inside = np.zeros(grid.shape, bool)
        for begin, end in pairwise(corners):
            start, along = begin[:3] * weights, (end - begin)[:3] * weights
            offsets = [place - origin for place, origin in zip(coordinates, start, strict=True)]
            fraction = (_dot(offsets, along) / _dot(along, along)).clip(0, 1)
            gaps = [offset - fraction * step for offset, step in zip(offsets, along, strict=True)]
            inside[box] |= _dot(gaps, gaps) < (begin[3] + fraction * (end[3] - begin[3])) ** 2
        inside[box] &= x * corners[0, 0] > 0
        return inside


# from the head to the tail
HIPPOCAMPUS = Tube(
    (
        (23, -6, -27, 4),
        (26, -9, -23.5, 7),
        (27.5, -14, -20, 8),
        (30, -20, -16.5, 7.5),
        (31.8, -26, -12.3, 6.5),
        (30.8, -33, -6.5, 6),
        (27, -39, -0.5, 5.5),
        (23.5, -41.5, 2, 3.5),
    ),
    flat=1.5,
)

# frontal horn, body, atrium, occipital horn; and the temporal horn
VENTRICLE = Tube(
    (
        (13, 32, 2, 7),
        (11, 20, 8, 8),
        (9, 8, 15, 10),
        (10, -8, 20, 10),
        (13, -22, 22, 9),
        (20, -36, 18, 10),
        (27, -43, 10, 11),
        (27, -56, 8, 8),
        (25, -70, 6, 6),
    )
)
TEMPORAL_HORN = Tube(((27, -43, 8, 9), (34, -36, -4, 6), (36, -24, -13, 5), (33, -12, -20, 5)))

# inferior and middle temporal gyri and the fusiform gyrus, from the pole to the back
TEMPORAL_LOBE = Tube(
    ((38, 10, -36, 13), (48, -4, -30, 16), (52, -20, -23, 16), (52, -36, -17, 15), (48, -48, -14, 11)), flat=1.2
)

PARTS: dict[str, tuple[tuple[Tube, ...], Tissue]] = {
    "hippocampus": ((HIPPOCAMPUS,), "grey"),
    "ventricle": ((VENTRICLE, TEMPORAL_HORN), "csf"),
    "temporal": ((TEMPORAL_LOBE,), "brain"),
}


def find_regions(grid: Grid, tissue: Mapping[Tissue, NDArray[np.bool_]], known: Masks | None = None) -> Masks:
    """Masks of `REGIONS` on the grid of a brain whose tissues are known; no point is in two of them.

    Regions that are ``known`` are taken from there.
    """
    regions: dict[str, NDArray[np.bool_]] = {}
    taken = np.zeros(grid.shape, bool)
    for name in REGIONS:
        part, side = name.split("_")
        tubes, kind = PARTS[part]
        if known and name in known:
            mask = known[name]
        else:
            mask = np.logical_or.reduce([tube.contains(grid, side) for tube in tubes]) & tissue[kind]
        regions[name] = mask & ~taken
        taken |= regions[name]
    return regions


HORN_MM = 3.0
HORN_BLUR_MM = 0.7
HORN_FROM, HORN_TO = np.deg2rad((-30.0, 110.0))
"""Directions from the hippocampus' middle line: 0 is to the side, 90 degrees up."""


def temporal_horns(grid: Grid, regions: Masks) -> NDArray[np.float32]:
    """The clefts of fluid at the sides and on the top of the hippocampi, 0 to 1.

    Averaging many brains blurs them away. Without them there is nothing that could widen when a hippocampus shrinks.
    """
    line = np.array(HIPPOCAMPUS.line)[::-1]  # from back to front
    x, y, z = _coordinates(grid)
    to_side = np.abs(x) - np.interp(y, line[:, 1], line[:, 0])
    upwards = z - np.interp(y, line[:, 1], line[:, 2])
    angle = np.arctan2(upwards, to_side)
    hippocampi = regions["hippocampus_left"] | regions["hippocampus_right"]
    beside = ~hippocampi & (distance_transform_edt(~hippocampi) * spacing_of(grid) < HORN_MM)
    cleft = beside & (angle > HORN_FROM) & (angle < HORN_TO)
    return gaussian_filter(cleft.astype(np.float32), HORN_BLUR_MM / spacing_of(grid))


def _coordinates(grid: Grid) -> tuple[NDArray[np.float32], ...]:
    """Of the grid's points in mm, each along its own axis."""
    axes = [start + spacing_of(grid) * np.arange(n) for start, n in zip(grid.origin_mm, grid.shape, strict=True)]
    return np.meshgrid(*[axis.astype(np.float32) for axis in axes], indexing="ij", sparse=True)


def _box(grid: Grid, low_mm: NDArray[np.float64], high_mm: NDArray[np.float64]) -> tuple[slice, ...]:
    """The grid's points between two corners, as far as there are any."""
    first, last = ((corner - grid.origin_mm) / spacing_of(grid) for corner in (low_mm, high_mm))
    return tuple(slice(max(0, int(a)), max(0, int(b) + 2)) for a, b in zip(first, last, strict=True))


def _dot(one: Iterable[Any], other: Iterable[Any]) -> Any:
    return sum(a * b for a, b in zip(one, other, strict=True))
