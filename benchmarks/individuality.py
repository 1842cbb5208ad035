"""What maps of simulated atrophy are to be judged by, beside the agreement with the true effect.

A map that assumes the same disease in everyone, but is drawn exactly on each anatomy (the *constant map*), agrees
well with every patient's effect. The *swap test* asks whether a map agrees better with the patient's own effect than
with that of another patient's disease on the same scan, *volumes* whether its deformation changes each region's
volume as the disease of that patient did.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from cohorts import whose
from individual_maps.measures import partners, swap_test, volume_changes, volume_correlations
from individual_maps.swapped_disease import effect_if, mean_disease, region_shares
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vagan.data.cohort import Cohort
from vagan.evaluation.ground_truth import ExactEffects
from vagan.evaluation.maps import MethodMaps
from vagan.evaluation.metrics.agreement import mean_abs
from vagan.evaluation.metrics.base import score
from vagan.evaluation.metrics.registry import METRICS
from vagan.files import replacing
from vagan.inference.attributor import Attributor
from vagan.progress import track
from vagan.simulation.base import REGIONS
from vagan.simulation.simulation import Simulation, prepared_grid
from vagan.simulation.subject import Subject, Visit

CONSTANT = "constant map (control)"
BATCH = 8
SIDES = {"left": "o", "right": "^"}
"""With their markers."""


class HypotheticalEffects:
    """Effects on the test scans of a cohort of ``make_atrophy_cohort`` under another disease than the patient's.

    Kept in ``folder``: they take a second each.
    """

    def __init__(self, cohort: Cohort, folder: Path, *, limit: int, seed: int = 0) -> None:
        self._cohort, self._seed = cohort, seed
        self.truth = ExactEffects(cohort, 1, limit=limit, parts=None, seed=0)
        self.rows, self.baseline = self.truth.cases.rows, self.truth.cases.baseline
        self.diseases = [self._whose(row)[1].disease for row in self.rows]
        self.volumes = np.array([[disease.get(name, 0.0) for name in REGIONS] for disease in self.diseases])
        file = folder / f"hypothetical-{cohort.metadata.content_hash[:8]}-{limit}.npz"
        if not file.is_file():
            with replacing(file) as temporary, temporary.open("wb") as written:
                np.savez(written, **self._made())
        with np.load(file) as held:
            self.constant, self.swapped, self.shares = held["constant"], held["swapped"], held["shares"]
            self.constant_in_baseline = held["constant_in_baseline"]

    def _whose(self, row: int) -> tuple[Subject, Visit]:
        return whose(self._cohort, row, seed=self._seed)

    def _made(self) -> dict[str, NDArray[np.float32]]:
        cohort = self._cohort
        simulation, (spacing, *_) = Simulation.on("mni152", seed=self._seed), cohort.metadata.spacing_mm
        grid = prepared_grid(spacing)
        mean = mean_disease([self._whose(row)[1].disease for row in cohort.manifest.indices("train", 1)])
        image = simulation.prepared(*self._whose(self.rows[0]), grid).image
        if not np.allclose(image, cohort.images(self.rows[:1])[0], atol=1e-4):
            raise ValueError(f"{cohort.path} is of other options; give another --work")
        others = partners(len(self.rows), np.random.default_rng(0))
        made: dict[str, list[NDArray[np.float32]]] = {"constant": [], "swapped": [], "shares": []}
        made["constant_in_baseline"] = []
        for case in track(range(len(self.rows)), len(self.rows), "hypothetical effects"):
            who = self._whose(self.rows[case])
            made["constant"].append(effect_if(simulation, *who, mean, grid))
            made["swapped"].append(effect_if(simulation, *who, self.diseases[others[case]], grid))
            made["shares"].append(region_shares(simulation, *who, grid))
        for row in track(self.baseline, len(self.baseline), "constant maps of healthy subjects"):
            made["constant_in_baseline"].append(effect_if(simulation, *self._whose(row), mean, grid))
        return {name: np.stack(parts) for name, parts in made.items()}

    def of_constant_map(self) -> dict[str, float]:
        """The usual scores of the constant map; its volumes change alike in all patients."""
        table = self._cohort.manifest.table
        sizes = mean_abs(self.constant_in_baseline)
        maps = MethodMaps(CONSTANT, "signed", "intensity", self.constant, baseline_mean_abs=sizes)
        available = {
            **maps.available(),
            **self.truth.available(maps),
            "subjects": table["subject"].to_numpy()[self.rows],
            "baseline subjects": table["subject"].to_numpy()[self.baseline],
            "severity": table["severity"].to_numpy(dtype=np.float64)[self.rows],
        }
        found = score(METRICS.values(), available)
        means = {name: float(np.nanmean(values)) for name, values in found.cases.items()}
        means |= {name: entry["mean"] for name, entry in found.cohort.items()}
        return means | {"swap_gain": self._swap_gain(self.constant)}

    def of_exact_effects(self) -> dict[str, float]:
        """The largest swap gain."""
        return {"swap_gain": self._swap_gain(self._cohort.effects(self.rows).numpy())}

    def of_method(self, method: Attributor) -> dict[str, float]:
        """Swap test of a method's maps and, if it deforms, rank correlation of predicted and true volume changes."""
        maps, predicted = self._maps_and_volumes(method)
        found = {"swap_gain": self._swap_gain(maps)}
        if predicted is None:
            return found
        subjects = self._cohort.manifest.table["subject"].to_numpy()[self.rows]
        volumes = volume_correlations(predicted, self.volumes, REGIONS, subjects)
        return found | {name: entry["mean"] for name, entry in volumes.items()}

    def figure(self, method: Attributor, file: Path) -> None:
        """Draw maps of patients of both subtypes, mild and severe, and of a healthy subject, on one colour scale.

        Beside them, for each region and side, the predicted change of volume against the true one in all patients.
        """
        table = self._cohort.manifest.table.iloc[self.rows].reset_index(drop=True).astype({"severity": float})
        order = table.sort_values("severity").groupby("subtype").groups
        quarters = [[rows[len(rows) // 4] for rows in order.values()], [rows[-1] for rows in order.values()]]
        cases = np.concatenate(quarters)
        images = np.concatenate([self._cohort.images(rows).numpy() for rows in (self.rows[cases], self.baseline[:1])])
        true = np.concatenate([self._cohort.effects(self.rows[cases]).numpy(), np.zeros_like(images[:1])])
        maps, predicted = self._maps_and_volumes(method)
        baseline = self._cohort.manifest.table.iloc[self.baseline[:1]]
        in_baseline = method.attribute(self._cohort.images(self.baseline[:1]), baseline).effect.numpy()
        shown = {"image": images, "true effect": true, method.name: np.concatenate([maps[cases], in_baseline])}
        names = [f"{table['subtype'][case]}, severity {table['severity'][case]:.2f}" for case in cases]
        _draw(shown, [*names, "healthy"], predicted, self.volumes, file)

    def _maps_and_volumes(self, method: Attributor) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
        """Maps of the patients; of methods that deform, the predicted log volume change of each of `REGIONS`."""
        parts = [
            method.attribute(self._cohort.images(part), self._cohort.manifest.table.iloc[part])
            for part in np.array_split(self.rows, -(-len(self.rows) // BATCH))
        ]
        jacobians = [part.deformation.log_jacobian.numpy() for part in parts if part.deformation is not None]
        predicted = volume_changes(np.concatenate(jacobians), self.shares) if jacobians else None
        return np.concatenate([part.effect.numpy() for part in parts]), predicted

    def _swap_gain(self, maps: NDArray[np.float32]) -> float:
        return swap_test(maps, self._cohort.effects(self.rows).numpy(), self.swapped).gain


def _draw(
    shown: Mapping[str, NDArray[np.float32]],
    names: Sequence[str],
    predicted: NDArray[np.float64] | None,
    true: NDArray[np.float64],
    file: Path,
) -> None:
    """Axial slices with most effect, a row for each kind of picture, and a scatter plot for each kind of region."""
    regions = list(dict.fromkeys(name.rpartition("_")[0] for name in REGIONS))
    effects = shown["true effect"]
    limit = float(np.quantile(np.abs(effects[effects != 0]), 0.995))
    heights = np.abs(effects).sum(axis=(1, 2, 3)).argmax(axis=-1)
    heights[-1] = heights[0]  # the healthy subject has no effect
    figure = Figure((2.0 * len(names), 2.4 * len(shown) + 3.2), layout="constrained")
    pictures, scatter = figure.subfigures(2, 1, height_ratios=(2.4 * len(shown), 3.2))
    grid = pictures.subplots(len(shown), len(names))
    for row, (title, arrays) in zip(grid, shown.items(), strict=True):
        for axes, array, height in zip(row, arrays, heights, strict=True):
            style = {"cmap": "gray"} if title == "image" else {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
            drawn = axes.imshow(array[0, :, :, height].T, origin="lower", **style)
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(title)
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name, fontsize=8)
    pictures.colorbar(drawn, ax=grid[1:], shrink=0.6, label="effect")
    for axes, region in zip(scatter.subplots(1, len(regions)), regions, strict=True):
        columns = [REGIONS.index(f"{region}_{side}") for side in SIDES]
        if predicted is not None:
            for (side, marker), column in zip(SIDES.items(), columns, strict=True):
                axes.plot(true[:, column], predicted[:, column], marker, markersize=3, label=side)
        ends = [true[:, columns].min(), true[:, columns].max()]
        axes.plot(ends, ends, color="grey", linewidth=0.8)
        axes.set(title=region, xlabel="true log volume change", ylabel="predicted")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=120)
