"""Colour overlays of effect maps, and their colour range."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vagan.files import replacing

Array = NDArray[np.floating[Any]]

EFFECT_COLOURS = "RdBu_r"
"""Diverging and safe for colour-blind readers: red where the class made the image brighter, blue where darker."""

RANGE_PERCENTILE = 99.5
"""Of the absolute values other than zero: a few extreme pixels must not make the rest of a map pale."""

HUES: NDArray[np.float64] = np.array(mpl.colormaps[EFFECT_COLOURS](np.array([0.88, 0.15])))[:, :3]
"""Red, green and blue of positive and of negative effects over an image: short of the ends of `EFFECT_COLOURS`, which
are too dark to tell from a dark image."""

OVERLAY_OPACITY = 0.85
"""Opacity of the strongest effect in an overlay; the image stays visible below it."""


def symmetric_range(maps: Array) -> tuple[float, float]:
    """Colour range of effect maps: zero in the middle, so that white means no effect.

    Methods differ in amplitude by orders of magnitude: maps that are to be compared by colour go in together, of any
    shape. The limit is a high percentile of the non-zero absolute values (a lesion of a few voxels would vanish among
    the zeros of a volume), or 1 where all are zero.
    """
    sizes = np.abs(maps[maps != 0])
    limit = float(np.percentile(sizes, RANGE_PERCENTILE)) if sizes.size else 1.0
    return -limit, limit


def overlay(image: Array, effect: Array, *, limit: float | None = None) -> NDArray[np.uint8]:
    """Colour an effect over its grey image, ``(height, width, 3)``: the stronger the effect, the more opaque.

    Exactly grey where the effect is zero.

    Parameters
    ----------
    image
        ``(channel, height, width)``, intensities in [-1, 1]; channels are averaged to grey.
    effect
        Of the same shape: positive (red) where the class made the image brighter, negative blue.
    limit
        Effect of full colour; by default the end of `symmetric_range`.
    """
    _require_same_shape(image, effect)
    limit = symmetric_range(effect)[1] if limit is None else limit
    strength = effect.mean(axis=0) / limit
    opacity = OVERLAY_OPACITY * np.abs(strength).clip(0, 1)[..., None]
    hue = np.where(strength[..., None] > 0, HUES[0], HUES[1])
    grey = ((image.mean(axis=0) + 1) / 2).clip(0, 1)[..., None]
    return (255 * (grey * (1 - opacity) + hue * opacity)).round().astype(np.uint8)


def save_overlay(path: Path, image: Array, effect: Array) -> None:
    """Write an overlay as PNG, one pixel for each pixel of the image.

    Parameters
    ----------
    path
        File to write or replace.
    image, effect
        ``(channel, height, width)`` or ``(channel, x, y, z)``; see `overlay`. A volume, in RAS+ order, becomes a row
        of three slices through the largest effect, normal to x, y and z: sagittal, coronal, axial.
    """
    _require_same_shape(image, effect)
    limit = symmetric_range(effect)[1]
    if image.ndim == 3:
        picture = overlay(image, effect, limit=limit)
    else:
        peak = map(int, np.unravel_index(np.abs(effect).max(axis=0).argmax(), effect.shape[1:]))
        slices = ((plane(image, axis, at), plane(effect, axis, at)) for axis, at in enumerate(peak))
        picture = _side_by_side([overlay(*pair, limit=limit) for pair in slices])
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def plane(volume: Array, axis: int, index: int) -> Array:
    """Slice of a RAS+ volume as it is looked at: ``(channel, x, y, z)`` to ``(channel, height, width)``.

    Anterior or superior is up; the patient's right is at the right.
    """
    return np.swapaxes(np.take(volume, index, axis=axis + 1), 1, 2)[:, ::-1]


def _side_by_side(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Join along the width; lower ones are centred on black."""
    tallest = max(len(picture) for picture in pictures)
    missing = [tallest - len(picture) for picture in pictures]
    padding = [((count // 2, count - count // 2), (0, 0), (0, 0)) for count in missing]
    return np.concatenate([np.pad(*one) for one in zip(pictures, padding, strict=True)], axis=1)


def _require_same_shape(image: Array, effect: Array) -> None:
    if image.shape != effect.shape or image.ndim not in (3, 4):
        raise ValueError(
            f"image and effect must both be (channel, *space) in 2-D or 3-D, found {image.shape} and {effect.shape}"
        )
