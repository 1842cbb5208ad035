"""VA-GAN beside other counterfactuals of real pictures: by image translation, classifiers and diffusion.

On the pairs of classes of ``pictures.py``, with the same training images and the scores without truth of
``real.py``, by the same two independent classifiers, on the same test images:

- VA-GAN with default settings;
- *cycle-consistent translation*: both directions, a cycle loss, no weight on the size of maps (StarGAN, Choi et al.
  2018; CycleGAN, Zhu et al. 2017);
- *fixed-point translation*: the same with an identity loss (Fixed-Point GAN, Siddiquee et al. 2019);
- the methods that explain a classifier, of which only additive perturbation has a counterfactual;
- *guided diffusion*, see ``diffusion.py``: one seed.

Networks and optimisation are those of this package but for diffusion's. Writes ``rivals.json`` and ``rivals.md``; the
same command again goes on where it stopped.

    python benchmarks/rivals.py --pairs boots pullovers --seeds 0 1 2
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from pictures import add_options, make_cohort
from real import CLASSIFIERS, SCORES
from study import as_table, column, keep, options_of, settings_of, with_seeds

from vagan.attribution.registry import METHODS
from vagan.data.cohort import Cohort
from vagan.evaluation.evaluate import EvaluationOptions, evaluate
from vagan.evaluation.metrics.counterfactual import REAL_BASELINE, UNCHANGED
from vagan.evaluation.metrics.registry import find_metric
from vagan.evaluation.runs import RunSelection, load_methods
from vagan.reporting.figures import example_grid
from vagan.training.config import load_config
from vagan.training.engine.loop import train
from vagan.training.engine.run_folder import RunFolder

VAGAN = METHODS["vagan"].label
DIFFUSION = "guided diffusion"
TRANSLATION = {
    "training.bidirectional": "true",
    "training.generator_updates": "300",  # a half in each direction, as the preset bidirectional
    "schedule.distillation_updates": "0",
    "schedule.early_stopping_from": "0",
    "loss.effect_transfer_weight": "0",
    "loss.map_weight": "0",
    "loss.cycle_weight": "10",
}
GENERATORS = {
    VAGAN: {},
    "cycle-consistent translation": TRANSLATION | {"loss.identity_weight": "0"},
    "fixed-point translation": TRANSLATION | {"loss.identity_weight": "10"},
}
"""Settings of map generators, which differ from the default; weights as published for about 128x128 pixels."""
EXPLAINING = [
    slug
    for slug, entry in METHODS.items()
    if entry.needs in ("classifier", "cam-classifier") and slug != "additive-perturbation-1500-steps"
]
JUDGED = tuple(score for score in SCORES if score != "relative_change")  # of maps that flip as many images alone
LOWER_IS_BETTER = tuple(name for name in SCORES if find_metric(name).direction == "lower")


def main() -> None:
    parser = options_of(__doc__, "runs/rivals")
    add_options(parser)
    parser.set_defaults(pairs=["boots", "pullovers"], sizes=[28])
    parser.add_argument("--limit", type=int, default=200, help="test images of each class, the same for all")
    parser.add_argument("--diffusion-updates", type=int, default=1500, help="of batches of 64; 0: no diffusion")
    options = parser.parse_args()
    found = {}
    for pair in options.pairs:
        for size in options.sizes:
            name = f"{pair}-{size}"
            cohort = make_cohort(
                options.work / name, pair, size=size, images=options.images, fashion=options.fashion_mnist
            )
            found[name] = _combined([_scored(options.work / name, cohort, seed, options) for seed in options.seeds])
            print(_markdown({name: found[name]}), flush=True)
    about = {"settings": options.set, "images": options.images, "limit": options.limit, "rivals": GENERATORS}
    keep("rivals", about | {"cohorts": found}, _markdown(found), out=options.out)


def _scored(folder: Path, cohort: Cohort, seed: int, options: argparse.Namespace) -> dict:
    """Scores of all methods of one seed, by name, and of real images; kept in the folder."""
    kept = folder / f"scores-{seed}.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    common = settings_of(options, seed)
    for name, judging in CLASSIFIERS.items():
        train(cohort, folder / name, load_config("fast", common | judging))
    runs: dict[str, RunFolder] = {}
    for method in CLASSIFIERS:
        runs[method] = train(cohort, folder / f"{method}-{seed}", load_config("fast", common | {"method": method}))
    for name, settings in GENERATORS.items():
        runs[name] = train(cohort, folder / f"{_file(name)}-{seed}", load_config("fast", settings | common))
    seconds = {name: run.seconds() for name, run in runs.items()}
    selection = RunSelection(
        methods=["vagan", *EXPLAINING, "group-mean-difference"], classifiers=[folder / name for name in CLASSIFIERS]
    )
    paths = [run.path for run in runs.values()]
    loaded = load_methods(cohort, paths, selection, interest="", seed=0, device=torch.device("cpu"))
    titles = {f"{VAGAN} ({runs[name].path.name})": name for name in GENERATORS}
    methods = {title: loaded.methods.pop(name) for name, title in titles.items()} | loaded.methods
    if options.diffusion_updates and seed == options.seeds[0]:
        from diffusion import DiffusionCounterfactual, train_diffusion

        where = folder / f"diffusion-{seed}"
        seconds[DIFFUSION] = train_diffusion(cohort, where, updates=options.diffusion_updates, seed=seed)
        methods[DIFFUSION] = DiffusionCounterfactual(where)
    scored = EvaluationOptions(limit=options.limit, subset=options.limit, classifiers=loaded.classifiers)
    evaluation = evaluate(methods, cohort, scored)
    shown = [name for name in methods if methods[name].unit == "intensity"]
    example_grid(evaluation.examples, shown).savefig(folder / f"examples-{seed}.png", dpi=200)
    result = {
        "methods": {
            name: {score: scores[score]["mean"] for score in SCORES if score in scores}
            | {"map_seconds": evaluation.map_seconds[name], "training_seconds": seconds.get(_trained(name))}
            for name, scores in evaluation.summary.items()
        },
        "references": {
            name: {score: entry["mean"] for score, entry in of.items()} for name, of in evaluation.references.items()
        },
    }
    kept.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def _trained(method: str) -> str:
    """What was trained for a method: itself, or a classifier."""
    return next((entry.needs for entry in METHODS.values() if entry.label == method and method != VAGAN), method)


def _file(name: str) -> str:
    return name.lower().replace(" ", "-")


def _combined(seeds: list[dict]) -> dict:
    """The scores of each method in all its seeds."""
    names = list(dict.fromkeys(name for seed in seeds for name in seed["methods"]))
    return {
        "methods": {name: [seed["methods"][name] for seed in seeds if name in seed["methods"]] for name in names},
        "references": seeds[0]["references"],
    }


def _markdown(found: dict[str, dict]) -> str:
    parts = []
    for name, study in found.items():
        head = [name, *(find_metric(score).label for score in SCORES), "training, s", "map, ms"]
        rows = [
            [method, *_cells(seeds), _mean(seeds, "training_seconds", 0), _mean(seeds, "map_seconds", 1, 1000)]
            for method, seeds in study["methods"].items()
        ]
        for real in (UNCHANGED, REAL_BASELINE):
            rows.append([real, *_cells([study["references"][real]]), "", ""])
        parts.append(as_table(head, rows) + "\n" + " ".join(_verdict(study["methods"])) + "\n")
    return "\n".join(parts)


def _cells(seeds: list[dict]) -> list[str]:
    """Each score's mean; of the flip rate each seed's too."""
    first, *others = SCORES
    flips = column(seeds, first)
    return [with_seeds(flips) if len(flips) > 1 else _mean(seeds, first), *(_mean(seeds, one) for one in others)]


def _mean(seeds: list[dict], score: str, decimals: int = 3, factor: float = 1.0) -> str:
    values = column(seeds, score)
    return f"{factor * np.mean(values):.{decimals}f}" if values else ""


def _verdict(methods: dict[str, list[dict]]) -> list[str]:
    """By the mean of which scores each rival with a counterfactual is better than VA-GAN."""
    own = {score: np.mean(column(methods[VAGAN], score)) for score in JUDGED}
    sentences = []
    for name, seeds in methods.items():
        if name == VAGAN or not column(seeds, JUDGED[0]):
            continue
        means = {score: np.mean(column(seeds, score)) for score in JUDGED if column(seeds, score)}
        better = [s for s, mean in means.items() if (mean < own[s] if s in LOWER_IS_BETTER else mean > own[s])]
        labels = "; ".join(find_metric(score).label for score in better)
        sentences.append(f"{name}: {f'better than {VAGAN} by: {labels}' if better else f'not better than {VAGAN}'}.")
    return sentences


if __name__ == "__main__":
    main()
