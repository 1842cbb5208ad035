"""How much age remains in maps when patients are older, with and without age as a covariate.

Synthetic images with two squares in the class of interest and a ring that brightens with age; the class of interest
is older by one standard deviation. The residual age effect is the part of the maps explained by a regression of the
ring's brightness on age (root mean square over test patients), relative to the ring brightness that the mean age
difference causes; the ring is evaluated away from the squares. Writes ``covariates.json`` and ``covariates.md`` to
``benchmarks/results``. The same command resumes.

    python benchmarks/covariates.py --seeds 0 1 2
    python benchmarks/covariates.py --size 18 20 16  # volumes: covariates-3d.json
"""

import argparse
from pathlib import Path

import numpy as np
from cohorts import kept
from numpy.typing import NDArray
from scipy import ndimage
from study import as_table, column, keep, named, options_of, settings_of, with_seeds

from vagan.data.cohort import Cohort
from vagan.data.sources.synthetic import FIXED_RANGE, MEAN_AGE, OLDER_BY, effect_of_age, make_synthetic_cohort
from vagan.evaluation.metrics.agreement import mean_ncc
from vagan.inference.attributor import Attributor
from vagan.training.config import load_config
from vagan.training.engine.loop import train

AGEING = 40.0
RUNS: dict[str, tuple[str, dict[str, str]]] = {
    "age as covariate": ("fast", {"training.covariates": "age"}),
    "no covariate": ("fast", {}),
}
"""Preset and settings."""
SETTINGS = {"schedule.boosted_critic_updates": "40", "generator.width": "8", "critic.width": "8"}
"""Small networks: enough for images of 32x32."""


def main() -> None:
    options = options_of(__doc__, "runs/covariates", images=2000, size=(32, 32), runs=RUNS).parse_args()
    size = tuple(options.size)
    cohort = kept(
        options.work / "cohort", make_synthetic_cohort, n=options.images, size=size, intensity="fixed", ageing=AGEING
    )
    found: dict[str, list[dict[str, float]]] = {name: [] for name in options.runs}
    for seed in options.seeds:
        for name in options.runs:
            preset, settings = RUNS[name]
            config = load_config(preset, SETTINGS | settings | settings_of(options, seed))
            folder = options.work / f"{name.replace(' ', '-')}-{seed}"
            run = train(cohort, folder, config, monitor=mean_ncc)
            figures = _figures(cohort, run.path)
            found[name].append({"seed": seed, "training_seconds": run.seconds(), **figures})
            print(name, {key: round(value, 3) for key, value in found[name][-1].items()}, flush=True)
            _write(found, options)


def _figures(cohort: Cohort, run: Path) -> dict[str, float]:
    """Agreement with the disease's effect on test patients, and how much age is in their maps."""
    rows = cohort.manifest.indices("test", 1)
    subjects = cohort.manifest.table.iloc[rows]
    effects, maps = cohort.effects(rows), Attributor.load(run).effect(cohort.images(rows), subjects)
    ages = subjects["age"].to_numpy(dtype=float)
    brightness = _ring_brightness(maps.numpy(), effects.numpy(), years=OLDER_BY)
    slope, offset = np.polyfit(ages - (MEAN_AGE - OLDER_BY / 2), brightness, 1)
    line = offset + slope * (ages - (MEAN_AGE - OLDER_BY / 2))
    return {
        "ncc": mean_ncc(maps, effects),
        "age_driven": float(np.sqrt(np.square(line).mean())),
        "mean_ring": float(brightness.mean()),
        "ring_per_decade": float(slope * 10),
    }


def _ring(size: tuple[int, ...], years: float) -> NDArray[np.float32]:
    return effect_of_age(size, ageing=AGEING, years=years) * np.float32(2 / (FIXED_RANGE[1] - FIXED_RANGE[0]))


def _ring_brightness(maps: NDArray[np.float32], effects: NDArray[np.float32], *, years: float) -> NDArray[np.float64]:
    """By least squares, two pixels or more from the squares, in units of what so many years make of the ring."""
    near = ndimage.binary_dilation(effects != 0, np.ones((1, 1, *[3] * (effects.ndim - 2))), iterations=2)
    free = np.where(near, 0, _ring(maps.shape[2:], years))
    axes = tuple(range(1, maps.ndim))
    return (maps * free).sum(axis=axes) / np.square(free).sum(axis=axes)


def _write(found: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> None:
    result = {
        "settings": [*(f"{key}={value}" for key, value in SETTINGS.items()), *options.set],
        "presets_and_settings": {name: RUNS[name] for name in options.runs},
        "images": options.images,
        "size": options.size,
        "ageing": AGEING,
        "runs": found,
    }
    keep(named("covariates", options.size), result, _markdown(found), out=options.out)


def _markdown(found: dict[str, list[dict[str, float]]]) -> str:
    scores = {
        "ncc": "NCC with the disease effect (seeds)",
        "age_driven": "residual age effect (seeds)",
    }
    rows = [[name, *(with_seeds(column(runs, score)) for score in scores)] for name, runs in found.items()]
    return as_table(["training", *scores.values()], rows)


if __name__ == "__main__":
    main()
