"""Figures for papers and reports, on `Figure` objects of their own: no global plotting state, no display."""

import io
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal
from urllib.parse import quote

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text

from vagan.evaluation.evaluation import Examples
from vagan.evaluation.metrics.registry import find_metric
from vagan.evaluation.results import SummaryFile
from vagan.inference.overlay import EFFECT_COLOURS, Array, plane, symmetric_range

Format = Literal["png", "svg", "pdf"]

INK = "#1f2328"
DARK_INK = "#d5dae0"
BLUE, ORANGE, GREY = "#3579b8", "#c8701a", "#7d8590"

PANELS_ACROSS = 3
SMOOTHING_WINDOWS = 25
"""A curve is smoothed over this fraction of its rows (one over it)."""
_PANELS = {
    "Wasserstein estimate": {
        "critic/wasserstein": ("training", BLUE),
        "validation/wasserstein": ("validation", ORANGE),
    },
    "Critic's slope (1 is ideal)": {"critic/slope": ("", BLUE)},
    "Mean |map|": {
        "generator/map": ("class of interest", BLUE),
        "validation/map": ("", BLUE),
        "generator/baseline_map": ("baseline class", ORANGE),
        "validation/baseline_map": ("", ORANGE),
    },
    "Map size, baseline / class of interest": {"validation/baseline_response_ratio": ("", BLUE)},
    "Share of empty maps": {"validation/empty_map": ("", BLUE)},
    "NCC monitor, never used for selection": {"monitor/ncc": ("", BLUE)},
}
"""Columns by the titles of their panels, with their labels and colours."""


