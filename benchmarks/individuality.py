"""What maps of simulated atrophy are to be judged by, beside the agreement with the true effect.

A map that assumes the same disease in everyone, but is drawn exactly on each anatomy (the *constant map*), agrees
well with every patient's effect. The *swap test* asks whether a map agrees better with the patient's own effect than
with that of another patient's disease on the same scan, *volumes* whether its deformation changes each region's
volume as the disease of that patient did.
"""

from pathlib import Path

import numpy as np
from individual_maps.measures import partners, swap_test, volume_changes, volume_correlations
from individual_maps.swapped_disease import effect_if, mean_disease, region_shares
from numpy.typing import NDArray

from vagan.data.cohort import Cohort
from vagan.evaluation.ground_truth import ExactEffects
from vagan.evaluation.maps import MethodMaps
from vagan.evaluation.metrics.agreement import mean_abs
from vagan.evaluation.metrics.base import score
from vagan.evaluation.metrics.registry import METRICS
from vagan.inference.attributor import Attributor
from vagan.progress import track
from vagan.simulation.base import REGIONS
from vagan.simulation.simulation import Simulation, prepared_grid
from vagan.simulation.study import GROUPS
from vagan.simulation.subject import Subject, Visit, draw_subject

CONSTANT = "constant map (control)"
BATCH = 8


class HypotheticalEffects:
    """Effects on the test scans of a cohort of ``make_atrophy_cohort`` under another disease than the patient's.

    Kept in ``folder``: they take a second each.
    """

    def __init__(self, cohort: Cohort, folder: Path, *, limit: int, seed: int = 0) -> None:
        self._cohort, self._seed = cohort, seed
        self.truth = ExactEffects(cohort, 1, limit=limit, parts=None, seed=0)
        self.rows, self.baseline = self.truth.cases.rows, self.truth.cases.baseline
        self.diseases = [self._whose(row)[1].disease for row in self.rows]
        file = folder / f"hypothetical-{limit}.npz"
        if not file.is_file():
            np.savez(file, **self._made())
        with np.load(file) as held:
            self.constant, self.swapped, self.shares = held["constant"], held["swapped"], held["shares"]
            self.constant_in_baseline = held["constant_in_baseline"]

    def _whose(self, row: int) -> tuple[Subject, Visit]:
        about = self._cohort.manifest.table.iloc[row]
        number = int("".join(filter(str.isdigit, about["subject"])))
        subject = draw_subject(number, GROUPS[(number - 1) % len(GROUPS)], seed=self._seed)
        return subject, next(visit for visit in subject.visits if visit.session == about["session"])

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

    def of_method(self, method: Attributor) -> dict[str, float]:
        """Swap test of a method's maps and, if it deforms, rank correlation of predicted and true volume changes."""
        parts = [
            method.attribute(self._cohort.images(part), self._cohort.manifest.table.iloc[part])
            for part in np.array_split(self.rows, -(-len(self.rows) // BATCH))
        ]
        found = {"swap_gain": self._swap_gain(np.concatenate([part.effect.numpy() for part in parts]))}
        jacobians = [part.deformation.log_jacobian.numpy() for part in parts if part.deformation is not None]
        if not jacobians:
            return found
        true = np.array([[disease.get(name, 0.0) for name in REGIONS] for disease in self.diseases])
        predicted = volume_changes(np.concatenate(jacobians), self.shares)
        subjects = self._cohort.manifest.table["subject"].to_numpy()[self.rows]
        volumes = volume_correlations(predicted, true, REGIONS, subjects)
        return found | {name: entry["mean"] for name, entry in volumes.items()}

    def _swap_gain(self, maps: NDArray[np.float32]) -> float:
        return swap_test(maps, self._cohort.effects(self.rows).numpy(), self.swapped).gain
