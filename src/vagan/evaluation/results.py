"""The results folder: what `vagan evaluate` leaves behind and `vagan report` reads."""

import json
import math
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vagan.data.cohort import Cohort
from vagan.data.schema import DROPPED
from vagan.errors import OutputError
from vagan.evaluation.evaluate import CEILING, Evaluation
from vagan.evaluation.tables import markdown_table
from vagan.files import replacing
from vagan.training.engine.run_folder import RunFolder

SCORES, SUMMARY, TABLE, EXAMPLES = "scores.csv", "summary.json", "table.md", "examples.npz"
LEFT_OUT = "left_out.csv"
"""Images that never came into the cohort, and why."""
PREPROCESSING_FAILURES = "failed.csv"
"""Of `vagan preprocess`, beside the cohort that it packs."""
LIBRARIES = ("vagan", "torch", "numpy", "scipy", "scikit-learn", "lightning-fabric")


def write_results(
    folder: Path,
    evaluation: Evaluation,
    cohort: Cohort,
    runs: Sequence[RunFolder],
    *,
    rules: Mapping[str, Any],
    classifiers: Mapping[str, Mapping[str, Any]],
    units: Mapping[str, str] | None = None,
) -> None:
    """Write scores, summary, table and examples, with copies of the runs' settings and curves.

    Parameters
    ----------
    folder
        New, empty, or an older results folder, whose files are replaced one by one.
    evaluation
        What was measured.
    cohort, runs
        What it was measured on, and the trainings behind it.
    rules
        What a reader must know: how models were selected, how maps were scored.
    classifiers
        Accuracy and reliability of the classifiers on the test images, by run.
    units
        Of each method's maps; see `vagan.attribution.registry.Entry`. Maps in intensity can be taken off an image.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"the results folder must be a folder: {folder} is a file; choose another name")
    train_seconds = {run.path.name: run.seconds() for run in runs}  # read before anything is written
    with replacing(folder / SCORES) as temporary:
        evaluation.rows.to_csv(temporary, index=False, float_format="%.6g")
    methods = {name: scores for name, scores in evaluation.summary.items() if name != CEILING}
    summary = {
        "methods": methods,
        "ceiling": evaluation.summary.get(CEILING, {}),
        "thresholds": evaluation.thresholds,
        "rules": {"examples": evaluation.examples.rule, **rules},
        "runs": [run.path.name for run in runs],
        "classifiers": classifiers,
        "units": units or {},
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
    with replacing(folder / SUMMARY) as temporary:
        temporary.write_text(json.dumps(_known(summary), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with replacing(folder / TABLE) as temporary:
        temporary.write_text(markdown_table(methods, ceiling=evaluation.summary.get(CEILING)), encoding="utf-8")
    _write_examples(folder / EXAMPLES, evaluation, cohort)
    with replacing(folder / LEFT_OUT) as temporary:
        _left_out(cohort).to_csv(temporary, index=False)
    for run in runs:
        for source in (run.config, run.metrics, run.environment):
            if source.is_file():
                with replacing(folder / "runs" / run.path.name / source.name) as temporary:
                    shutil.copyfile(source, temporary)


def _left_out(cohort: Cohort) -> pd.DataFrame:
    """Rows of what was dropped on import and of what failed in the preprocessing: image, reason."""
    tables = [
        pd.read_csv(path, dtype=str, keep_default_na=False)
        for path in (cohort.path / DROPPED, cohort.path.parent / PREPROCESSING_FAILURES)
        if path.is_file()
    ]
    return pd.concat([pd.DataFrame(columns=["image", "reason"]), *tables])[["image", "reason"]]


def _write_examples(path: Path, evaluation: Evaluation, cohort: Cohort) -> None:
    examples = evaluation.examples
    arrays: dict[str, Any] = {"ids": np.array(examples.ids), "images": examples.images}
    if examples.roles:
        arrays["roles"] = np.array(examples.roles)
    if cohort.metadata.affine is not None:
        arrays["affine"] = np.array(cohort.metadata.affine)
    if examples.effects is not None:
        arrays["effects"] = examples.effects
    arrays |= {f"maps/{name}": maps for name, maps in examples.maps.items()}
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def _known(value: Any) -> Any:
    """The same nested values with None for numbers that are undefined, which JSON cannot say."""
    if isinstance(value, Mapping):
        return {key: _known(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_known(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
