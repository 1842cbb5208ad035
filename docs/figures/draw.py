"""Draw the figures of "How it works" from the package itself, in seconds and without any training.

    python docs/figures/draw.py

Wherever a figure shows a map, it is the exact one: the image without its squares, minus the image.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from vagan.data.sources.synthetic import SyntheticCase, make_case
from vagan.inference.overlay import EFFECT_COLOURS
from vagan.reporting.figures import BLUE, GREY, INK, ORANGE
from vagan.training.config import Config, load_config
from vagan.training.schedule import critic_updates_before

HERE = Path(__file__).parent
Picture = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def case(index: int, subtype: str, intensity: str = "fixed") -> SyntheticCase:
    return make_case(index, subtype=subtype, intensity=intensity, size=(56, 56))  # type: ignore[arg-type]


def adversarial() -> Figure:
    """The two networks, their inputs, and the sign of the effect."""
    figure = Figure(figsize=(9, 4.2))
    canvas = figure.add_axes((0, 0, 1, 1))
    canvas.set(xlim=(0, 9), ylim=(0, 4.2))
    canvas.axis("off")
    patient, healthy = case(1, "A"), case(2, "")
    map_ = patient.counterfactual - patient.image
    put(figure, patient.image, (0.25, 2.25), "patient $x$")
    put(figure, map_, (3.05, 2.25), "map $M(x)$", is_map=True)
    put(figure, patient.counterfactual, (5.0, 2.25), "$y = x + M(x)$")
    put(figure, healthy.image, (5.0, 0.2), "healthy $x_0$, another subject", above=True)
    put(figure, -map_, (3.05, 0.2), "effect $-M(x) = x - y$", is_map=True)
    box(canvas, (1.95, 2.65), (0.75, 0.6), "$M$", BLUE)
    box(canvas, (7.0, 1.65), (0.75, 0.6), "$D$", ORANGE)
    arrow(canvas, (1.6, 2.95), (1.95, 2.95))
    arrow(canvas, (2.7, 2.95), (3.05, 2.95))
    arrow(canvas, (4.4, 2.95), (5.0, 2.95))
    canvas.plot([0.92, 0.92, 4.7], [3.6, 3.85, 3.85], color=GREY, linewidth=1.5)
    arrow(canvas, (4.7, 3.85), (4.7, 3.1))
    canvas.text(4.7, 2.95, "+", ha="center", va="center", fontsize=13, color=INK, backgroundcolor="white")
    arrow(canvas, (3.72, 2.0), (3.72, 1.58))
    canvas.text(3.8, 1.75, "reverse the sign", fontsize=8, color=INK)
    arrow(canvas, (6.35, 2.95), (7.0, 2.1))
    arrow(canvas, (6.35, 0.85), (7.0, 1.75))
    arrow(canvas, (7.75, 1.95), (8.05, 1.95))
    canvas.text(8.1, 1.95, "score", va="center", fontsize=9, color=INK)
    return figure


def put(
    figure: Figure,
    picture: Picture,
    at: tuple[float, float],
    title: str,
    *,
    is_map: bool = False,
    above: bool = False,
) -> None:
    """An image of 1.35 units, its lower left corner here, with its name below or above it."""
    axes = figure.add_axes((at[0] / 9, at[1] / 4.2, 1.35 / 9, 1.35 / 4.2))
    show(axes, picture, is_map=is_map)
    if above:
        axes.set_title(title, fontsize=9, color=INK, pad=3)
    else:
        axes.set_xlabel(title, fontsize=9, color=INK, labelpad=2)


def show(axes: Axes, picture: Picture, *, is_map: bool = False, limit: float = 0.4) -> None:
    limit = limit if is_map else 1.0
    axes.imshow(picture, cmap=EFFECT_COLOURS if is_map else "gray", vmin=-limit, vmax=limit, interpolation="none")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(edgecolor=GREY, linewidth=0.5)


def box(canvas: Axes, at: tuple[float, float], size: tuple[float, float], name: str, colour: str) -> None:
    canvas.add_patch(FancyBboxPatch(at, *size, boxstyle="round,pad=0.02", facecolor=colour, edgecolor="none"))
    canvas.text(at[0] + size[0] / 2, at[1] + size[1] / 2, name, ha="center", va="center", color="white", fontsize=15)


def arrow(canvas: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    canvas.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=10, color=GREY, shrinkA=0, shrinkB=0)
    )


def effect_transfer() -> Figure:
    """The effect of one image put into an image of the baseline class."""
    patient, healthy = case(1, "A"), case(2, "")
    effect = patient.image - patient.counterfactual
    pictures = (
        (patient.image, "patient $x$", False),
        (effect, "effect found by\nthe EMA of $M$", True),
        (healthy.image, "healthy $x_0$", False),
        ((healthy.image + effect).clip(-1, 1), "effect added", False),
        (effect, "what $M$ must\nrecover", True),
    )
    figure = Figure(figsize=(8, 2.1), layout="constrained")
    for axes, (picture, title, is_map) in zip(figure.subplots(1, len(pictures)), pictures, strict=True):
        show(axes, picture, is_map=is_map)
        axes.set_title(title, fontsize=9, color=INK)
    return figure


def schedule() -> Figure:
    """Critic updates before each of the first generator updates, in both presets."""
    figure = Figure(figsize=(7, 2.2), layout="constrained")
    for axes, name, colour in zip(figure.subplots(1, 2), ("fast", "paper"), (BLUE, ORANGE), strict=True):
        config: Config = load_config(name)
        shown = range(120)
        axes.bar(shown, [critic_updates_before(update, config.schedule) for update in shown], width=1, color=colour)
        axes.set(title=f"preset {name}", xlabel="generator update", ylim=(0, 105))
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("critic updates before")
    return figure


def scaling() -> Figure:
    """The exact effect where each image is scaled by its own extremes, and where all share one range."""
    figure = Figure(figsize=(5.6, 2.1), layout="constrained")
    pictures = []
    for intensity, words in (("fixed", "one range for all"), ("per-image", "range of each image")):
        found = case(1, "A", intensity)
        pictures += [(found.image, words, False), (found.image - found.counterfactual, "exact effect", True)]
    for axes, (picture, title, is_map) in zip(figure.subplots(1, 4), pictures, strict=True):
        show(axes, picture, is_map=is_map)
        axes.set_title(title, fontsize=8, color=INK)
    return figure


def main() -> None:
    for draw in (adversarial, effect_transfer, schedule, scaling):
        draw().savefig(HERE / f"{draw.__name__}.png", dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
