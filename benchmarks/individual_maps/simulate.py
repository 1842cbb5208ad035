"""Simulated atrophy at 2.6 mm as plain arrays: the images of ``vagan atrophy``, without measuring volumes.

Writes ``PREFIX.csv`` and, in half precision or bytes, ``PREFIX_x.npy`` (images), ``_e.npy`` (effects), ``_r.npy``
(regions).

    python benchmarks/individual_maps/simulate.py PREFIX SUBJECTS SEED [BASE]
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from vagan.data.splits import assign_splits
from vagan.simulation.base import REGIONS
from vagan.simulation.simulation import Simulation, prepared_grid
from vagan.simulation.study import GROUPS
from vagan.simulation.subject import Subject, Visit, draw_subject


def read_table(prefix: str) -> pd.DataFrame:
    """One row per scan; changes of log volumes in columns ``d_REGION``, log volumes in ``v_REGION``."""
    return pd.read_csv(f"{prefix}.csv", keep_default_na=False)


def draw(number: int, *, seed: int) -> Subject:
    """Subject by number, counted from 1."""
    return draw_subject(number, GROUPS[(number - 1) % len(GROUPS)], seed=seed)


def subject_and_visit(table: pd.DataFrame, row: int, *, seed: int) -> tuple[Subject, Visit]:
    """Whose scan a row is, and which one."""
    subject = draw(int(table["number"][row]), seed=seed)
    return subject, subject.visits[int(table["visit"][row])]


def main() -> None:
    prefix, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    base = sys.argv[4] if len(sys.argv) > 4 else "mni152"
    torch.set_num_threads(1)
    Path(prefix).parent.mkdir(parents=True, exist_ok=True)
    simulation, grid = Simulation.on(base, seed=seed), prepared_grid(2.6)
    scans = [
        (subject, index, visit)
        for subject in (draw(number + 1, seed=seed) for number in range(count))
        for index, visit in enumerate(subject.visits)
    ]
    table = pd.DataFrame(
        {
            "id": f"{subject.name}_{visit.session}",
            "subject": subject.name,
            "number": subject.number,
            "visit": index,
            "label": int(visit.ill),
            "subtype": subject.subtype if visit.ill else "",
            "severity": subject.severity if visit.ill else 0.0,
            "age": visit.age_years,
            "group": subject.subtype,
        }
        | {f"d_{name}": visit.disease.get(name, 0.0) for name in REGIONS}
        | {f"v_{name}": visit.log_volumes[name] for name in REGIONS}
        for subject, index, visit in scans
    )
    table["split"] = assign_splits(table, strata=("group",), seed=seed)
    table.to_csv(f"{prefix}.csv", index=False)
    shape = (len(scans), *grid.shape)
    types = {"x": np.float16, "e": np.float16, "r": np.uint8}
    arrays = {
        key: np.lib.format.open_memmap(f"{prefix}_{key}.npy", "w+", dtype, shape) for key, dtype in types.items()
    }
    for row, (subject, _, visit) in enumerate(scans):
        case = simulation.prepared(subject, visit, grid)
        for key, values in zip("xer", (case.image, case.effect, case.regions), strict=True):
            arrays[key][row] = values[0]
        if (row + 1) % 100 == 0:
            print(f"{row + 1} of {len(scans)} scans", flush=True)
    for array in arrays.values():
        array.flush()


if __name__ == "__main__":
    main()
