"""How good are the maps of a preset, and does that hold on images that it was not tuned on.

Trains VA-GAN on the paper's data and on variants of it (other size, amplitude, shape, number of places, images), each
with its own cohort and seeds, and scores the test images. Writes ``quality.json`` and ``quality.md`` to
``benchmarks/results``. Ten minutes a training on two cores. The same command again goes on where it stopped.

    python benchmarks/quality.py --cases paper discs --seeds 0 1 2
"""

import argparse
from pathlib import Path

import numpy as np
from cohorts import kept
from study import as_table, column, keep, options_of, settings_of

from vagan.data.cohort import Cohort
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.evaluation.evaluate import evaluate
from vagan.evaluation.metrics.agreement import mean_ncc
from vagan.inference.attributor import Attributor
from vagan.training.config import Config, load_config
from vagan.training.engine.loop import train

CASES: dict[str, dict] = {
    "paper": {},
    "fixed": {"intensity": "fixed"},
    "few": {"n": 1000},
    "96x80": {"size": (96, 80), "seed": 1},
    "faint": {"amplitude": 50.0, "seed": 2},
    "discs": {"pattern": "discs", "seed": 3},
    "sites": {"pattern": "sites", "seed": 4},
}
"""The paper's data; one intensity range for all; 1,000 images; variants. Nothing was chosen on 96x80 and sites."""


def main() -> None:
    options = _parse()
    found = {}
    for case in options.cases:
        cohort = _cohort(case, options)
        found[case] = [_figures(cohort, case, seed, options) for seed in options.seeds]
        print(f"{case}: {_in_words(found[case])}", flush=True)
    result = {
        "preset": options.preset,
        "settings": options.set,
        "seeds": options.seeds,
        "cases": {case: {"cohort": CASES[case], "by_seed": runs} for case, runs in found.items()},
    }
    keep(options.name, result, _markdown(found), out=options.out)
    print(_markdown(found))


def _parse() -> argparse.Namespace:
    parser = options_of(__doc__, "runs/quality")
    parser.add_argument("--name", default="quality", help="of the result's files")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--images", type=int, default=10_000, help="images of a case that does not say how many")
    return parser.parse_args()


def _cohort(case: str, options: argparse.Namespace) -> Cohort:
    return kept(options.work / case / "cohort", make_synthetic_cohort, **{"n": options.images, **CASES[case]})


def _figures(cohort: Cohort, case: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    config = load_config(options.preset, settings_of(options, seed))
    return figures_of(cohort, options.work / case / f"{Path(options.preset).stem}-{seed}", config)


def figures_of(cohort: Cohort, path: Path, config: Config) -> dict[str, float]:
    """Train, or find trained, and score all test images."""
    run = train(cohort, path, config, monitor=mean_ncc)
    method = Attributor.load(run.path)
    evaluation = evaluate([method], cohort)
    scores, ceiling = evaluation.summary[method.name], evaluation.ceiling
    rows = evaluation.rows
    ncc = rows[(rows["method"] == method.name) & (rows["metric"] == "ncc")]
    subtypes = ncc["case"].map(cohort.manifest.table.set_index("id")["subtype"])
    by_subtype = ncc.groupby(subtypes)["value"].mean()
    return {
        "ncc": scores["ncc"]["mean"],
        "ceiling": ceiling["ncc"]["mean"],
        "share_of_ceiling": scores["ncc"]["mean"] / ceiling["ncc"]["mean"],
        "subtype_difference": float(abs(by_subtype["A"] - by_subtype["B"])),
        "amplitude_slope": scores["amplitude_slope"]["mean"],
        "baseline_response_ratio": scores["baseline_response_ratio"]["mean"],
        "training_seconds": run.seconds(),
    }


def _in_words(runs: list[dict[str, float]]) -> str:
    return ", ".join(f"{name} {np.mean([run[name] for run in runs]):.3f}" for name in runs[0])


def _markdown(found: dict[str, list[dict[str, float]]]) -> str:
    more = {"ceiling": 3, "share_of_ceiling": 3, "subtype_difference": 3, "amplitude_slope": 2,
            "baseline_response_ratio": 2, "training_seconds": 0}  # fmt: skip
    rows = []
    for case, runs in found.items():
        ncc = column(runs, "ncc")
        others = [f"{np.mean(column(runs, name)):.{decimals}f}" for name, decimals in more.items()]
        rows.append([case, f"{np.mean(ncc):.3f} ({min(ncc):.3f})", *others])
    return as_table(["case", "NCC, mean (worst seed)", "ceiling", "share", "A against B", "amplitude", "M(x0)/M(x1)",
                     "training, s"], rows)  # fmt: skip


if __name__ == "__main__":
    main()
