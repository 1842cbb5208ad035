"""The results folder: written by `vagan evaluate`, read by reports, exports and masks."""

import json
import math
import os
import platform
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from vagan.data.cohort import Cohort
from vagan.data.schema import DROPPED
from vagan.errors import OutputError, RunError
from vagan.evaluation.evaluation import HEADLINE, Evaluation, Examples
from vagan.evaluation.metrics.registry import find_metric
from vagan.files import replacing
from vagan.model.trained import TrainedModel
from vagan.training.engine.run_folder import RunFolder

PREPROCESSING_FAILURES = "failed.csv"
"""Of `vagan preprocess`, beside the cohort that it packs."""
LIBRARIES = ("vagan", "torch", "numpy", "scipy", "scikit-learn", "lightning-fabric")


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
    """Images that never came into the cohort: image, reason."""

    @property
    def metrics(self) -> list[str]:
        """Metrics of any method; the first one is the headline."""
        return _ordered([name for scores in self.methods.values() for name in scores])


class ResultsFolder:
    """Names and files of a results folder; it writes them and reads them.

    Attributes
    ----------
    path
        The folder.
    scores, summary, table
        ``scores.csv``, a row for each case, method and metric; their summary as JSON and as Markdown.
    examples
        Images and maps to show.
    left_out
        Images that never came into the cohort, and why.
    runs
        Copies of the runs' settings and logs.
    pairs, table2, observed, maps
        Of comparisons with follow-up scans: the pairs, Table 2, and NIfTI files.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path = Path(path)
        self.scores, self.summary, self.table = path / "scores.csv", path / "summary.json", path / "table.md"
        self.examples, self.left_out, self.runs = path / "examples.npz", path / "left_out.csv", path / "runs"
        self.pairs, self.table2 = path / "pairs.csv", path / "table2.md"
        self.observed, self.maps = path / "observed", path / "maps"

    def scan(self, case: str) -> Path:
        """Later scan of a pair."""
        return self.observed / f"{case}_T1w.nii.gz"

    def observed_effect(self, case: str) -> Path:
        """What changed in a subject, on the grid of the later scan; its sidecar ends in .json."""
        return self.observed / f"{case}_desc-observed_stat-effect_statmap.nii.gz"

    def brain_mask(self, case: str) -> Path:
        """Brain of both scans."""
        return self.observed / f"{case}_desc-observed-brain_mask.nii.gz"

    def map(self, method: str, case: str) -> Path:
        """A method's map of a pair's later scan."""
        folder = "".join(letter if letter.isalnum() else "-" for letter in method)
        return self.maps / folder / f"{case}_stat-effect_statmap.nii.gz"

    def log_jacobian(self, method: str, case: str) -> Path:
        """Of a method that deforms: the logarithm of the volume now over the volume before, on the same grid."""
        return self.map(method, case).with_name(f"{case}_stat-logjacobian_statmap.nii.gz")

    def require_folder(self) -> None:
        """Refuse a file in its place."""
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"the results folder must be a folder: {self.path} is a file; choose another name")

    def write(
        self,
        evaluation: Evaluation,
        cohort: Cohort,
        models: Sequence[TrainedModel] = (),
        *,
        rules: Mapping[str, Any] | None = None,
        classifiers: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Write scores, summary, table and examples, with copies of the runs' settings and logs.

        Files of older results are replaced one by one.

        Parameters
        ----------
        evaluation
            What was measured.
        cohort, models
            What it was measured on, and the trained models behind it.
        rules
            What a reader must know besides.
        classifiers
            Accuracy and reliability of the classifiers on the test images, by run.
        """
        self.require_folder()
        runs = [RunFolder(model.path) for model in models]
        train_seconds = {run.path.name: run.seconds() for run in runs}  # read before anything is written
        summary = {
            "methods": evaluation.summary,
            "ceiling": evaluation.ceiling,
            "thresholds": evaluation.thresholds,
            "rules": {
                "selection": "; ".join(sorted({model.spec.rule for model in models})),
                "conventions": evaluation.conventions,
                **evaluation.rules,
                **(rules or {}),
            },
            "runs": [run.path.name for run in runs],
            "classifiers": classifiers or {},
            "units": evaluation.units,
            "train_seconds": train_seconds,
            "map_seconds": evaluation.map_seconds,
            "machine": {"processor": platform.machine(), "system": platform.system(), "cores": os.cpu_count()},
            "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
            "cohort": {
                "source": cohort.metadata.source,
                "hash": cohort.metadata.content_hash,
                "classes": list(cohort.manifest.classes),
                "counts": {str(k): int(v) for k, v in cohort.manifest.table["split"].value_counts().items()},
            },
        }
        with replacing(self.scores) as temporary:
            evaluation.rows.to_csv(temporary, index=False, float_format="%.6g")
        with replacing(self.summary) as temporary:
            temporary.write_text(json.dumps(_finite(summary), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        with replacing(self.table) as temporary:
            temporary.write_text(evaluation.to_markdown(), encoding="utf-8")
        self._write_examples(evaluation.examples)
        with replacing(self.left_out) as temporary:
            _left_out(cohort).to_csv(temporary, index=False)
        for run in runs:
            for source in (run.config, run.metrics, run.environment):
                if source.is_file():
                    with replacing(self.runs / run.path.name / source.name) as temporary:
                        shutil.copyfile(source, temporary)

    def _write_examples(self, examples: Examples) -> None:
        optional = {
            "roles": np.array(examples.roles) if examples.roles else None,
            "affine": examples.affine,
            "effects": examples.effects,
        }
        arrays: dict[str, Any] = {"ids": np.array(examples.ids), "images": examples.images}
        arrays |= {name: array for name, array in optional.items() if array is not None}
        arrays |= {f"maps/{name}": maps for name, maps in examples.maps.items()}
        with replacing(self.examples) as temporary:
            np.savez_compressed(temporary, **arrays)

    def read(self) -> Results:
        """Read and check everything.

        Raises
        ------
        RunError
            If ``summary.json`` is missing, or any file is damaged; names the file and the command that makes it.
        """
        summary, methods, ceiling = self._read_summary()
        # folders of an earlier evaluation may still lie there
        shown = summary.get("runs")
        runs = sorted(run for run in self.runs.glob("*") if run.is_dir() and (shown is None or run.name in shown))
        headline, *_ = _ordered([name for scores in methods.values() for name in scores])
        return Results(
            self.path,
            summary,
            methods,
            ceiling,
            self._read_examples(),
            tuple(self._read_run(run) for run in runs),
            self._read_values(headline),
            self._read_table(self.left_out, ("image", "reason")) if self.left_out.is_file() else None,
        )

    def threshold(self, method: str) -> float:
        """The ``|map|`` above which a pixel counts as marked, from a method's maps of validation images.

        Raises
        ------
        RunError
            If the folder is damaged, or has no threshold for the method.
        """
        thresholds = self.read_summary().get("thresholds", {})
        threshold = thresholds.get(method)
        if not isinstance(threshold, int | float) or not np.isfinite(threshold) or threshold < 0:
            raise RunError(
                f"{self.path} must hold a threshold for {method!r}, found those of "
                f"{', '.join(thresholds) or 'no method'}; give the results of `vagan evaluate` on this run alone"
            )
        return float(threshold)

    def read_summary(self) -> dict[str, Any]:
        """Content of ``summary.json``, checked; raises as `read` does."""
        return self._read_summary()[0]

    def _read_summary(self) -> tuple[dict[str, Any], dict[str, dict[str, Score]], dict[str, Score]]:
        if not self.summary.is_file():
            raise RunError(f"{self.path} must hold results, but {self.summary} is missing; {self._remedy}")
        try:
            summary = json.loads(self.summary.read_text(encoding="utf-8"))
            methods = {name: _scores(values) for name, values in summary["methods"].items()}
            ceiling = _scores(summary.get("ceiling", {}))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise self._damaged(self.summary, error) from error
        if not any(methods.values()):
            raise RunError(f"{self.summary} must hold scores of at least one method, found none; {self._remedy}")
        for key, defect in _defects(summary):
            raise RunError(f"{self.summary} is damaged: {key} must {defect}; {self._remedy}")
        return summary, methods, ceiling

    def _read_values(self, metric: str) -> dict[tuple[str, str], float]:
        rows = self._read_table(self.scores, ("case", "method", "metric", "value"))
        rows = rows[rows["metric"] == metric]
        values = pd.to_numeric(rows["value"], errors="coerce")
        return {
            (str(case), str(method)): float(value)
            for case, method, value in zip(rows["case"], rows["method"], values, strict=True)
        }

    def _read_table(self, path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
        """A table of text; empty where there is no such file."""
        if not path.is_file():
            return pd.DataFrame(columns=list(columns))
        try:
            return pd.read_csv(path, dtype=str, keep_default_na=False)[list(columns)]
        except (OSError, ValueError, KeyError) as error:
            raise self._damaged(path, error) from error

    def _read_examples(self) -> Examples | None:
        path = self.examples
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
            raise self._damaged(path, error) from error
        arrays = {"images": images, **maps} | ({} if effects is None else {"effects": effects})
        if not ids or images.ndim not in (4, 5) or images.size == 0:
            raise RunError(f"{path} must hold images (n, channel, *space), found {images.shape}; {self._remedy}")
        for name, array in arrays.items():
            if array.shape != (len(ids), *images.shape[1:]):
                raise RunError(
                    f"{path}: all arrays must have the shape of the images, found {array.shape} for {name} "
                    f"beside {images.shape} and {len(ids)} ids; {self._remedy}"
                )
            if not np.isfinite(array).all():
                raise RunError(f"{path}: all values must be finite, found NaN or infinity in {name}; {self._remedy}")
        if (roles and len(roles) != len(ids)) or (affine is not None and affine.shape != (4, 4)):
            raise RunError(f"{path} must hold one role for each image and a 4x4 affine; {self._remedy}")
        named = {name.removeprefix("maps/"): array for name, array in maps.items()}
        return Examples(ids, images, effects, named, roles, affine)

    def _read_run(self, path: Path) -> Run:
        run = RunFolder(path)
        file = run.config
        try:
            text = file.read_text(encoding="utf-8") if file.is_file() else ""
            values = yaml.safe_load(text) or {}
            if not isinstance(values, dict):
                raise ValueError(f"keys and values are needed, found {type(values).__name__}")
            file = run.metrics
            table = pd.read_csv(file) if file.is_file() else None
            file = run.environment
            installed = file.read_text(encoding="utf-8") if file.is_file() else ""
        except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
            raise self._damaged(file, error) from error
        if table is not None and "update" not in table:
            found = ", ".join(table.columns.astype(str))
            raise RunError(f"{run.metrics} must have the column update, found {found}; {self._remedy}")
        return Run(path.name, dict(_dotted(values)), text, table, installed)

    def _damaged(self, path: Path, error: Exception) -> RunError:
        found = " ".join(str(error).split())
        return RunError(f"{path} is damaged ({type(error).__name__}: {found}); {self._remedy}")

    @property
    def _remedy(self) -> str:
        return f"make it with `vagan evaluate COHORT RUN... --out {self.path}`"


def _ordered(metrics: Sequence[str]) -> list[str]:
    """Without repetition: the headline, then those that compare with known effects."""
    return sorted(dict.fromkeys(metrics), key=lambda name: (name != HEADLINE, not find_metric(name).needs_truth))


def _left_out(cohort: Cohort) -> pd.DataFrame:
    """Rows of what was dropped on import and of what failed in the preprocessing: image, reason."""
    tables = [
        pd.read_csv(path, dtype=str, keep_default_na=False)
        for path in (cohort.path / DROPPED, cohort.path.parent / PREPROCESSING_FAILURES)
        if path.is_file()
    ]
    return pd.concat([pd.DataFrame(columns=["image", "reason"]), *tables])[["image", "reason"]]


def _defects(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Optional parts that are there but not of the kind they should be."""
    tables = "thresholds rules units classifiers train_seconds map_seconds machine versions cohort"
    for key in tables.split():
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


def _finite(value: Any) -> Any:
    """The same nested values with None for numbers that are undefined, which JSON cannot express."""
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
