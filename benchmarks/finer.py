"""Maps at 1.3 mm of a generator that was trained at 2.6 mm or more, on scans whose exact effect is known at both.

Simulates a coarse cohort (`vagan atrophy`), trains preset ``brain`` for each seed, and simulates the same scans of
test patients at 1.3 mm. The displacement that the generator finds in the coarse scan is applied to the fine one, as
`vagan attribute` does with raw scans, and compared with the interpolated effect. Writes ``finer.json``, ``finer.md``
and, of the first patient, ``finer.png`` to ``benchmarks/results``.

    python benchmarks/finer.py --set training.num_threads=1
"""

import numpy as np
from cohorts import kept, whose
from matplotlib.figure import Figure
from study import as_table, keep, options_of, settings_of

from vagan.data.cohort import Cohort
from vagan.deformation import warp
from vagan.effect import effect_map
from vagan.geometry import resample
from vagan.inference.attributor import Attributor
from vagan.inference.scans import displacement_between
from vagan.progress import track
from vagan.simulation.simulation import Simulation, prepared_grid
from vagan.simulation.study import make_atrophy_cohort
from vagan.training.config import load_config
from vagan.training.engine.loop import train

FINE_MM = 1.3
SEED = 0
"""Of the simulated cohort."""
WAYS = {"trained": "as trained", "interpolated": "1.3 mm, interpolated", "finer": "1.3 mm, deformed there"}


def main() -> None:
    parser = options_of(__doc__, "runs/finer")
    parser.add_argument("--subjects", type=int, default=1200)
    parser.add_argument("--spacing-mm", type=float, default=2.6, help="of the scans in training")
    parser.add_argument("--jobs", type=int, default=0, help="processes that simulate; 0 for one on each core")
    parser.add_argument("--patients", type=int, default=24, help="random test patients")
    options = parser.parse_args()
    coarse = {"subjects": options.subjects, "spacing_mm": options.spacing_mm, "seed": SEED, "jobs": options.jobs}
    cohort = kept(options.work / "cohort", make_atrophy_cohort, **coarse)
    found = []
    for seed in options.seeds:
        run = train(cohort, options.work / f"run-{seed}", load_config("brain", settings_of(options, seed)))
        found.append(_agreement(cohort, Attributor.load(run.path), options))
        print(f"seed {seed}: {found[-1]}", flush=True)
    rows = [[str(seed), *(f"{one[way]:.3f}" for way in WAYS)] for seed, one in zip(options.seeds, found, strict=True)]
    table = as_table(["seed", *(f"NCC, {label}" for label in WAYS.values())], rows)
    given = {name: getattr(options, name) for name in ("subjects", "spacing_mm", "patients", "set")}
    keep("finer", given | {"seeds": options.seeds, "ncc": found}, table, out=options.out)


def _agreement(cohort: Cohort, attributor: Attributor, options) -> dict[str, float]:
    """Mean NCC with the exact effect over test patients, in each way."""
    simulation = Simulation.on("mni152", seed=SEED)
    coarse, fine = prepared_grid(options.spacing_mm), prepared_grid(FINE_MM)
    rows = np.random.default_rng(SEED).permutation(cohort.manifest.indices("test", 1))[: options.patients]
    scores: dict[str, list[float]] = {way: [] for way in WAYS}
    for row in track(rows, len(rows), "comparing"):
        subject, visit = whose(cohort, row, seed=SEED)
        same = np.allclose(simulation.prepared(subject, visit, coarse).image, cohort.images([row])[0], atol=1e-4)
        assert same, f"{cohort.path} is of other options; give another --work"
        case = simulation.prepared(subject, visit, fine)
        found = attributor.attribute(cohort.images([row]))
        assert found.deformation is not None
        moved = found.deformation.to_counterfactual
        own = displacement_between(moved[0].numpy(), coarse, fine)
        image, field = (moved.new_tensor(array)[None] for array in (case.image, own))
        finer = effect_map(image, warp(image, field))[0, 0].numpy()
        effect = found.effect[0, 0].numpy()
        interpolated = resample(effect, coarse, fine)
        scores["trained"].append(_ncc(effect, cohort.effects([row])[0, 0].numpy()))
        scores["interpolated"].append(_ncc(interpolated, case.effect[0]))
        scores["finer"].append(_ncc(finer, case.effect[0]))
        if row == rows[0]:
            _figure(
                case.image[0], {"exact": case.effect[0], "interpolated": interpolated, "deformed": finer}, options
            )
    return {way: float(np.mean(values)) for way, values in scores.items()}


def _ncc(map_: np.ndarray, effect: np.ndarray) -> float:
    return float(np.corrcoef(map_.ravel(), effect.ravel())[0, 1])


def _figure(image, effects, options) -> None:
    """Image and effects in the axial slice with most effect, on one colour scale."""
    height = int(np.abs(effects["exact"]).sum(axis=(0, 1)).argmax())
    limit = float(np.quantile(np.abs(effects["exact"][:, :, height]), 0.995))
    figure = Figure((3.2 * (1 + len(effects)), 4), layout="constrained")
    axes = figure.subplots(1, 1 + len(effects))
    axes[0].imshow(image[:, :, height].T, cmap="gray", origin="lower")
    for axis, (name, effect) in zip(axes[1:], effects.items(), strict=True):
        axis.imshow(effect[:, :, height].T, cmap="RdBu_r", vmin=-limit, vmax=limit, origin="lower")
        axis.set_title(name)
    for axis in axes:
        axis.set_axis_off()
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "finer.png", dpi=120)


if __name__ == "__main__":
    main()
