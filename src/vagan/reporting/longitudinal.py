"""Figures 5 and 6 of the paper, group means, and effects by region, from a results folder with follow-up scans."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from vagan.data.volume import read_volume, write_volume
from vagan.effect import without_effect
from vagan.errors import RunError
from vagan.evaluation.ground_truth import CEILING
from vagan.evaluation.results import ResultsFolder
from vagan.geometry import Grid, resample
from vagan.inference.overlay import overlay, plane, symmetric_range
from vagan.reporting.figures import in_lines

REGIONS = "regions.csv"
OBSERVED = "observed effect"
ROWS = 4
CORONAL, SAGITTAL = 1, 0
CLOSE_UP_MM = 45.0

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Followed:
    """Converters of a results folder, ordered by ADAS13: later scans, observed effects and maps ``(n, *space)``."""

    names: list[str]
    adas13: list[str]
    images: Array
    observed: Array
    maps: Mapping[str, dict[int, Array]]
    """For each method, the maps of the converters that it was scored on."""
    log_volumes: Mapping[str, dict[int, Array]]
    """For each method that deforms, the logarithm of the volume now over the volume before."""
    scores: Mapping[tuple[str, str], float]
    """NCC within the brain, by method and name; the ceiling among the methods if it is known."""
    affine: NDArray[np.float64]

    @property
    def all_maps(self) -> dict[str, Mapping[int, Array]]:
        """Those of the methods behind the observed effects."""
        return {OBSERVED: dict(enumerate(self.observed)), **self.maps}


def read_followed(folder: Path, *, hide_ids: bool = False) -> Followed | None:
    """Read what `evaluate_longitudinal` left; None if the folder holds no such results.

    With ``hide_ids`` subjects are numbered instead of named.
    """
    results = ResultsFolder(folder)
    if not results.pairs.is_file():
        return None
    try:
        pairs = pd.read_csv(results.pairs, dtype=str, keep_default_na=False)
        scores = pd.read_csv(results.scores).query("metric == 'ncc_brain'")
        methods = list(json.loads(results.summary.read_text(encoding="utf-8"))["methods"])
        pairs = pairs[(pairs["kind"] == "converter") & (pairs["reason"] == "")]
        severity = pd.to_numeric(pairs["adas13"], errors="coerce")
        pairs = pairs.loc[severity.sort_values(kind="stable", na_position="first").index]
        cases = list(pairs["case"])
        volumes = [read_volume(results.scan(case)) for case in cases]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{folder} is damaged: {error}; run `vagan evaluate --longitudinal` again") from error
    names = [f"subject {number}" for number in range(1, len(cases) + 1)] if hide_ids else cases
    called = dict(zip(cases, names, strict=True))
    maps = {method: _read_there(cases, partial(results.map, method)) for method in methods}
    log_volumes = {method: _read_there(cases, partial(results.log_jacobian, method)) for method in methods}
    return Followed(
        names=names,
        adas13=list(pairs["adas13"]),
        images=np.stack([volume.array for volume in volumes]),
        observed=np.stack([read_volume(results.observed_effect(case)).array for case in cases]),
        maps={method: found for method, found in maps.items() if found},
        log_volumes={method: found for method, found in log_volumes.items() if found},
        scores={
            (str(method), called[case]): float(value)
            for method, case, value in zip(scores["method"], scores["case"], scores["value"], strict=True)
            if case in called
        },
        affine=volumes[0].affine,
    )


def _read_there(cases: Sequence[str], path_of: Callable[[str], Path]) -> dict[int, Array]:
    """A method's volumes of the cases that it was scored on."""
    paths = {row: path_of(case) for row, case in enumerate(cases)}
    return {row: read_volume(path).array for row, path in paths.items() if path.is_file()}


