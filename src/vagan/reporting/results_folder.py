"""A results folder, read and checked: what `vagan evaluate` left behind."""

import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from vagan.errors import RunError
from vagan.reporting.figures import Examples
from vagan.reporting.wording import WITHOUT_TRUTH

HEADLINE = "ncc"
"""Metric that orders the methods and is named first, wherever it was computed."""


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
    values: Mapping[tuple[str, str], float]
    """Headline score of each case and method."""
    left_out: pd.DataFrame | None
    """Images that never came into the cohort: image, reason. None in folders of earlier versions."""

    @property
    def metrics(self) -> list[str]:
        """Metrics of any method; the first one is the headline."""
        names = list(dict.fromkeys(name for scores in self.methods.values() for name in scores))
        return _ordered(names)


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
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not any(methods.values()):
        raise RunError(f"{path} must hold scores of at least one method, found none; {_remedy(folder)}")
    for key, defect in _defects(summary):
        raise RunError(f"{path} is damaged: {key} must {defect}; {_remedy(folder)}")
    # folders of an earlier evaluation may still lie there
    shown = summary.get("runs")
    runs = sorted(run for run in (folder / "runs").glob("*") if run.is_dir() and (shown is None or run.name in shown))
    left_out = folder / "left_out.csv"
    headline = _ordered([name for scores in methods.values() for name in scores])[0]
    return Results(
        folder,
        summary,
        methods,
        ceiling,
        _read_examples(folder),
        tuple(_read_run(run) for run in runs),
        _read_values(folder, headline),
        _read_table(left_out, ("image", "reason")) if left_out.is_file() else None,
    )


def _ordered(metrics: list[str]) -> list[str]:
    return sorted(metrics, key=lambda name: (name != HEADLINE, name in WITHOUT_TRUTH))


def _read_values(folder: Path, metric: str) -> dict[tuple[str, str], float]:
    rows = _read_table(folder / "scores.csv", ("case", "method", "metric", "value"))
    rows = rows[rows["metric"] == metric]
    values = pd.to_numeric(rows["value"], errors="coerce")
    return {
        (str(case), str(method)): float(value)
        for case, method, value in zip(rows["case"], rows["method"], values, strict=True)
    }


def _read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A table of text; empty where there is no such file."""
    if not path.is_file():
        return pd.DataFrame(columns=list(columns))
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)[list(columns)]
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(path, error) from error


def _defects(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Optional parts that are there but not of the kind they should be."""
    for key in (
        "thresholds",
        "rules",
        "units",
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
            roles = tuple(str(role) for role in file["roles"]) if "roles" in file.files else ()
            affine = np.asarray(file["affine"], np.float64) if "affine" in file.files else None
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
    if (roles and len(roles) != len(ids)) or (affine is not None and affine.shape != (4, 4)):
        raise RunError(f"{path} must hold one role for each image and a 4x4 affine; {_remedy(folder)}")
    named = {name.removeprefix("maps/"): array for name, array in maps.items()}
    return Examples(ids, images, effects, named, roles, affine)


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


def threshold_of(results: Path, method: str) -> float:
    """Threshold that a method's maps of validation images gave in an evaluation, without truth.

    Raises
    ------
    RunError
        If the results folder is damaged, or has no threshold for the method.
    """
    thresholds = read_results(results).summary.get("thresholds", {})
    threshold = thresholds.get(method)
    if not isinstance(threshold, int | float) or not np.isfinite(threshold) or threshold < 0:
        raise RunError(
            f"{results} must hold a threshold for {method!r}, found those of {', '.join(thresholds) or 'no method'}; "
            "give the results of `vagan evaluate` on this run alone"
        )
    return float(threshold)
