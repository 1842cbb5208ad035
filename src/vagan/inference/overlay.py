"""Colour overlays of effect maps, and their colour range."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
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


class Overlays:
    """Overlays of the images of one call, in one colour range, which is known once all maps are.

    Until then image and effect of each wait in a temporary folder.
    """

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="vagan-overlays-", ignore_cleanup_errors=True)
        self._paths: list[Path] = []
        self._limits: list[float] = []

    def __enter__(self) -> "Overlays":
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def add(self, path: Path, image: Array, effect: Array) -> None:
        """An overlay to be written to ``path`` as PNG, one pixel for each pixel of the image.

        Image and effect are ``(channel, height, width)`` or ``(channel, x, y, z)``; see `overlay`. A volume, in RAS+
        order, becomes a row of three slices through the largest effect, normal to x, y and z: sagittal, coronal,
        axial.
        """
        _require_same_shape(image, effect)
        if effect.any():
            self._limits.append(symmetric_range(effect)[1])
        np.savez(self._waiting(len(self._paths)), *_planes(image, effect))
        self._paths.append(path)

    def write(self) -> None:
        """Write all: the effect of full colour is the end of the strongest map's own range."""
        limit = max(self._limits, default=1.0)
        for number, path in enumerate(self._paths):
            with np.load(self._waiting(number)) as file:
                pictures = [overlay(*pair, limit=limit) for pair in file.values()]
            with replacing(path) as temporary:
                Image.fromarray(_side_by_side(pictures)).save(temporary, format="PNG")

    def _waiting(self, number: int) -> Path:
        return Path(self._folder.name) / f"{number}.npz"


def _planes(image: Array, effect: Array) -> Iterator[Array]:
    """Image and effect in one, ``(2, channel, height, width)``; of volumes three slices."""
    if image.ndim == 3:
        yield np.stack([image, effect])
        return
    peak = map(int, np.unravel_index(np.abs(effect).max(axis=0).argmax(), effect.shape[1:]))
    for axis, at in enumerate(peak):
        yield np.stack([plane(image, axis, at), plane(effect, axis, at)])


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
