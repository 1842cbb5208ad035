"""Gain and cost of learning both directions, and of demanding that images come back.

Synthetic images with squares in the class of interest. Trains for each seed a generator that takes the class out, and
one that takes it out and puts it in (preset ``bidirectional``, whose weights on maps count less for putting in);
both with weak weights on all maps too, the second also with the usual weights on all, and with weak ones so that it
must come back; and a classifier that none of them has seen. Scores on test images: NCC of the effects taken out with
the true ones and the map's size on baseline images; how many baseline images the classifier takes for ill after the
class was put in, and how many ill ones for well after it was taken out; how large what is put in is beside true
effects; and what is left when a class is taken out and put in again, as a share of what was taken out. Writes
``directions.json`` and ``directions.md`` to ``benchmarks/results``. The same command again goes on where it stopped.

    python benchmarks/directions.py --seeds 0 1 2
    python benchmarks/directions.py --size 18 20 16  # volumes: directions-3d.json
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

ALL_ALIKE = {"loss.insertion_weight_scale": "1"}
WEAK = {"loss.map_weight": "1", "loss.identity_weight": "2", **ALL_ALIKE}
RUNS: dict[str, tuple[str, dict[str, str]]] = {
    "out": ("fast", {}),
    "out, weak weights": ("bidirectional", WEAK | {"training.bidirectional": "false"}),
    "out and in, usual weights": ("bidirectional", ALL_ALIKE),
    "out and in, weak weights": ("bidirectional", WEAK),
    "out and in, weak weights, coming back": ("bidirectional", WEAK | {"loss.cycle_weight": "10"}),
    "out and in": ("bidirectional", {}),
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
    "baseline_ratio": "M(x0)/M(x1)",
    "well_after_out": "taken for well after out",
    "ill_after_in": "taken for ill after in",
    "size_put_in": "size of what is put in, of the truth",
    "left_after_both": "left after out and in",
}


def main() -> None:
    options = options_of(__doc__, "runs/directions", images=2000, size=(32, 32), runs=RUNS).parse_args()
    cohort = kept(
        options.work / "cohort", make_synthetic_cohort, n=options.images, size=options.size, intensity="fixed"
    )
    judge = _train(cohort, options, "classifier", 0, ("fast", {"method": "classifier", "classifier.updates": "100"}))
    network, _ = load_model(judge.path)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in options.runs}
    for seed in options.seeds:
        for name in options.runs:
            run = _train(cohort, options, name, seed, RUNS[name])
            figures = _figures(cohort, run.path, network, into=name.startswith("out and in"))
            found[name].append({"seed": seed, "training_seconds": run.seconds(), **figures})
            print(name, {key: round(value, 3) for key, value in found[name][-1].items()}, flush=True)
            _write(found, options)


def _train(cohort: Cohort, options: argparse.Namespace, name: str, seed: int, what: tuple[str, dict[str, str]]):
    preset, settings = what
    config = load_config(preset, SETTINGS | settings | settings_of(options, seed))
    return train(cohort, options.work / f"{name.replace(',', '').replace(' ', '-')}-{seed}", config, monitor=mean_ncc)


def _figures(cohort: Cohort, run: Path, judge: nn.Module, *, into: bool) -> dict[str, float]:
    ill, well = (cohort.manifest.indices("test", label) for label in (1, 0))
    images, healthy, effects = cohort.images(ill), cohort.images(well), cohort.effects(ill)
    out = Attributor.load(run)
    found = out.attribute(images)
    maps, cured = found.effect, found.counterfactual
    figures = {
        "ncc": mean_ncc(maps, effects),
        "baseline_ratio": float(out.effect(healthy).abs().mean() / maps.abs().mean()),
        "well_after_out": _taken_for_ill(judge, cured, False),
        "well_before": _taken_for_ill(judge, images, False),
    }
    if into:
        putting = Attributor.load(run, insert=True)
        figures["ill_before"] = _taken_for_ill(judge, healthy, True)
        made = putting.attribute(healthy).counterfactual
        figures["ill_after_in"] = _taken_for_ill(judge, made, True)
        figures["size_put_in"] = float((made - healthy).abs().mean() / effects.abs().mean())
        left = putting.attribute(cured).counterfactual - images
        figures["left_after_both"] = float(left.abs().mean() / (cured - images).abs().mean())
    return figures


def _taken_for_ill(judge: nn.Module, images: torch.Tensor, ill: bool) -> float:
    """Share of the images that the classifier takes for ill, or for not."""
    with torch.no_grad():
        logits = judge.eval()(images)
    return float(((logits[:, 1] > logits[:, 0]) == ill).float().mean())


def _write(found: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> None:
    result = {
        "settings": [*(f"{key}={value}" for key, value in SETTINGS.items()), *options.set],
        "runs": {name: RUNS[name] for name in options.runs},
        "images": options.images,
        "size": options.size,
        "scores": found,
    }
    keep(named("directions", options.size), result, _markdown(found), out=options.out)


def _markdown(found: dict[str, list[dict[str, float]]]) -> str:
    rows = []
    for name, runs in found.items():
        means = [f"{np.mean(column(runs, score)):.3g}" if column(runs, score) else "" for score in COLUMNS]
        rows.append([name, with_seeds(column(runs, "ncc")), *means])
    return as_table(["training", "NCC of what is taken out (seeds)", *COLUMNS.values()], rows)


if __name__ == "__main__":
    main()