def figure5(followed: Followed) -> Figure:
    """Coronal and sagittal overlays of the observed effect and all methods, the mildest subject on top.

    Every column has one symmetric colour range; subjects are spread evenly over the ADAS13 scores. Beside each score
    stands its ceiling.
    """
    rows, at = _spread(followed), _most_changed(followed)
    columns = [
        (name, maps, symmetric_range(np.stack([maps[row] for row in rows]))[1])
        for name, maps in followed.all_maps.items()
        if all(row in maps for row in rows)
    ]
    size = (1.55 * (len(columns) + 1) + 0.3, 3.0 * len(rows) + 0.4)
    figure, axes = _bare_panels(2 * len(rows), len(columns) + 1, size)
    for place, row in enumerate(rows):
        name, ceiling = followed.names[row], followed.scores.get((CEILING, followed.names[row]))
        axes[2 * place][0].set_ylabel(
            f"{name}\nADAS13 {followed.adas13[row] or 'unknown'}", fontsize=6.5, parse_math=False
        )
        for axis, line in zip((CORONAL, SAGITTAL), axes[2 * place :], strict=False):
            image = plane(followed.images[row][None], axis, at[axis])
            line[0].imshow(image[0], cmap="gray", vmin=-1, vmax=1)
            _mark_orientation(line[-1], axis)
            for panel, (method, maps, limit) in zip(line[1:], columns, strict=True):
                panel.imshow(overlay(image, plane(maps[row][None], axis, at[axis]), limit=limit))
                score = followed.scores.get((method, name))
                if axis == SAGITTAL and score is not None:
                    text = f"NCC {score:.2f}" + ("" if ceiling is None else f" of {ceiling:.2f}")
                    panel.set_xlabel(text, fontsize=7, labelpad=2)
    titles = ["follow-up scan", *(f"{in_lines(method)}\n±{limit:.2g}" for method, _, limit in columns)]
    for panel, title in zip(axes[0], titles, strict=True):
        panel.set_title(title, fontsize=8, parse_math=False)
    return figure


def figure6(followed: Followed, method: str) -> Figure:
    """Close-ups of the baseline scan, the follow-up scan and the generated image, with the same contours in all.

    The contours are those of the baseline scan, halfway between fluid and tissue, where most has changed.
    """
    rows = [row for row in _spread(followed) if row in followed.maps[method]]
    at = _most_changed(followed)
    box = _box(followed, at)
    figure, axes = _bare_panels(len(rows), 3, (6.6, 2.3 * len(rows) + 0.3))
    for line, row in zip(axes, rows, strict=True):
        after = followed.images[row]
        before, generated = (
            without_effect(after, map_) for map_ in (followed.observed[row], followed.maps[method][row])
        )
        slices = [plane(volume[None], CORONAL, at[CORONAL])[0][box] for volume in (before, after, generated)]
        level = (float(np.percentile(slices[0], 5)) + float(np.percentile(slices[0], 75))) / 2
        for panel, picture in zip(line, slices, strict=True):
            panel.imshow(picture, cmap="gray", vmin=-1, vmax=1)
            if slices[0].min() < level < slices[0].max():
                panel.contour(slices[0], [level], colors=["#e0a030"], linewidths=0.9, linestyles="solid")
        line[0].set_ylabel(followed.names[row], fontsize=6.5, parse_math=False)
        _mark_orientation(line[-1], CORONAL)
    for panel, title in zip(axes[0], ("baseline scan", "follow-up scan", "generated"), strict=True):
        panel.set_title(title, fontsize=8)
    return figure


def group_means(followed: Followed) -> dict[str, Array]:
    """Mean observed effect and mean map of each method over the converters that it was scored on."""
    return {name: np.mean(list(maps.values()), axis=0, dtype=np.float32) for name, maps in followed.all_maps.items()}


def write_group_means(folder: Path, followed: Followed) -> None:
    """As NIfTI beside the single maps."""
    results = ResultsFolder(folder)
    for name, mean in group_means(followed).items():
        path = results.observed if name == OBSERVED else results.map(name, "").parent
        write_volume(path / "group-mean_stat-effect_statmap.nii.gz", mean, followed.affine)


def figure_of_means(followed: Followed) -> Figure:
    """Mean effects over the mean scan, a row for each method: sagittal, coronal and axial through the same place."""
    means, at, image = group_means(followed), _most_changed(followed), followed.images.mean(axis=0)
    figure, axes = _bare_panels(len(means), 3, (6.2, 1.9 * len(means) + 0.3))
    for line, (name, mean) in zip(axes, means.items(), strict=True):
        limit = symmetric_range(mean)[1]
        for axis, panel in enumerate(line):
            panel.imshow(overlay(plane(image[None], axis, at[axis]), plane(mean[None], axis, at[axis]), limit=limit))
            _mark_orientation(panel, axis)
        line[0].set_ylabel(f"{name}\n±{limit:.2g}", fontsize=7, parse_math=False)
    return figure


