"""What is each ingredient of the preset ``fast`` worth: one change at a time, on the paper's data.

Trains with every variant and seed, and scores the test images as ``quality.py`` does. Writes ``ablation.json`` and
``ablation.md`` to ``benchmarks/results``. The same command again goes on where it stopped. With images of half the
size a training takes a quarter of the time: a minute or two on one core.

    python benchmarks/ablation.py --size 56 56 --variants whole "no consolidation" --seeds 0 1 2
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from cohorts import kept
from machine import describe_machine
from quality import figures_of

from vagan.data.sources.synthetic import make_cohort
from vagan.training.config import load_config

RESULTS = Path(__file__).parent / "results"
NEVER = "1000000"
VARIANTS: dict[str, dict[str, str]] = {
    "whole": {},
    "no head start for the critic": {"schedule.warmup_generator_updates": "0"},
    "slope at every image": {"loss.penalty_share": "1.0"},
    "no consolidation": {"schedule.consolidation_updates": "0"},
    "transplants in the consolidation only": {"loss.transplant_after": NEVER},
    "no transplants": {"loss.transplant_after": NEVER, "schedule.consolidation_updates": "0"},
    "each class in its own batch": {"generator.mixed_batches": "false"},
    "no view of the whole image": {"generator.context": "false"},
    "the critic's Adam for the generator": {
        "optimizer.generator_learning_rate": "5e-4",
        "optimizer.generator_beta1": "0.0",
        "optimizer.generator_beta2": "0.9",
    },
    "no penalty on baseline images": {"loss.baseline_weight": "0"},
    "half as long": {"training.generator_updates": "110"},
}


def main() -> None:
    options = _parse()
    cohort = kept(options.work / "cohort", make_cohort, images=options.images, size=tuple(options.size))
    common = dict(setting.split("=", 1) for setting in options.set)
    found: dict[str, list[dict[str, float]]] = {}
    for variant in options.variants:
        for seed in options.seeds:
            config = load_config("fast", {**common, **VARIANTS[variant], "training.seed": str(seed)})
            run = options.work / f"{variant.replace(' ', '-')}-{seed}"
            found.setdefault(variant, []).append(figures_of(cohort, run, config))
        print(_line(variant, found[variant]), flush=True)
    result = {
        "settings": options.set,
        "images": options.images,
        "size": options.size,
        "seeds": options.seeds,
        "variants": {name: {"changed": VARIANTS[name], "by_seed": runs} for name, runs in found.items()},
        **describe_machine(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "ablation.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    head = "| variant | NCC, mean (seeds) | amplitude | M(x0)/M(x1) | training, s |\n" + "|---" * 5 + "|\n"
    (options.out / "ablation.md").write_text(
        head + "".join(_line(name, runs) + "\n" for name, runs in found.items()), encoding="utf-8"
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"), help="where the cohort and runs are kept")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, nargs="+", default=[112, 112])
    parser.add_argument("--set", nargs="*", default=[], help="settings of all trainings, e.g. training.threads=1")
    return parser.parse_args()


def _line(variant: str, runs: list[dict[str, float]]) -> str:
    mean = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
    by_seed = ", ".join(f"{run['ncc']:.3f}" for run in runs)
    return (
        f"| {variant} | {mean['ncc']:.3f} ({by_seed}) | {mean['amplitude_slope']:.2f} | {mean['energy_ratio']:.2f} "
        f"| {mean['training_seconds']:.0f} |"
    )


if __name__ == "__main__":
    main()
