"""Figure 5 of the paper, from a results folder with follow-up scans."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from vagan.data.volume import read_volume
from vagan.errors import RunError
from vagan.evaluation.evaluation import OBSERVED_EFFECT
from vagan.evaluation.ground_truth import CEILING
from vagan.evaluation.metrics.base import Array
from vagan.evaluation.results import ResultsFolder
from vagan.inference.overlay import overlay, plane, symmetric_range
from vagan.reporting.figures import in_lines, laid_out

ROWS = 4
CORONAL, SAGITTAL = 1, 0


@dataclass(frozen=True)
class Followed:
    """Converters of a results folder, ordered by ADAS13: later scans, observed effects and maps ``(n, *space)``."""

    names: list[str]
    adas13: list[str]
    images: Array
    observed: Array
    maps: Mapping[str, dict[int, Array]]
    """For each method, the maps of the converters that it was scored on."""
    scores: Mapping[tuple[str, str], float]
    """NCC within the brain, by method and name; the ceiling among the methods if it is known."""


def read_followed(folder: Path, *, hide_ids: bool = False) -> Followed | None:
    """What `evaluate_longitudinal` left, with numbers for subjects if ids are hidden; None if that is nothing."""
    results = ResultsFolder(folder)
    if not results.pairs.is_file():
        return None
    try:
        pairs = pd.read_csv(results.pairs, dtype=str, keep_default_na=False)
        scores = pd.read_csv(results.scores).query("metric == 'ncc_brain'")
        methods = list(results.read_summary().methods)
        pairs = pairs[(pairs["kind"] == "converter") & (pairs["reason"] == "")]
        severity = pd.to_numeric(pairs["adas13"], errors="coerce")
        pairs = pairs.loc[severity.sort_values(kind="stable", na_position="first").index]
        cases = list(pairs["case"])
        volumes = [read_volume(results.scan(case)) for case in cases]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{folder} is damaged: {error}; run `vagan evaluate --longitudinal` again") from error
    names = [f"subject {number}" for number in range(1, len(cases) + 1)] if hide_ids else cases
    called = dict(zip(cases, names, strict=True))
    maps = {}
    for method in methods:
        paths = [results.map(method, case) for case in cases]  # of the cases that the method was scored on
        maps[method] = {row: read_volume(path).array for row, path in enumerate(paths) if path.is_file()}
    return Followed(
        names=names,
        adas13=list(pairs["adas13"]),
        images=np.stack([volume.array for volume in volumes]),
        observed=np.stack([read_volume(results.observed_effect(case)).array for case in cases]),
        maps={method: found for method, found in maps.items() if found},
        scores={
            (str(method), called[case]): float(value)
            for method, case, value in zip(scores["method"], scores["case"], scores["value"], strict=True)
            if case in called
        },
    )


def figure5(followed: Followed) -> Figure:
    """Coronal and sagittal overlays of the observed effect and all methods, the mildest subject on top.

    Every column has one symmetric colour range; up to four subjects are spread evenly over the ADAS13 scores.
    """
    subjects = range(len(followed.names))
    shared = [row for row in subjects if all(row in maps for maps in followed.maps.values())] or subjects
    rows = [shared[place] for place in np.linspace(0, len(shared) - 1, min(ROWS, len(shared))).round().astype(int)]
    change = gaussian_filter(np.abs(followed.observed).mean(axis=0), 2)
    at = [int(place) for place in np.unravel_index(change.argmax(), change.shape)]  # where most has changed
    columns = [
        (name, maps, symmetric_range(np.stack([maps[row] for row in rows]))[1])
        for name, maps in {OBSERVED_EFFECT: dict(enumerate(followed.observed)), **followed.maps}.items()
        if all(row in maps for row in rows)
    ]
    figure = Figure(figsize=(1.55 * (len(columns) + 1) + 0.3, 3.0 * len(rows) + 0.4), layout="constrained")
    axes = figure.subplots(2 * len(rows), len(columns) + 1, squeeze=False)
    for panel in axes.ravel():
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    for place, row in enumerate(rows):
        name, ceiling = followed.names[row], followed.scores.get((CEILING, followed.names[row]))
        label = f"{name}\nADAS13 {followed.adas13[row] or 'unknown'}"
        axes[2 * place][0].set_ylabel(label, fontsize=6.5, parse_math=False)
        for axis, line in zip((CORONAL, SAGITTAL), axes[2 * place :], strict=False):
            image = plane(followed.images[row][None], axis, at[axis])
            line[0].imshow(image[0], cmap="gray", vmin=-1, vmax=1)
            side = "A" if axis == SAGITTAL else "R"  # beside the right edge: the front, or the subject's right
            line[-1].text(1.02, 0.5, side, transform=line[-1].transAxes, fontsize=7, ha="left", va="center")
            for panel, (method, maps, limit) in zip(line[1:], columns, strict=True):
                panel.imshow(overlay(image, plane(maps[row][None], axis, at[axis]), limit=limit))
                score = followed.scores.get((method, name))
                if axis == SAGITTAL and score is not None:
                    text = f"NCC {score:.2f}" + ("" if ceiling is None else f" of {ceiling:.2f}")
                    panel.set_xlabel(text, fontsize=7, labelpad=2)
    titles = ["follow-up scan", *(f"{in_lines(method)}\n±{limit:.2g}" for method, _, limit in columns)]
    for panel, title in zip(axes[0], titles, strict=True):
        panel.set_title(title, fontsize=8, parse_math=False)
    return laid_out(figure)