def effects_by_region(followed: Followed, atlas: Path, names: Path | None = None) -> pd.DataFrame:
    """Mean effect in each region of an atlas, and its change of volume by methods that deform.

    Parameters
    ----------
    atlas
        NIfTI file of whole numbers in the template's space; 0 is no region. Any grid.
    names
        Table (.csv or .tsv) with the columns ``index`` and ``name``.

    Returns
    -------
    DataFrame
        Columns ``case, method, region, ml, mean_effect, mean_size, volume_change_percent``: effects in prepared
        intensity, sizes their absolute values; what the class did to the volume of the tissue that is in the region
        now, positive where it grew, empty for methods that do not deform.
    """
    volume = read_volume(atlas)
    grid = Grid(followed.images.shape[1:], followed.affine)
    labels = resample(volume.array, Grid(volume.array.shape, volume.affine), grid, order=0).round().astype(int)
    if not labels.any():
        raise RunError(
            f"{atlas} must have regions where the brains are, and has none; is it in the template's space?"
        )
    called = _region_names(names)
    rows = []
    for region in np.unique(labels[labels > 0]):
        inside = labels == region
        for method, maps in followed.all_maps.items():
            log_volumes = followed.log_volumes.get(method, {})
            for row, values in maps.items():
                within = values[inside]
                rows.append(
                    {
                        "case": followed.names[row],
                        "method": method,
                        "region": called.get(int(region), str(region)),
                        "ml": float(inside.sum()) * grid.voxel_ml,
                        "mean_effect": float(within.mean()),
                        "mean_size": float(np.abs(within).mean()),
                        "volume_change_percent": _volume_change(log_volumes.get(row), inside),
                    }
                )
    return pd.DataFrame(rows)


def _volume_change(log_volume: Array | None, inside: NDArray[np.bool_]) -> float:
    """Volume now over the volume before, less 1, in percent; each voxel of now had ``exp(-log_volume)`` before."""
    if log_volume is None:
        return float("nan")
    return 100 * (float(inside.sum()) / float(np.exp(-log_volume[inside].astype(np.float64)).sum()) - 1)


def _region_names(path: Path | None) -> dict[int, str]:
    if path is None:
        return {}
    try:
        table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype=str)
        return {int(index): str(name) for index, name in zip(table["index"], table["name"], strict=True)}
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{path} must be a table with the columns index and name: {error}") from error


def _spread(followed: Followed) -> list[int]:
    """Up to four subjects, evenly over their order, among those whose maps all methods have."""
    shared = [row for row in range(len(followed.names)) if all(row in maps for maps in followed.maps.values())]
    rows = shared or list(range(len(followed.names)))
    picked = np.linspace(0, len(rows) - 1, min(ROWS, len(rows))).round().astype(int)
    return [rows[place] for place in picked]


def _most_changed(followed: Followed) -> tuple[int, ...]:
    """Voxel around which most was observed to change, on average."""
    size = gaussian_filter(np.abs(followed.observed).mean(axis=0), 2)
    return tuple(int(place) for place in np.unravel_index(size.argmax(), size.shape))


def _box(followed: Followed, at: Sequence[int]) -> tuple[slice, ...]:
    """Rows and columns of a coronal slice around a voxel."""
    shape = followed.images.shape[1:]
    half = [round(CLOSE_UP_MM / 2 / float(np.linalg.norm(followed.affine[:3, axis]))) for axis in (2, 0)]
    center = (shape[2] - 1 - at[2], at[0])
    return tuple(slice(max(place - width, 0), place + width + 1) for place, width in zip(center, half, strict=True))


def _mark_orientation(panel: Any, axis: int) -> None:
    """A letter beside the right edge: the subject's right is there, or its front."""
    letter = "A" if axis == SAGITTAL else "R"
    panel.text(1.02, 0.5, letter, transform=panel.transAxes, fontsize=7, ha="left", va="center")


def _bare_panels(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, NDArray[Any]]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for panel in axes.ravel():
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    return figure, axes
