"""One self-contained page about a results folder, made from nothing but that folder."""

import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure

from vagan.errors import RunError
from vagan.files import replacing
from vagan.reporting.figures import (
    DARK_INK,
    METRIC_LABELS,
    Examples,
    Format,
    as_data_uri,
    example_grid,
    reliability_curves,
    rendered,
    score_bars,
    training_curves,
)
from vagan.reporting.longitudinal import (
    Followed,
    effects_by_region,
    figure5,
    figure6,
    figure_of_means,
    read_followed,
    write_group_means,
    write_regions,
)
from vagan.reporting.page import page_template

HEADLINE = "ncc"
"""Metric that orders the methods and is named first, wherever it was computed."""

SIZES = ("energy", "energy_ratio")
"""Metrics that need no known effects, and so cannot tell which map is right."""

FORMATS: tuple[Format, ...] = ("png", "svg", "pdf")


@dataclass(frozen=True)
class Score:
    """One metric of one method over all test cases: mean, standard deviation, 95 % interval of the mean."""

    mean: float
    std: float
    low: float
    high: float
    n: int

    @property
    def decimals(self) -> int:
        """Decimals for all its numbers: three, or as many as give the largest of them three digits."""
        largest = max((abs(v) for v in (self.mean, self.std, self.low, self.high) if math.isfinite(v)), default=0.0)
        return 3 if largest == 0 or 0.01 <= largest < 10 else max(2 - math.floor(math.log10(largest)), 0)


@dataclass(frozen=True)
class Run:
    """A training: its settings as dotted keys, as written, and what it logged."""

    name: str
    settings: Mapping[str, Any]
    config: str
    metrics: pd.DataFrame | None
    environment: str


@dataclass(frozen=True)
class Results:
    """Content of a results folder. What is optional and missing is None or empty."""

    folder: Path
    summary: Mapping[str, Any]
    methods: Mapping[str, Mapping[str, Score]]
    ceiling: Mapping[str, Score]
    examples: Examples | None
    runs: tuple[Run, ...]

    @property
    def metrics(self) -> list[str]:
        """Metrics of any method; the first one is the headline."""
        names = list(dict.fromkeys(name for scores in self.methods.values() for name in scores))
        return sorted(names, key=lambda name: (name != HEADLINE, name in SIZES))


@dataclass(frozen=True)
class Drawn:
    """A figure in the page, for light and for dark screens, its width and its files."""

    inches: float
    light: str
    dark: str
    files: Mapping[Format, bytes]


