"""How good are maps of real pictures, whose true effects nobody knows: the default recipe, scored without truth.

Trains VA-GAN with default settings on the pairs of classes of ``pictures.py``, and two independent classifiers of
different architecture on each cohort, and scores the test images beside the group mean difference. Writes
``real.json`` and ``real.md`` to ``benchmarks/results``, and for each cohort a report and a contact sheet of each seed
to ``--work``. Cohorts are studied side by side, with one thread each. The same command again goes on where it
stopped.

    python benchmarks/real.py --pairs boots --sizes 28 --seeds 0 1 2
"""

import argparse
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from pictures import add_options, make_cohort
from study import as_table, column, keep, options_of, settings_of, with_seeds

from vagan.attribution.controls import GroupMeanDifference
from vagan.data.cohort import Cohort
from vagan.evaluation.evaluate import EvaluationOptions, evaluate_runs
from vagan.evaluation.metrics.base import Entry
from vagan.evaluation.metrics.counterfactual import REAL_BASELINE
from vagan.evaluation.runs import RunSelection
from vagan.inference.attributor import Attributor
from vagan.reporting.report import build_report
from vagan.training.config import load_config
from vagan.training.engine.loop import train

FIRST_SEED = 1000
SETTINGS = {"training.seed": str(FIRST_SEED), "training.batch_size": "16", "classifier.updates": "100"}
CLASSIFIERS = {
    "classifier": SETTINGS | {"method": "classifier"},
    # with the other's width it would take four times as long
    "cam-classifier": SETTINGS | {"method": "cam-classifier", "classifier.width": "8"},
}
"""Settings of the independent classifiers, by name."""
SHOWN = 8
MEASURED = 200
"""Images whose counterfactuals are compared with the range of images."""
CONTROL = GroupMeanDifference.name
SCORES = ("flip_rate", "flip_rate/cam-classifier", "kernel_distance", "kernel_distance/cam-classifier",
          "baseline_response_ratio", "empty_map", "residual_effect", "relative_change")  # fmt: skip


def main() -> None:
    parser = options_of(__doc__, "runs/real")
    add_options(parser)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--name", default="real", help="of the result's files")
    parser.add_argument("--classifiers", type=int, default=1, help="independent classifiers of each architecture")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="cohorts that are studied side by side")
    options = parser.parse_args()
    options.set.append("training.num_threads=1")
    studies = sorted(product(options.pairs, options.sizes), key=lambda study: -study[1])  # those that take long first
    with ProcessPoolExecutor(options.processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        running = {f"{pair}-{size}": pool.submit(_study, pair, size, options) for pair, size in studies}
        found = {name: running[name].result() for name in sorted(running)}
    print(_markdown(found))
    keep(
        options.name,
        {"preset": options.preset, "settings": options.set, "images": options.images}
        | {"classifiers": options.classifiers, "cohorts": found},
        _markdown(found),
        out=options.out,
    )


def _study(pair: str, size: int, options: argparse.Namespace) -> dict:
    folder = options.work / f"{pair}-{size}"
    cohort = make_cohort(folder, pair, size=size, images=options.images, fashion=options.fashion_mnist)
    classifiers = []
    for number, (name, settings) in product(range(options.classifiers), CLASSIFIERS.items()):
        own = settings_of(options, 0) | settings | {"training.seed": str(FIRST_SEED + number)}
        classifiers.append(train(cohort, folder / _classifier(name, number), load_config("fast", own)).path)
    runs = []
    for seed in options.seeds:
        config = load_config(options.preset, settings_of(options, seed))
        runs.append(train(cohort, folder / f"{Path(options.preset).stem}-{seed}", config))
    selection = RunSelection(methods=["vagan", "group-mean-difference"], classifiers=classifiers)
    evaluation = evaluate_runs(cohort, [run.path for run in runs], folder / "results", EvaluationOptions(), selection)
    build_report(folder / "results")
    methods = [name for name in evaluation.summary if name != CONTROL]
    by_seed = [
        _scores(evaluation.summary[method], options.classifiers)
        | _outside(cohort, run.path)
        | {"training_seconds": run.seconds()}
        for method, run in zip(methods, runs, strict=True)
    ]
    return {
        "by_seed": by_seed,
        CONTROL: _scores(evaluation.summary[CONTROL], options.classifiers),
        REAL_BASELINE: _scores(evaluation.references[REAL_BASELINE], options.classifiers),
        "verdict": evaluation.rules["verdict"],
    }


def _classifier(architecture: str, number: int) -> str:
    return f"{architecture}-{number}" if number else architecture


def _scores(entries: Mapping[str, Entry], classifiers: int) -> dict[str, float]:
    """Means of a method; those of classifiers over all of one architecture."""
    found = {}
    for name in SCORES:
        score, _, architecture = name.partition("/")
        others = [f"{score}/{_classifier(architecture or 'classifier', number)}" for number in range(1, classifiers)]
        values = [entries[one]["mean"] for one in (name, *others) if one in entries]
        if values:
            found[name] = float(np.mean(values))
    return found


def _outside(cohort: Cohort, run: Path) -> dict[str, float]:
    """Share of pixels of counterfactuals beyond the range of images; also draws the first few."""
    attribution = Attributor.load(run).attribute(cohort.select(split="test", label=1)[:MEASURED])
    attribution[:SHOWN].plot().savefig(run.with_suffix(".png"), dpi=150)
    return {"outside": float((attribution.counterfactual.abs() > 1 + 1e-3).double().mean())}


def _markdown(found: dict[str, dict]) -> str:
    head = ["pictures", "flip rate (seeds)", "second classifier", "real baseline images", CONTROL, "kernel distance",
            f"of {CONTROL}", "by the second classifier", f"of {CONTROL}", "M(x0)/M(x1)", "empty maps",
            "pixels outside", "training, s"]  # fmt: skip
    rows = []
    for name, study in found.items():
        seeds, control, real = study["by_seed"], study[CONTROL], study[REAL_BASELINE]
        means = {score: float(np.mean(column(seeds, score))) for score in seeds[0]}
        rows.append([
            name, with_seeds(column(seeds, "flip_rate")), f"{means[SCORES[1]]:.3f}",
            f"{real['flip_rate']:.3f}", f"{control['flip_rate']:.3f}", f"{means['kernel_distance']:.3f}",
            f"{control['kernel_distance']:.3f}", f"{means[SCORES[3]]:.3f}", f"{control[SCORES[3]]:.3f}",
            f"{means['baseline_response_ratio']:.3f}",
            f"{means['empty_map']:.3f}", f"{means['outside']:.3f}", f"{means['training_seconds']:.0f}",
        ])  # fmt: skip
    return as_table(head, rows)


if __name__ == "__main__":
    main()
