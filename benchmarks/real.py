"""How good are maps of real pictures, whose true effects nobody knows: the default recipe, scored without truth.

Trains VA-GAN with default settings on the pairs of classes of ``pictures.py``, and two independent classifiers of
different architecture on each cohort, and scores the test images beside the group mean difference. Writes
``real.json`` and ``real.md`` to ``benchmarks/results``, and for each cohort a report and a contact sheet of each seed
to ``--work``. Trainings run side by side, with one thread each. The same command again goes on where it stopped.

    python benchmarks/real.py --pairs boots --sizes 28 --seeds 0 1 2
"""

import argparse
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from operator import attrgetter
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
from vagan.training.config import Config, load_config
from vagan.training.engine.loop import train
from vagan.training.engine.run_folder import RunFolder

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
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="trainings that run side by side")
    options = parser.parse_args()
    options.set.append("training.num_threads=1")
    studies = [Study(pair, size, options) for pair, size in product(options.pairs, options.sizes)]
    with ProcessPoolExecutor(options.processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        list(pool.map(Study.cohort, studies))
        # the longest first, so that no process is idle for long at the end
        ordered = sorted(studies, key=attrgetter("size"), reverse=True)
        trainings = [pool.submit(study.train, run) for study in ordered for run in study.runs()]
        for training in trainings:
            training.result()
        scored = {f"{study.pair}-{study.size}": pool.submit(_score, study) for study in studies}
        found = {name: scored[name].result() for name in sorted(scored)}
    print(_markdown(found))
    keep(
        options.name,
        {"preset": options.preset, "settings": options.set, "images": options.images}
        | {"classifiers": options.classifiers, "cohorts": found},
        _markdown(found),
        out=options.out,
    )


@dataclass(frozen=True)
class Study:
    """One cohort, and what is trained on it."""

    pair: str
    size: int
    options: argparse.Namespace

    @property
    def folder(self) -> Path:
        """Of the cohort and the runs."""
        return self.options.work / f"{self.pair}-{self.size}"

    def cohort(self) -> Cohort:
        """Read, or made first."""
        options = self.options
        return make_cohort(
            self.folder, self.pair, size=self.size, images=options.images, fashion=options.fashion_mnist
        )

    def generators(self) -> dict[str, Config]:
        """Names of the map generators' runs, and their settings."""
        preset = self.options.preset
        return {
            f"{Path(preset).stem}-{seed}": load_config(preset, settings_of(self.options, seed))
            for seed in self.options.seeds
        }

    def classifiers(self) -> dict[str, Config]:
        """Names of the independent classifiers' runs, and their settings."""
        common = settings_of(self.options, 0)
        return {
            _classifier(name, number): load_config("fast", common | own | {"training.seed": str(FIRST_SEED + number)})
            for number, (name, own) in product(range(self.options.classifiers), CLASSIFIERS.items())
        }

    def runs(self) -> list[str]:
        """Names of all runs, those that take long first."""
        return [*self.generators(), *self.classifiers()]

    def train(self, name: str) -> RunFolder:
        """A run, trained unless it is complete."""
        return train(self.cohort(), self.folder / name, (self.generators() | self.classifiers())[name])


def _score(study: Study) -> dict:
    """Scores of the test images, once all runs are complete."""
    cohort, results, count = study.cohort(), study.folder / "results", study.options.classifiers
    classifiers, runs = ([study.train(name) for name in names] for names in (study.classifiers(), study.generators()))
    selection = RunSelection(
        methods=["vagan", "group-mean-difference"], classifiers=[classifier.path for classifier in classifiers]
    )
    evaluation = evaluate_runs(cohort, [run.path for run in runs], results, EvaluationOptions(), selection)
    build_report(results)
    methods = [name for name in evaluation.summary if name != CONTROL]
    by_seed = [
        _means(evaluation.summary[method], count) | _outside(cohort, run.path) | {"training_seconds": run.seconds()}
        for method, run in zip(methods, runs, strict=True)
    ]
    return {
        "by_seed": by_seed,
        CONTROL: _means(evaluation.summary[CONTROL], count),
        REAL_BASELINE: _means(evaluation.references[REAL_BASELINE], count),
        "verdict": evaluation.rules["verdict"],
    }


def _classifier(architecture: str, number: int) -> str:
    return f"{architecture}-{number}" if number else architecture


def _means(entries: Mapping[str, Entry], classifiers: int) -> dict[str, float]:
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