def example_grid(examples: Examples, methods: Sequence[str]) -> Figure:
    """Draw Figure 4 of the paper: one row for each image, one column for each method with one colour range.

    A volume is shown by its axial slice (last axis) with the most effect, or if that is unknown, the largest maps.
    """
    columns: list[tuple[str, Array]] = [("image", examples.images)]
    if examples.effects is not None:
        columns.append((examples.effects_name, examples.effects))
    columns += [(method, examples.maps[method]) for method in methods]
    places = _places(examples, methods)
    count, width = len(examples.ids), 1.35
    rows_shown, columns_shown = _displayed(examples.images[0], places[0]).shape
    height = width * rows_shown / columns_shown
    layout = ConstrainedLayoutEngine(compress=True, w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    figure = Figure(figsize=(width * len(columns) + 0.4, height * count + 0.85), layout=layout)
    grid = figure.add_gridspec(count + 1, len(columns), height_ratios=[height] * count + [0.07])
    for column, (title, arrays) in enumerate(columns):
        is_map = column > 0
        low, high = symmetric_range(arrays) if is_map else (-1.0, 1.0)
        for row, array in enumerate(arrays):
            axes = figure.add_subplot(grid[row, column])
            drawn = axes.imshow(
                _displayed(array, places[row]).clip(low, high),
                cmap=EFFECT_COLOURS if is_map else "gray",
                vmin=low,
                vmax=high,
                interpolation="none",
            )
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(edgecolor=GREY, linewidth=0.4)
            if row == 0:
                axes.set_title(in_lines(title), fontsize=9, parse_math=False)
            if column == 0:
                place = places[row]
                label = _shortened(examples.ids[row]) + ("" if place is None else f"\nz = {place}")
                axes.set_ylabel(label, fontsize=8, parse_math=False)
        if is_map:
            _range_bar(figure.add_subplot(grid[count, column]), drawn, high)
    return laid_out(figure)


def training_curves(metrics: pd.DataFrame) -> Figure:
    """Draw what a run logged, against its updates, in small panels.

    Light lines are the values of single updates, strong ones their running mean, dots validation values; a dotted
    line is where distillation begins. A run without the columns of VA-GAN gets one panel for each of its columns.
    """
    logged = {column for column in metrics.columns.astype(str) if metrics[column].notna().any()}
    panels = {title: lines for title, lines in _PANELS.items() if logged & lines.keys()}
    if not panels:
        others = metrics.select_dtypes("number").columns.astype(str).drop(["update", "seconds"], errors="ignore")
        panels = {column: {column: ("", BLUE)} for column in others if column in logged}
    switch = _last_critic_update(metrics)
    down = max(-(-len(panels) // PANELS_ACROSS), 1)
    figure = Figure(figsize=(3.2 * PANELS_ACROSS, 2.3 * down), layout="constrained")
    grid = figure.add_gridspec(down, PANELS_ACROSS)  # also where panels are few: all runs at one scale
    for place, (title, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[divmod(place, PANELS_ACROSS)])
        _plain(axes)
        axes.set_title(title, fontsize=9, loc="left", parse_math=False)
        axes.set_xlabel("update", fontsize=8)
        if "critic/slope" in lines:
            axes.axhline(1.0, color=GREY, linewidth=0.8, linestyle="--")
        if switch is not None:
            axes.axvline(switch, color=GREY, linewidth=0.8, linestyle=":")
            where = axes.get_xaxis_transform()
            axes.text(switch, 0.98, "distillation", transform=where, fontsize=6, rotation=90, ha="right", va="top")
        shown = {column: label for column, (label, _) in lines.items() if column in logged}
        for column, label in shown.items():
            _curve(axes, metrics, column, label, lines[column][1])
        if any(shown.values()):
            axes.legend(fontsize=7, frameon=False, handlelength=1.4, borderpad=0)
    return laid_out(figure)


def _last_critic_update(metrics: pd.DataFrame) -> int | None:
    """Update after which the generator is distilled; None if it is not, or not yet."""
    if "critic/wasserstein" not in metrics:
        return None
    last = metrics.loc[metrics["critic/wasserstein"].notna(), "update"].max()  # NaN where there is none
    return int(last) if last < metrics["update"].iloc[-1] else None


def score_bars(summary: SummaryFile, *metrics: str) -> Figure:
    """Draw the mean scores of a ``summary.json``, a panel for each metric, the best method by the first one on top.

    Dot: mean; bar: 95 % interval of the mean; line: one standard deviation between cases; dashed lines: the ceiling
    and real images. Methods without any of the metrics are left out; without metrics it is NCC.
    """
    metrics = metrics or ("ncc",)
    scores = {
        (name, metric): score
        for name, values in summary.methods.items()
        for metric, score in values.items()
        if metric in metrics and not np.isnan(score.mean)
    }
    names = [name for name in reversed(summary.ranked(metrics[0])) if any((name, one) in scores for one in metrics)]
    across = min(len(metrics), PANELS_ACROSS)
    down = -(-len(metrics) // across)
    height = 0.75 + 0.3 * max(len(names), 1)
    figure = Figure(figsize=(5.2 if across == 1 else 1.6 + 2.5 * across, down * height), layout="constrained")
    grid = figure.add_gridspec(down, across)
    lines = {"ceiling": summary.ceiling, **summary.references}
    for place, metric in enumerate(metrics):
        axes = figure.add_subplot(grid[divmod(place, across)])
        _plain(axes)
        for row, name in enumerate(names):
            if (name, metric) in scores:
                score = scores[name, metric]
                mean, std = score.mean, score.std
                if not np.isclose(std**2, mean * (1 - mean)):  # of shares the interval says all
                    axes.plot([mean - std, mean + std], [row, row], color=BLUE, alpha=0.45, linewidth=1.2)
                axes.plot(score.ci95, [row, row], color=BLUE, alpha=0.45, linewidth=10, solid_capstyle="butt")
                axes.plot(mean, row, "o", color=BLUE, markersize=4.5)
        shown = [_shortened(name) for name in names] if place % across == 0 else []
        axes.set_yticks(range(len(names)), shown or [""] * len(names), fontsize=9, parse_math=False)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(find_metric(metric).label, fontsize=9, parse_math=False)
        marked = {name: of[metric].mean for name, of in lines.items() if metric in of}
        for (name, at), style in zip(marked.items(), ("--", ":", "-."), strict=False):
            axes.axvline(at, color=ORANGE, linewidth=1.2, linestyle=style, label=f"{name} {at:.3f}")
        if marked:
            axes.legend(fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), borderpad=0)
        if find_metric(metric).direction != "neither":
            axes.set_xlim(min(axes.get_xlim()[0], 0), None)
    return laid_out(figure)


def rendered(figure: Figure, kind: Format, *, transparent: bool = False) -> bytes:
    """Draw a figure as the content of a file, pictures at 200 dots per inch; the same figure gives the same bytes."""
    undated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    drawn = io.BytesIO()
    with _steady():
        figure.savefig(drawn, format=kind, dpi=200, metadata=undated, transparent=transparent)
    return drawn.getvalue()


def as_data_uri(figure: Figure) -> str:
    """Draw a figure as vectors in a ``data:`` address, so that a page can hold it in itself."""
    return data_uri(rendered(figure, "svg", transparent=True))


def data_uri(svg: bytes) -> str:
    """The same address from the content of an SVG file."""
    return "data:image/svg+xml," + quote(svg)


def on_dark(uri: str) -> str:
    """The same figure for a dark page: text and ticks are light."""
    return uri.replace(quote(INK), quote(DARK_INK))


def in_lines(title: str) -> str:
    """A column's title, broken where it would run into the next one's."""
    return "\n".join(textwrap.wrap(title, 15))


@contextmanager
def _steady() -> Iterator[None]:
    """Fixed names inside SVG files; no warning where an id holds a letter that the font lacks."""
    with mpl.rc_context({"svg.hashsalt": "vagan"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def laid_out(figure: Figure) -> Figure:
    """Settle the places of all parts, once for all formats in which the figure will be drawn, and their colour."""
    with _steady():
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for text in figure.findobj(Text):
        text.set_color(INK)
    for axes in figure.axes:
        axes.tick_params(colors=INK)
    return figure


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(edgecolor=GREY)
    axes.tick_params(labelsize=7.5)
    axes.patch.set_alpha(0)
    axes.grid(color=GREY, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def _curve(axes: Axes, metrics: pd.DataFrame, column: str, label: str, colour: str) -> None:
    rows = metrics[["update", column]].dropna()
    if column.startswith(("validation/", "monitor/")):
        axes.plot(rows["update"], rows[column], "o-", color=colour, linewidth=0.8, markersize=2.5, label=label)
        return
    smooth = rows[column].rolling(max(len(rows) // SMOOTHING_WINDOWS, 1), center=True, min_periods=1).mean()
    axes.plot(rows["update"], rows[column], color=colour, linewidth=0.6, alpha=0.3)
    axes.plot(rows["update"], smooth, color=colour, linewidth=1.6, label=label)


def _range_bar(axes: Axes, drawn: AxesImage, limit: float) -> None:
    Colorbar(axes, drawn, orientation="horizontal", ticks=[-limit, 0, limit]).outline.set_linewidth(0.4)
    axes.set_xticklabels([f"−{limit:.2g}", "0", f"+{limit:.2g}"], fontsize=7)
    axes.tick_params(length=2, pad=1.5)
    lowest, _, highest = axes.get_xticklabels()
    lowest.set_horizontalalignment("left")  # numbers of neighbouring columns must not touch
    highest.set_horizontalalignment("right")


def _places(examples: Examples, methods: Sequence[str]) -> list[int | None]:
    """Index along the last axis at which each volume is shown; None for 2-D images."""
    if examples.images.ndim == 4:
        return [None] * len(examples.ids)
    shown = [examples.maps[method] / symmetric_range(examples.maps[method])[1] for method in methods]
    evidence = examples.effects
    if evidence is None:
        evidence = sum(map(np.abs, shown), np.zeros_like(examples.images))
    along = np.abs(evidence).sum(axis=tuple(range(1, evidence.ndim - 1)))
    return [int(sizes.argmax()) if sizes.any() else len(sizes) // 2 for sizes in along]


def _displayed(array: Array, place: int | None) -> Array:
    """One image or map, channels averaged, as ``(height, width)``."""
    return (array if place is None else plane(array, array.ndim - 2, place)).mean(axis=0)


def _shortened(name: str) -> str:
    """Both ends of a long id: subject and session differ there."""
    return name if len(name) <= 26 else f"{name[:12]}…{name[-12:]}"
