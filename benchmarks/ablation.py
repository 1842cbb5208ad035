"""What is each ingredient of the preset ``fast`` worth: one change at a time, on the paper's data.

Trains with every variant and seed, and scores the test images as ``quality.py`` does. Writes ``ablation.json`` and
``ablation.md`` to ``benchmarks/results``. The same command again goes on where it stopped. With images of half the
size a training takes a quarter of the time: a minute or two on one core.

    python benchmarks/ablation.py --size 56 56 --variants "full recipe" "no distillation" --seeds 0 1 2
"""

import argparse
from statistics import mean

from cohorts import kept
from quality import figures_of
from study import as_table, column, keep, options_of, settings_of, with_seeds

from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.training.config import load_config

NEVER = "1000000"
VARIANTS: dict[str, dict[str, str]] = {
    "full recipe": {},
    "no initial critic updates": {"schedule.warmup_generator_updates": "0"},
    "gradient penalty on every image": {"loss.penalty_share": "1.0"},
    "no distillation": {"schedule.distillation_updates": "0"},
    "effect transfer in distillation only": {"loss.effect_transfer_after": NEVER},
    "no effect transfer": {"loss.effect_transfer_after": NEVER, "schedule.distillation_updates": "0"},
    "separate batch norm per class": {"generator.joint_batch_norm": "false"},
    "no global context": {"generator.global_context": "false"},
    "critic's Adam settings for the generator": {
        "optimizer.generator_learning_rate": "5e-4",
        "optimizer.generator_beta1": "0.0",
        "optimizer.generator_beta2": "0.9",
    },
    "no identity loss": {"loss.identity_weight": "0"},
    "half the length": {"training.generator_updates": "112"},
}


def main() -> None:
    options = _parse()
    cohort = kept(options.work / "cohort", make_synthetic_cohort, n=options.images, size=tuple(options.size))
    found: dict[str, list[dict[str, float]]] = {}
    for variant in options.variants:
        for seed in options.seeds:
            config = load_config("fast", settings_of(options, seed) | VARIANTS[variant])
            run = options.work / f"{variant.replace(' ', '-')}-{seed}"
            found.setdefault(variant, []).append(figures_of(cohort, run, config))
        print(_cells(variant, found[variant]), flush=True)
    result = {
        "settings": options.set,
        "images": options.images,
        "size": options.size,
        "seeds": options.seeds,
        "variants": {name: {"changed": VARIANTS[name], "by_seed": runs} for name, runs in found.items()},
    }
    head = ["variant", "NCC, mean (seeds)", "amplitude", "M(x0)/M(x1)", "training, s"]
    table = as_table(head, [_cells(name, runs) for name, runs in found.items()])
    keep("ablation", result, table, out=options.out)


def _parse() -> argparse.Namespace:
    parser = options_of(__doc__, "runs/ablation", images=10_000, size=(112, 112))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    return parser.parse_args()


def _cells(variant: str, runs: list[dict[str, float]]) -> list[str]:
    amplitude, ratio, seconds = (
        mean(column(runs, name)) for name in ("amplitude_slope", "baseline_response_ratio", "training_seconds")
    )
    return [variant, with_seeds(column(runs, "ncc")), f"{amplitude:.2f}", f"{ratio:.2f}", f"{seconds:.0f}"]


if __name__ == "__main__":
    main()
