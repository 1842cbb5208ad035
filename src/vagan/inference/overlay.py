"""Colour overlays of effect maps, contact sheets, and their colour range."""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
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

COLUMNS = ("image", "counterfactual", "effect")
CELL_INCHES = 1.1
MAX_PIXELS = 256
"""Along an axis of a picture: larger ones are subsampled, so that sheets of many images fit into memory."""
PER_SHEET = 120

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

    Both are ``(channel, height, width)``, intensities in [-1, 1]; channels are averaged. Positive effects are red,
    negative ones blue, zero grey. ``limit`` is the effect of full colour, by default that of `symmetric_range`.
    """
    _require_same_shape(image, effect)
    limit = symmetric_range(effect)[1] if limit is None else limit
    strength = effect.mean(axis=0) / limit
    opacity = OVERLAY_OPACITY * np.abs(strength).clip(0, 1)[..., None]
    hue = np.where(strength[..., None] > 0, HUES[0], HUES[1])
    grey = ((image.mean(axis=0) + 1) / 2).clip(0, 1)[..., None]
    return (255 * (grey * (1 - opacity) + hue * opacity)).round().astype(np.uint8)


class Overlays:
    """Overlays of the images of one call, in one colour range: until it is known, they wait in a temporary folder."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="vagan-overlays-", ignore_cleanup_errors=True)
        self._paths: list[Path] = []
        self._limits: list[float] = []

    def __enter__(self) -> "Overlays":
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def add(self, path: Path, image: Array, effect: Array) -> None:
        """An overlay to be written to ``path`` as PNG, one pixel for each pixel of the image; see `overlay`.

        A volume ``(channel, x, y, z)``, in RAS+ order, becomes a row of three slices through the largest effect,
        normal to x, y and z: sagittal, coronal, axial.
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
        found = f"found {image.shape} and {effect.shape}"
        raise ValueError(f"image and effect must both be (channel, *space) in 2-D or 3-D, {found}")


class Row(NamedTuple):
    """One image of a sheet: its name, and pictures ``(height, width)`` by the names of `COLUMNS`."""

    name: str
    pictures: Mapping[str, Array]


def small_row(name: str, pictures: Mapping[str, Array]) -> Row:
    """A row that does not keep larger pictures in memory."""
    steps = {key: -(-max(picture.shape) // MAX_PIXELS) for key, picture in pictures.items()}
    return Row(name, {key: picture[:: steps[key], :: steps[key]].copy() for key, picture in pictures.items()})


def png_of(figure: Figure) -> bytes:
    """The figure as the content of a PNG file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


class _ShownFigure(Figure):
    """Notebooks show it, which otherwise takes an import of pyplot."""

    def _repr_png_(self) -> bytes:
        return png_of(self)


def contact_sheets(rows: Sequence[Row]) -> Iterator[Figure]:
    """As many sheets as the rows need, all in one colour range."""
    limit = common_limit(row.pictures["effect"] for row in rows)
    for start in range(0, len(rows), PER_SHEET):
        yield contact_sheet(rows[start : start + PER_SHEET], limit)


def common_limit(effects: Iterator[Array]) -> float:
    """End of the colour range of all maps: that of the strongest one, beside which an empty map looks empty."""
    return max((symmetric_range(effect)[1] for effect in effects if effect.any()), default=1.0)


def contact_sheet(rows: Sequence[Row], limit: float | None = None) -> Figure:
    """Draw one row of pictures for each image, small ones enlarged, and a colour bar.

    Intensities from -1 to 1 are black to white; effects are red where the class made the image brighter, blue where
    darker. ``limit`` is the effect of full colour, see `common_limit`.
    """
    limit = common_limit(row.pictures["effect"] for row in rows) if limit is None else limit
    columns = [name for name in COLUMNS if not rows or name in rows[0].pictures]
    across = 1 if len(rows) <= 4 else 2 if len(rows) <= 24 else 3
    down = max(-(-len(rows) // across), 1)
    shapes = [picture.shape for row in rows for picture in row.pictures.values()]
    cell, group = max((height / width for height, width in shapes), default=1) + 0.22, len(columns) + 0.3
    size = (CELL_INCHES * (across * group + 0.9), CELL_INCHES * (down * cell + 0.5))
    figure = _ShownFigure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    drawn = ScalarMappable(Normalize(-limit, limit), EFFECT_COLOURS)
    for number, row in enumerate(rows):
        left, top = number % across * group, -(number // across) * cell
        axes.text(left, top, row.name, fontsize=6, va="bottom", parse_math=False)
        for place, name in enumerate(columns):
            picture = row.pictures[name]
            height, width = picture.shape[0] / max(picture.shape), picture.shape[1] / max(picture.shape)
            colours = (EFFECT_COLOURS, limit) if name == "effect" else ("gray", 1.0)
            extent = (left + place, left + place + 0.97 * width, top - 0.97 * height, top)
            axes.imshow(picture, cmap=colours[0], vmin=-colours[1], vmax=colours[1], extent=extent)
    for group_number in range(min(across, max(len(rows), 1))):
        for place, name in enumerate(columns):
            axes.text(group_number * group + place + 0.48, 0.16, name, fontsize=8, ha="center", va="bottom")
    axes.set(xlim=(0, across * group - 0.3), ylim=(-down * cell + 0.22, 0.35), aspect="equal")
    axes.set_axis_off()
    bar = figure.colorbar(drawn, ax=axes, shrink=min(1.0, 3 / (down * cell)), aspect=20, pad=0.02)
    bar.set_label("effect: red brighter, blue darker", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    return figure
