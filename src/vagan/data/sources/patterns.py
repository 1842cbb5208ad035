"""Patterns of the synthetic class of interest: binary masks in 2-D and 3-D."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Pattern = Literal["squares", "discs", "sites"]
Subtype = Literal["", "A", "B"]
Mask = NDArray[np.float32]

PAPER_EXTENT = 112
SQUARE_VOX = 20
JITTER_VOX = (-5, 4)
RING_RADIUS, RING_WIDTH = 0.36, 0.05
"""In extents of the image."""


def squares(size: tuple[int, ...], subtype: Subtype, rng: np.random.Generator) -> Mask:
    """The paper's: one square in the centre, another towards the far (A) or near (B) corner, jittered."""
    return _at_two_places(_add_square, size, subtype, rng)


def discs(size: tuple[int, ...], subtype: Subtype, rng: np.random.Generator) -> Mask:
    """Discs, or balls, in the places of the squares, and of their size in pixels."""
    return _at_two_places(_add_disc, size, subtype, rng)


def sites(size: tuple[int, ...], subtype: Subtype, rng: np.random.Generator) -> Mask:
    """Squares at three places on the diagonal, each there half of the time, at least one; subtypes are alike."""
    mask = np.zeros(size, np.float32)
    places = [[extent // 2 + part * _shift(extent) for extent in size] for part in (-1, 0, 1)]
    jitters = [_jitter(size, rng) for _ in places]
    present = np.zeros(len(places), bool)
    while subtype and not present.any():
        present = rng.random(len(places)) < 0.5
    for place, jitter, is_there in zip(places, jitters, present, strict=True):
        if is_there:
            _add_square(mask, [middle + wobble for middle, wobble in zip(place, jitter, strict=True)])
    return mask


def ring(size: tuple[int, ...]) -> Mask:
    """A soft ring, or shell, from 0 to 1, of which the off-centre square is a part: what age changes, if it does."""
    grids = np.ogrid[tuple(slice(extent) for extent in size)]
    radius = np.sqrt(sum(((grid + 0.5) / extent - 0.5) ** 2 for grid, extent in zip(grids, size, strict=True)))
    return np.exp(-0.5 * ((radius - RING_RADIUS) / RING_WIDTH) ** 2).astype(np.float32)


PATTERNS: dict[Pattern, Callable[[tuple[int, ...], Subtype, np.random.Generator], Mask]] = {
    "squares": squares,
    "discs": discs,
    "sites": sites,
}

CLASS_NAMES: dict[Pattern, str] = {"squares": "two squares", "discs": "two discs", "sites": "one to three squares"}


def _at_two_places(
    add: Callable[[Mask, list[int]], None], size: tuple[int, ...], subtype: Subtype, rng: np.random.Generator
) -> Mask:
    """A shape at the centre, and at the subtype's second place, whose jitter is drawn along each axis."""
    mask = np.zeros(size, np.float32)
    if subtype:
        direction = 1 if subtype == "A" else -1
        jitter = zip(size, _jitter(size, rng), strict=True)
        add(mask, [extent // 2 for extent in size])
        add(mask, [extent // 2 + direction * _shift(extent) + wobble for extent, wobble in jitter])
    return mask


def _shift(extent: int) -> int:
    return int(extent / 3.5 + 0.5)


def _jitter(size: tuple[int, ...], rng: np.random.Generator) -> list[int]:
    drawn = rng.integers(*JITTER_VOX, size=len(size), endpoint=True)
    return [round(wobble * extent / PAPER_EXTENT) for wobble, extent in zip(drawn, size, strict=True)]


def _add_square(mask: Mask, middle: list[int]) -> None:
    sides = [round(SQUARE_VOX * extent / PAPER_EXTENT) for extent in mask.shape]
    starts = [max(centre - side // 2, 0) for centre, side in zip(middle, sides, strict=True)]
    mask[tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))] = 1


def _add_disc(mask: Mask, middle: list[int]) -> None:
    """All pixels within a distance at which the disc, or ball, has the square's content."""
    dims = mask.ndim
    unit_ball = math.pi ** (dims / 2) / math.gamma(dims / 2 + 1)
    radii = [SQUARE_VOX * extent / PAPER_EXTENT / unit_ball ** (1 / dims) for extent in mask.shape]
    grids = np.ogrid[tuple(slice(extent) for extent in mask.shape)]
    # a square of even side has its centre half a pixel before its middle pixel
    distance = sum(
        ((grid - centre + 0.5) / radius) ** 2 for grid, centre, radius in zip(grids, middle, radii, strict=True)
    )
    mask[distance <= 1] = 1
