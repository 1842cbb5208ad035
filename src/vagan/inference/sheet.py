"""Contact sheets: images, counterfactuals and effects side by side, all effects in one colour range."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vagan.inference.overlay import EFFECT_COLOURS, symmetric_range

Picture = NDArray[np.floating[Any]]

COLUMNS = ("image", "counterfactual", "effect")
CELL_INCHES = 1.1
MOST_PIXELS = 256
"""Along an axis of a picture: larger ones are subsampled, so that sheets of many images fit into memory."""
PER_SHEET = 120


class Row(NamedTuple):
    """One image of a sheet: its name, and pictures ``(height, width)`` by the names of `COLUMNS`."""

    name: str
    pictures: Mapping[str, Picture]


def small_row(name: str, pictures: Mapping[str, Picture]) -> Row:
    """A row that does not keep larger pictures in memory."""
    steps = {key: -(-max(picture.shape) // MOST_PIXELS) for key, picture in pictures.items()}
    return Row(name, {key: picture[:: steps[key], :: steps[key]].copy() for key, picture in pictures.items()})


def contact_sheets(rows: Sequence[Row]) -> Iterator[Figure]:
    """As many sheets as the rows need, all in one colour range."""
    limit = common_limit(row.pictures["effect"] for row in rows)
    for start in range(0, len(rows), PER_SHEET):
        yield contact_sheet(rows[start : start + PER_SHEET], limit)


def common_limit(effects: Iterator[Picture]) -> float:
    """End of the colour range of all maps: that of the strongest one, beside which an empty map looks empty."""
    limits = [symmetric_range(effect)[1] for effect in effects if effect.any()]
    return max(limits, default=1.0)


def contact_sheet(rows: Sequence[Row], limit: float | None = None) -> Figure:
    """Draw one row of pictures for each image, small ones enlarged, and a colour bar.

    Intensities from -1 to 1 are black to white; effects are red where the class made the image brighter, blue where
    darker. ``limit`` is the effect of full colour, see `common_limit`.
    """
    limit = common_limit(row.pictures["effect"] for row in rows) if limit is None else limit
    columns = [name for name in COLUMNS if not rows or name in rows[0].pictures]
    across = 1 if len(rows) <= 4 else 2 if len(rows) <= 24 else 3
    down = max(-(-len(rows) // across), 1)
    aspect = max(
        (picture.shape[0] / picture.shape[1] for row in rows for picture in row.pictures.values()), default=1
    )
    cell, group = aspect + 0.22, len(columns) + 0.3
    figure = Figure(
        figsize=(CELL_INCHES * (across * group + 0.9), CELL_INCHES * (down * cell + 0.5)), layout="constrained"
    )
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
