"""What learning to insert the class costs and achieves.

Synthetic images with squares in the class of interest. For each seed, trains generators that only remove the class
and bidirectional ones, with full, weak and (preset) scaled weights for insertion, and with a cycle term; and one
independent classifier. Scores on test images: NCC of removed effects with the true ones, and the response on
baseline images; the share of images that the classifier assigns to the other class after removal and after
insertion; the amplitude of inserted effects relative to true ones; and the error after removal and insertion,
relative to what was removed. Writes ``bidirectional.json`` and ``bidirectional.md`` to ``benchmarks/results``. The
same command resumes.

    python benchmarks/bidirectional.py --seeds 0 1 2
    python benchmarks/bidirectional.py --size 18 20 16  # volumes: bidirectional-3d.json
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from cohorts import kept
from study import as_table, column, keep, named, options_of, settings_of, with_seeds
from torch import nn

from vagan.data.cohort import Cohort
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.evaluation.metrics.agreement import mean_ncc
from vagan.inference.attributor import Attributor
from vagan.model.folder import load_model
from vagan.training.config import load_config
from vagan.training.engine.loop import train

EQUAL_WEIGHTS = {"loss.insertion_weight_scale": "1"}
WEAK = {"loss.map_weight": "1", "loss.identity_weight": "2", **EQUAL_WEIGHTS}
RUNS: dict[str, tuple[str, dict[str, str]]] = {
    "removal only": ("fast", {"schedule.early_stopping_from": "0"}),
    "removal only, weak weights": ("bidirectional", WEAK | {"training.bidirectional": "false"}),
    "bidirectional, full weights": ("bidirectional", EQUAL_WEIGHTS),
    "bidirectional, weak weights": ("bidirectional", WEAK),
    "bidirectional, weak weights, cycle": ("bidirectional", WEAK | {"loss.cycle_weight": "10"}),
    "bidirectional": ("bidirectional", {}),
}
"""Preset and settings."""
SETTINGS = {
    "training.generator_updates": "300",
    "training.validate_every": "50",
    "schedule.boosted_critic_updates": "40",
    "schedule.distillation_updates": "20",
    "generator.width": "8",
    "critic.width": "8",
}
"""Small networks: enough for images of 32x32."""
COLUMNS = {
    "baseline_response_ratio": "M(x0)/M(x1)",
    "baseline_after_removal": "classified as baseline after removal",
    "class_after_insertion": "classified as the class after insertion",
    "inserted_size": "amplitude of inserted effects, relative to true ones",
    "cycle_error": "cycle error",
}


def main() -> None:
    options = options_of(__doc__, "runs/bidirectional", images=2000, size=(32, 32), runs=RUNS).parse_args()
    cohort = kept(
        options.work / "cohort", make_synthetic_cohort, n=options.images, size=options.size, intensity="fixed"
    )
    run_of_classifier = _train(
        cohort, options, "classifier", 0, ("fast", {"method": "classifier", "classifier.updates": "100"})
    )
    network, _ = load_model(run_of_classifier.path)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in options.runs}
    for seed in options.seeds:
        for name in options.runs:
            run = _train(cohort, options, name, seed, RUNS[name])
            figures = _figures(cohort, run.path, network, inserts=name.startswith("bidirectional"))
            found[name].append({"seed": seed, "training_seconds": run.seconds(), **figures})
            print(name, {key: round(value, 3) for key, value in found[name][-1].items()}, flush=True)
            _write(found, options)


def _train(cohort: Cohort, options: argparse.Namespace, name: str, seed: int, what: tuple[str, dict[str, str]]):
    preset, settings = what
    config = load_config(preset, SETTINGS | settings | settings_of(options, seed))
    return train(cohort, options.work / f"{name.replace(',', '').replace(' ', '-')}-{seed}", config, monitor=mean_ncc)


def _figures(cohort: Cohort, run: Path, classifier: nn.Module, *, inserts: bool) -> dict[str, float]:
    ill, well = (cohort.manifest.indices("test", label) for label in (1, 0))
    images, healthy, effects = cohort.images(ill), cohort.images(well), cohort.effects(ill)
    out = Attributor.load(run)
    found = out.attribute(images)
    maps, cured = found.effect, found.counterfactual
    figures = {
        "ncc": mean_ncc(maps, effects),
        "baseline_response_ratio": float(out.effect(healthy).abs().mean() / maps.abs().mean()),
        "baseline_after_removal": _share_classified(classifier, cured, False),
        "baseline_before": _share_classified(classifier, images, False),
    }
    if inserts:
        insertion = Attributor.load(run, insert=True)
        figures["class_before"] = _share_classified(classifier, healthy, True)
        made = insertion.attribute(healthy).counterfactual
        figures["class_after_insertion"] = _share_classified(classifier, made, True)
        figures["inserted_size"] = float((made - healthy).abs().mean() / effects.abs().mean())
        left = insertion.attribute(cured).counterfactual - images
        figures["cycle_error"] = float(left.abs().mean() / (cured - images).abs().mean())
    return figures


def _share_classified(classifier: nn.Module, images: torch.Tensor, as_class: bool) -> float:
    """Share of the images that are classified as the class of interest, or as baseline."""
    with torch.no_grad():
        logits = classifier.eval()(images)
    return float(((logits[:, 1] > logits[:, 0]) == as_class).float().mean())


def _write(found: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> None:
    result = {
        "settings": [*(f"{key}={value}" for key, value in SETTINGS.items()), *options.set],
        "runs": {name: RUNS[name] for name in options.runs},
        "images": options.images,
        "size": options.size,
        "scores": found,
    }
    keep(named("bidirectional", options.size), result, _markdown(found), out=options.out)


def _markdown(found: dict[str, list[dict[str, float]]]) -> str:
    rows = []
    for name, runs in found.items():
        means = [f"{np.mean(column(runs, score)):.3g}" if column(runs, score) else "" for score in COLUMNS]
        rows.append([name, with_seeds(column(runs, "ncc")), *means])
    return as_table(["training", "NCC of removed effects (seeds)", *COLUMNS.values()], rows)


if __name__ == "__main__":
    main()