def build_report(
    folder: Path, *, hide_ids: bool = False, atlas: Path | None = None, atlas_names: Path | None = None
) -> Path:
    """Write ``report.html`` and ``figures/`` into a results folder.

    Everything is drawn before anything is written, and the page is replaced last: if building fails, the older
    report is still there and whole.

    Parameters
    ----------
    folder
        What ``vagan evaluate`` left behind. Only ``summary.json`` is necessary. With follow-up scans it gets Figures
        5 and 6 of the paper and mean effects, as NIfTI too.
    hide_ids
        Number the subjects in figures and page instead of naming them.
    atlas, atlas_names
        With follow-up scans: effects in these regions, in ``regions.csv``; see `effects_by_region`.

    Returns
    -------
    Path
        The page. It needs no other file and no network.

    Raises
    ------
    RunError
        If the folder holds no results, or a file in it is damaged.
    OutputError
        If the folder cannot be written to.
    """
    results = read_results(folder)
    if hide_ids and results.examples is not None:
        numbered = tuple(f"image {number}" for number in range(1, len(results.examples.ids) + 1))
        results = replace(results, examples=replace(results.examples, ids=numbered))
    followed = _followed(folder, hide_ids=hide_ids)
    if atlas is not None:
        if followed is None:
            raise RunError(f"regions are of follow-up scans, and {folder} holds none; evaluate with --longitudinal")
        write_regions(folder, effects_by_region(followed, atlas, atlas_names))
    figures = {name: _drawn(figure) for name, figure in {**_figures(results), **_followed_figures(followed)}.items()}
    page = _page(results, figures)
    for name, figure in figures.items():
        for kind, content in figure.files.items():
            with replacing(folder / "figures" / f"{name}.{kind}") as temporary:
                temporary.write_bytes(content)
    with replacing(folder / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / "report.html"


def read_results(folder: Path) -> Results:
    """Read and check a results folder.

    Raises
    ------
    RunError
        If ``summary.json`` is missing, or any file is damaged; names the file and the command that makes it.
    """
    path = folder / "summary.json"
    if not path.is_file():
        raise RunError(f"{folder} must hold results, but {path} is missing; {_remedy(folder)}")
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        methods = {name: _scores(values) for name, values in summary["methods"].items()}
        ceiling = _scores(summary.get("ceiling", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error
    if not any(methods.values()):
        raise RunError(f"{path} must hold scores of at least one method, found none; {_remedy(folder)}")
    for key, defect in _defects(summary):
        raise RunError(f"{path} is damaged: {key} must {defect}; {_remedy(folder)}")
    # folders of an earlier evaluation may still lie there
    shown = summary.get("runs")
    runs = sorted(run for run in (folder / "runs").glob("*") if run.is_dir() and (shown is None or run.name in shown))
    return Results(folder, summary, methods, ceiling, _read_examples(folder), tuple(_read_run(run) for run in runs))


def _defects(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Optional parts that are there but not of the kind they should be."""
    for key in (
        "thresholds",
        "rules",
        "classifiers",
        "train_seconds",
        "map_seconds",
        "machine",
        "versions",
        "cohort",
    ):
        table = summary.get(key, {})
        if not isinstance(table, dict):
            yield key, "hold names and values"
        elif key.endswith("_seconds") and not all(isinstance(value, int | float) for value in table.values()):
            yield key, "hold numbers"
        else:
            inner = [name for name in ("counts", "conventions") if not isinstance(table.get(name, {}), dict)]
            yield from ((f"{key}.{name}", "hold names and values") for name in inner)


def _scores(values: Mapping[str, Any]) -> dict[str, Score]:
    return {
        metric: Score(
            mean=_number(score["mean"]),
            std=_number(score["std"]),
            low=_number(score["ci95"][0]),
            high=_number(score["ci95"][1]),
            n=int(score["n"]),
        )
        for metric, score in values.items()
    }


def _number(value: int | float | None) -> float:
    """Where a score is undefined, JSON has null."""
    return math.nan if value is None else float(value)


def _read_examples(folder: Path) -> Examples | None:
    path = folder / "examples.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            ids = tuple(str(name) for name in file["ids"])
            images = np.asarray(file["images"], np.float32)
            maps = {name: np.asarray(file[name], np.float32) for name in file.files if name.startswith("maps/")}
            effects = np.asarray(file["effects"], np.float32) if "effects" in file.files else None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error
    arrays = {"images": images, **maps} | ({} if effects is None else {"effects": effects})
    if not ids or images.ndim not in (4, 5) or images.size == 0:
        raise RunError(f"{path} must hold images (n, channel, *space), found {images.shape}; {_remedy(folder)}")
    for name, array in arrays.items():
        if array.shape != (len(ids), *images.shape[1:]):
            raise RunError(
                f"{path}: all arrays must have the shape of the images, found {array.shape} for {name} "
                f"beside {images.shape} and {len(ids)} ids; {_remedy(folder)}"
            )
        if not np.isfinite(array).all():
            raise RunError(f"{path}: all values must be finite, found NaN or infinity in {name}; {_remedy(folder)}")
    return Examples(ids, images, effects, {name.removeprefix("maps/"): array for name, array in maps.items()})


def _read_run(path: Path) -> Run:
    config, metrics, environment = path / "config.yaml", path / "metrics.csv", path / "environment.txt"
    file = config
    try:
        text = config.read_text(encoding="utf-8") if config.is_file() else ""
        values = yaml.safe_load(text) or {}
        if not isinstance(values, dict):
            raise ValueError(f"keys and values are needed, found {type(values).__name__}")
        file = metrics
        table = pd.read_csv(metrics) if metrics.is_file() else None
        file = environment
        installed = environment.read_text(encoding="utf-8") if environment.is_file() else ""
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise _damaged(file, error) from error
    settings = dict(_dotted(values))
    if table is not None and "update" not in table:
        found = ", ".join(table.columns.astype(str))
        raise RunError(f"{metrics} must have the column update, found {found}; {_remedy(path.parents[1])}")
    return Run(path.name, settings, text, table, installed)


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _damaged(path: Path, error: Exception) -> RunError:
    folder = path.parent if path.parent.parent.name != "runs" else path.parents[2]
    found = " ".join(str(error).split())
    return RunError(f"{path} is damaged ({type(error).__name__}: {found}); {_remedy(folder)}")


def _remedy(folder: Path) -> str:
    return f"make it with `vagan evaluate COHORT RUN... --out {folder}`"


def _figures(results: Results) -> dict[str, Figure]:
    """All figures that the folder has the content for."""
    figures = {"scores": score_bars(results.summary, results.metrics[0])}
    if results.examples is not None:
        figures["examples"] = example_grid(results.examples, list(results.examples.maps))
    if results.summary.get("classifiers"):
        figures["reliability"] = reliability_curves(results.summary["classifiers"])
    for run in results.runs:
        if run.metrics is not None and len(run.metrics):
            figures[f"training-{run.name}"] = training_curves(run.metrics)
    return figures


def _followed(folder: Path, *, hide_ids: bool) -> Followed | None:
    """Converters with their maps, whose means are written too."""
    followed = read_followed(folder, hide_ids=hide_ids)
    if followed is not None:
        write_group_means(folder, followed)
    return followed


def _followed_figures(followed: Followed | None) -> dict[str, Figure]:
    """Figures 5 and 6, and means."""
    if followed is None:
        return {}
    figures = {"figure5": figure5(followed), "group-means": figure_of_means(followed)}
    generator = next((name for name in followed.maps if name.startswith("VA-GAN")), "")
    return figures | ({"figure6": figure6(followed, generator)} if generator else {})


def _drawn(figure: Figure) -> Drawn:
    files = {kind: rendered(figure, kind) for kind in FORMATS}
    return Drawn(figure.get_figwidth(), as_data_uri(figure), as_data_uri(figure, ink=DARK_INK), files)


def _page(results: Results, figures: Mapping[str, Drawn]) -> str:
    ranked = _ranked(results)
    return page_template("report.html.j2", number=number, duration=duration).render(
        results=results,
        summary=results.summary,
        figures=figures,
        ranked=ranked,
        headline=results.metrics[0],
        comparable=results.metrics[0] not in SIZES,
        labels=METRIC_LABELS,
        seeds={run.name: run.settings["training.seed"] for run in results.runs if "training.seed" in run.settings},
    )


def _ranked(results: Results) -> list[tuple[str, Mapping[str, Score]]]:
    """Methods by their headline score, best first; those without it at the end."""

    def key(item: tuple[str, Mapping[str, Score]]) -> float:
        score = item[1].get(results.metrics[0])
        return math.inf if score is None or math.isnan(score.mean) else -score.mean

    return sorted(results.methods.items(), key=key)


def number(value: float, decimals: int) -> str:
    """Write a number with a true minus sign; a dash where it is undefined."""
    return f"{value:.{decimals}f}".replace("-", "−") if math.isfinite(value) else "–"


def duration(seconds: int | float) -> str:
    """Write a time in the units a reader thinks in."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
