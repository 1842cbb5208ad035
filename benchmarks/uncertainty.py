"""Whether the standard deviation over an ensemble indicates where its mean map is wrong.

Synthetic images with squares in the class of interest; one generator per seed. Scores on test images: NCC of the
members and of their mean, and the rank correlation of standard deviation and error over all pixels of an image,
over affected pixels, over the others (means over images), and of their means over images. Three cohorts: one
intensity range for all images; one range per image, where a square changes the whole image by an amount no
generator can know; and one range with squares so faint that not every image's class can be seen. Writes
``uncertainty.json`` and ``uncertainty.md`` to ``benchmarks/results``. The same command resumes.

    python benchmarks/uncertainty.py --seeds 0 1 2
    python benchmarks/uncertainty.py --size 18 20 16  # volumes: uncertainty-3d.json
"""

from pathlib import Path
from typing import Any

import numpy as np
from cohorts import kept
from numpy.typing import NDArray
from scipy.stats import spearmanr
from study import as_table, keep, named, options_of, settings_of, with_seeds

from vagan.data.cohort import Cohort
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.effect import effect_map
from vagan.evaluation.metrics.agreement import mean_ncc, uncertainty_error_correlation
from vagan.evaluation.metrics.base import truth_mask
from vagan.inference.attributor import Attributor
from vagan.training.config import load_config
from vagan.training.engine.loop import train

CLEAR, FAINT = "one range for all", "one range, faint squares"
COHORTS: dict[str, dict[str, Any]] = {
    CLEAR: {"intensity": "fixed"},
    "per-image range": {"intensity": "per-image"},
    FAINT: {"intensity": "fixed", "amplitude": 40.0},
}
WORK = "runs/uncertainty"
SETTINGS = {"schedule.boosted_critic_updates": "40", "generator.width": "8", "critic.width": "8"}
"""Small networks: enough for images of 32x32."""
SCORES = {
    "everywhere": "all pixels",
    "effect": "affected pixels",
    "elsewhere": "other pixels",
    "subjects": "whole images",
}


def main() -> None:
    options = options_of(__doc__, WORK, images=2000, size=(32, 32), runs=COHORTS).parse_args()
    found = {}
    for name in options.runs:
        folder = folder_of(options.work, name)
        cohort = kept(folder / "cohort", make_synthetic_cohort, n=options.images, size=options.size, **COHORTS[name])
        runs = []
        for seed in options.seeds:
            config = load_config("fast", SETTINGS | settings_of(options, seed))
            runs.append(train(cohort, run_of(folder, seed), config, monitor=mean_ncc).path)
        found[name] = _figures(cohort, runs)
        print(name, found[name], flush=True)
        result = {
            "settings": [*(f"{key}={value}" for key, value in SETTINGS.items()), *options.set],
            "seeds": options.seeds,
            "images": options.images,
            "size": options.size,
            "cohorts": {name: COHORTS[name] for name in options.runs},
            "scores": found,
        }
        keep(named("uncertainty", options.size), result, _markdown(found), out=options.out)


def folder_of(work: Path, name: str) -> Path:
    """Where one of the `COHORTS` is, with its trainings."""
    return work / name.replace(",", "").replace("'", "").replace(" ", "-")


def run_of(folder: Path, seed: int) -> Path:
    """A training on the cohort in a folder."""
    return folder / f"seed-{seed}"


def _figures(cohort: Cohort, runs: list[Path]) -> dict[str, Any]:
    """Of the test images of the class of interest."""
    rows = cohort.manifest.indices("test", 1)
    images, effects = cohort.images(rows), cohort.effects(rows)
    members = [Attributor.load(run).effect(images) for run in runs]
    ensemble = Attributor.load(runs).attribute(images)
    mean, stds = ensemble.effect, ensemble.uncertainty.std.numpy()
    errors = (mean - effect_map(images, cohort.counterfactuals(rows))).abs().numpy()
    inside = truth_mask(effects.numpy())
    cases = range(len(errors))
    return {
        "ncc_members": [mean_ncc(maps, effects) for maps in members],
        "ncc_mean": mean_ncc(mean, effects),
        "everywhere": float(uncertainty_error_correlation(stds, errors).mean()),
        "effect": float(np.mean([_correlation(stds[c][inside[c]], errors[c][inside[c]]) for c in cases])),
        "elsewhere": float(np.mean([_correlation(stds[c][~inside[c]], errors[c][~inside[c]]) for c in cases])),
        "subjects": _correlation(*(values.reshape(len(errors), -1).mean(axis=1) for values in (stds, errors))),
    }


def _correlation(stds: NDArray[np.float32], errors: NDArray[np.float32]) -> float:
    return float(spearmanr(stds, errors).statistic)


def _markdown(found: dict[str, dict[str, Any]]) -> str:
    rows = []
    for name, one in found.items():
        correlations = [f"{one[score]:.2f}" for score in SCORES]
        rows.append([name, with_seeds(one["ncc_members"]), f"{one['ncc_mean']:.3f}", *correlations])
    first, *others = SCORES.values()
    head = [
        "images",
        "NCC of members (seeds)",
        "NCC of the ensemble",
        f"rank correlation of std and error: {first}",
        *others,
    ]
    return as_table(head, rows)


if __name__ == "__main__":
    main()
