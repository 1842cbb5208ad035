"""The results folder: written by `vagan evaluate`, read by reports, exports and masks."""

import json
import math
import os
import platform
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from vagan.data.cohort import Cohort
from vagan.data.schema import DROPPED
from vagan.data.table import write_table
from vagan.errors import ConfigError, OutputError, RunError
from vagan.evaluation.evaluation import HEADLINE, KNOWN_EFFECT, Evaluation, Examples
from vagan.evaluation.metrics import counterfactual
from vagan.evaluation.metrics.registry import find_metric
from vagan.files import digest_of, read_text, replacing, write_json, write_text
from vagan.model.folder import TrainedModel
from vagan.training.config import parse_yaml
from vagan.training.engine.run_folder import RunFolder

MAX_EXAMPLE_BYTES = 2**33
WITHOUT_TRUTH = tuple(metric.name for metric in counterfactual.METRICS)
LIBRARIES = ("vagan", "torch", "numpy", "scipy", "scikit-learn", "lightning-fabric")

Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""NaN where it is undefined, for which JSON has no number but null."""


class Score(BaseModel):
    """One metric of one method over all test cases: mean, standard deviation, 95 % interval of the mean."""

    mean: Number
    std: Number
    ci95: tuple[Number, Number]
    n: int

    @property
    def decimals(self) -> int:
        """Decimals for all its numbers: three, or as many as give the largest of them three digits."""
        largest = max((abs(v) for v in (self.mean, self.std, *self.ci95) if math.isfinite(v)), default=0.0)
        return 3 if largest == 0 or 0.01 <= largest < 10 else max(2 - math.floor(math.log10(largest)), 0)


Word = Annotated[str, Field(max_length=10_000)] | bool | int | float | None
Words = dict[str, Word | list[Word] | dict[str, Word]]


class SummaryFile(BaseModel):
    """Content of ``summary.json``."""

    methods: dict[str, dict[str, Score]]
    ceiling: dict[str, Score] = {}
    references: dict[str, dict[str, Score]] = {}
    """Of real images."""
    thresholds: Words = {}
    rules: Words = {}
    runs: list[str] | None = None
    classifiers: dict[str, dict[str, Any]] = {}
    units: dict[str, str] = {}
    train_seconds: dict[str, float] = {}
    map_seconds: dict[str, float] = {}
    machine: Words = {}
    versions: Words = {}
    cohort: Words = {}
    files: dict[str, str] = {}
    """Digests of the files beside it; empty in results of older versions."""

    @model_validator(mode="after")
    def _is_whole(self) -> "SummaryFile":
        for name, table in (("counts", self.cohort), ("conventions", self.rules)):
            if not isinstance(table.get(name, {}), dict):
                raise ValueError(f"{name} must hold names and values")
        if not any(self.methods.values()):
            raise ValueError("scores of at least one method are required, found none")
        return self

    @property
    def metrics(self) -> list[str]:
        """Of any method: the headline, those that compare with known effects, those of counterfactuals, others."""

        def rank(name: str) -> tuple[bool, bool, int]:
            kind = name.partition("/")[0]
            place = WITHOUT_TRUTH.index(kind) if kind in WITHOUT_TRUTH else len(WITHOUT_TRUTH)
            return name != HEADLINE, not find_metric(name).needs_truth, place

        return sorted(dict.fromkeys(name for scores in self.methods.values() for name in scores), key=rank)

    def ranked(self, metric: str) -> list[str]:
        """Methods, the best by this metric first; those without it at the end."""
        sign = 1 if find_metric(metric).direction == "lower" else -1

        def key(name: str) -> float:
            score = self.methods[name].get(metric)
            return math.inf if score is None or math.isnan(score.mean) else sign * score.mean

        return sorted(self.methods, key=key)


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
    summary: SummaryFile
    examples: Examples | None
    runs: tuple[Run, ...]
    values: Mapping[tuple[str, str], float]
    """Headline score of each case and method."""
    left_out: pd.DataFrame | None
    """Images that never came into the cohort: image, reason."""


class ResultsFolder:
    """Names and files of a results folder; it writes them and reads them.

    ``scores.csv`` has a row for each case, method and metric; ``summary`` and ``table`` are their summary as JSON and
    as Markdown. ``examples``: images and maps to show; ``left_out``: images that never came into the cohort;
    ``runs``: copies of the runs' settings and logs. Of comparisons with follow-up scans: ``pairs``, ``table2``, and
    the NIfTI files in ``observed`` and ``maps``.
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

    @property
    def _described(self) -> tuple[Path, ...]:
        """Files whose digests the summary holds."""
        return self.scores, self.table, self.examples, self.left_out

    def require_folder(self) -> None:
        """Refuse a file in its place, and a folder with other files of the same names."""
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"the results folder must be a folder: {self.path} is a file; choose another name")
        ours = {self.pairs: "subject,case,kind,", self.table2: "Mean ± standard deviation over"}
        with suppress(OSError, ValueError):
            SummaryFile.model_validate_json(read_text(self.summary))
            ours |= dict.fromkeys((self.summary, *self._described), "")
        written = (self.summary, *self._described, self.pairs, self.table2)
        if foreign := next((path for path in written if path.exists() and not _holds(path, ours.get(path))), None):
            required = "the results folder must be new, empty or an older one"
            raise OutputError(f"{required}: {foreign} is not of `vagan evaluate`; choose another")

    def write(
        self,
        evaluation: Evaluation,
        cohort: Cohort,
        models: Sequence[TrainedModel] = (),
        *,
        rules: Mapping[str, Any] | None = None,
        classifiers: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Write an evaluation of models on a cohort, with copies of the runs' settings and logs.

        Files of older results are replaced one by one. ``rules`` are what a reader must know besides, ``classifiers``
        the accuracy and calibration of the classifiers on the test images, by run.
        """
        self.require_folder()
        runs = [RunFolder(model.path) for model in models]
        train_seconds = {run.path.name: run.seconds() for run in runs}  # read before anything is written
        same = ("ceiling", "references", "thresholds", "units", "map_seconds")
        summary = {name: getattr(evaluation, name) for name in same} | {
            "methods": evaluation.summary,
            "rules": {
                "selection": "; ".join(sorted({model.spec.rule for model in models})),
                "conventions": evaluation.conventions,
                **evaluation.rules,
                **(rules or {}),
            },
            "runs": [run.path.name for run in runs],
            "classifiers": classifiers or {},
            "train_seconds": train_seconds,
            "machine": {"processor": platform.machine(), "system": platform.system(), "cores": os.cpu_count()},
            "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
            "cohort": {
                "source": cohort.metadata.source,
                "hash": cohort.metadata.content_hash,
                "classes": list(cohort.manifest.classes),
                "counts": {str(k): int(v) for k, v in cohort.manifest.table["split"].value_counts().items()},
            },
        }
        with ExitStack() as stack:
            written = [stack.enter_context(replacing(path)) for path in self._described]
            scores, table, examples, left_out = written
            write_table(scores, evaluation.rows, digits=6)
            write_text(table, evaluation.to_markdown())
            _write_examples(examples, evaluation.examples)
            write_table(left_out, _left_out(cohort))
            # first of all in place, so that a reader notices if it meets files of two evaluations
            summary["files"] = {path.name: digest_of(new) for path, new in zip(self._described, written, strict=True)}
            # JSON has no numbers for NaN and infinity
            write_json(self.summary, json.loads(json.dumps(summary), parse_constant=lambda _: None))
        for run in runs:
            for source in (run.config, run.metrics, run.environment):
                if source.is_file():
                    with replacing(self.runs / run.path.name / source.name) as temporary:
                        shutil.copyfile(source, temporary)

    def read(self) -> Results:
        """Read and check everything; `RunError` if ``summary.json`` is missing, or any file is damaged."""
        summary = self.read_summary()
        self._require_described(summary)
        scores = self._read_table(self.scores, ["case", "method", "metric", "value"])
        scores = scores[scores["metric"] == summary.metrics[0]]
        values = pd.to_numeric(scores["value"], errors="coerce").astype(float)
        # folders of an earlier evaluation may still lie there
        listed = summary.runs
        runs = [run for run in self.runs.glob("*") if run.is_dir() and (listed is None or run.name in listed)]
        found = Results(
            self.path,
            summary,
            self._read_examples(),
            tuple(self._read_run(run) for run in sorted(runs)),
            dict(zip(zip(scores["case"], scores["method"], strict=True), values, strict=True)),
            self._read_table(self.left_out, ["image", "reason"]) if self.left_out.is_file() else None,
        )
        self._require_described(summary)  # an evaluation may have written meanwhile
        return found

    def _require_described(self, summary: SummaryFile) -> None:
        """Refuse files that may be of another evaluation than the summary."""
        for path in self._described:
            if path.name in summary.files and summary.files[path.name] != digest_of(path):
                raise RunError(
                    f"{path} is not the one that {self.summary.name} describes: an evaluation is being written, was "
                    f"cut short, or the file was edited; {self._remedy}"
                )

    def threshold(self, method: str) -> float:
        """The ``|map|`` above which a pixel counts as marked, from a method's maps of validation images.

        `RunError` if the folder is damaged, or has no threshold for the method.
        """
        thresholds = self.read_summary().thresholds
        threshold = thresholds.get(method)
        if not isinstance(threshold, int | float) or not np.isfinite(threshold) or threshold < 0:
            raise RunError(
                f"{self.path} must hold a threshold for {method!r}, found those of "
                f"{', '.join(thresholds) or 'no method'}; give the results of `vagan evaluate` on this run alone"
            )
        return float(threshold)

    def read_summary(self) -> SummaryFile:
        """Content of ``summary.json``, checked; raises as `read` does."""
        if not self.summary.is_file():
            raise RunError(f"{self.path} must be a results folder, but holds no {self.summary.name}; {self._remedy}")
        with self._reading(self.summary):
            return SummaryFile.model_validate_json(read_text(self.summary))

    def _read_table(self, path: Path, columns: list[str]) -> pd.DataFrame:
        """A table of text; empty where there is no such file."""
        if not path.is_file():
            return pd.DataFrame(columns=columns)
        with self._reading(path):
            return pd.read_csv(path, dtype=str, keep_default_na=False)[columns]

    def _read_examples(self) -> Examples | None:
        if not self.examples.is_file():
            return None
        with self._reading(self.examples), np.load(self.examples, allow_pickle=False) as file:
            if sum(member.file_size for member in file.zip.infolist()) > MAX_EXAMPLE_BYTES:
                raise ValueError(f"it must not decompress to more than {MAX_EXAMPLE_BYTES} bytes")
            arrays = dict(file)
            ids, roles = (tuple(map(str, arrays.pop(name, ()))) for name in ("ids", "roles"))
            affine, named = arrays.pop("affine", None), str(arrays.pop("effects_name", KNOWN_EFFECT))
            arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
            images = arrays["images"]
            if not ids or images.ndim not in (4, 5) or images.size == 0:
                raise ValueError(f"must hold images (n, channel, *space), found {images.shape}")
            for name, array in arrays.items():
                if array.shape != (len(ids), *images.shape[1:]) or not np.isfinite(array).all():
                    raise ValueError(
                        f"arrays must be finite and have the shape of the images, found {array.shape} for {name} "
                        f"beside {images.shape} and {len(ids)} ids, or NaN"
                    )
            if len(roles) not in (0, len(ids)) or (affine is not None and affine.shape != (4, 4)):
                raise ValueError("must hold one role for each image and a 4x4 affine")
        maps = {name.removeprefix("maps/"): array for name, array in arrays.items() if name.startswith("maps/")}
        return Examples(ids, images, arrays.get("effects"), maps, roles, affine, effects_name=named)

    def _read_run(self, path: Path) -> Run:
        run = RunFolder(path)
        with self._reading(run.config):
            text = read_text(run.config) if run.config.is_file() else ""
            settings = dict(_dotted(parse_yaml(text, where=str(run.config)) or {}))
        with self._reading(run.metrics):
            table = pd.read_csv(run.metrics) if run.metrics.is_file() else None
            if table is not None and "update" not in table:
                raise ValueError(f"must have the column update, found {', '.join(map(str, table.columns))}")
        with self._reading(run.environment):
            installed = read_text(run.environment) if run.environment.is_file() else ""
        return Run(path.name, settings, text, table, installed)

    @contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        """Say which file is damaged, and what makes it."""
        wrong = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
        try:
            yield
        except (*wrong, zipfile.BadZipFile, ConfigError) as error:
            found = " ".join(str(error).split())
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                found = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise RunError(f"{path} is damaged ({type(error).__name__}: {found}); {self._remedy}") from error

    @property
    def _remedy(self) -> str:
        return f"make it with `vagan evaluate COHORT RUN... --out {self.path}`"


def _holds(path: Path, mark: str | None) -> bool:
    """Whether a regular file holds this text; nothing holds None."""
    with suppress(OSError, ValueError):
        return mark is not None and (not mark or mark in read_text(path))
    return False


def _write_examples(path: Path, examples: Examples) -> None:
    arrays = {"images": examples.images, "effects": examples.effects, "affine": examples.affine}
    arrays |= {f"maps/{name}": maps for name, maps in examples.maps.items()}
    written: dict[str, Any] = {name: array for name, array in arrays.items() if array is not None}
    written |= {name: np.array(getattr(examples, name), str) for name in ("ids", "roles", "effects_name")}
    np.savez_compressed(path, **written)


def _left_out(cohort: Cohort) -> pd.DataFrame:
    """Rows of what was dropped on import and of what failed in the preprocessing beside it: image, reason."""
    tables = [
        pd.read_csv(path, dtype=str, keep_default_na=False)
        for path in (cohort.path / DROPPED, cohort.path.parent / "failed.csv")
        if path.is_file()
    ]
    return pd.concat([pd.DataFrame(columns=["image", "reason"]), *tables])[["image", "reason"]]


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
