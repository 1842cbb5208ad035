"""References for the scores: the constant map, and effects of another patient's disease for the swap test.

python benchmarks/individual_maps/hypothetical.py PREFIX SEED SPLIT COUNT [BASE]
"""

import sys

import numpy as np
import torch
from common import REGIONS, ncc, pooled
from measures import partners
from swapped_disease import effect_if

from simulate import read_table, subject_and_visit
from vagan.simulation.simulation import Simulation, prepared_grid


def main() -> None:
    prefix, seed, split, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    base = sys.argv[5] if len(sys.argv) > 5 else "mni152"
    torch.set_num_threads(1)
    table = read_table(prefix)
    simulation, grid = Simulation.on(base, seed=seed), prepared_grid(2.6)
    diseases = table[[f"d_{name}" for name in REGIONS]]
    mean = diseases[(table["split"] == "train") & (table["label"] == 1)].mean().to_numpy()
    rows = np.flatnonzero((table["split"] == split) & (table["label"] == 1))[:count]
    other = rows[partners(len(rows), np.random.default_rng(0))]
    effects = np.load(f"{prefix}_e.npy", mmap_mode="r")[rows].astype(np.float32)
    fine = {"constant": [], "swapped": []}
    for row, partner in zip(rows, other, strict=True):
        subject, visit = subject_and_visit(table, row, seed=seed)
        for name, amounts in (("constant", mean), ("swapped", diseases.iloc[partner].to_numpy())):
            disease = dict(zip(REGIONS, amounts, strict=True))
            fine[name].append(effect_if(simulation, subject, visit, disease, grid)[0])
    fine = {name: np.stack(maps) for name, maps in fine.items()}
    coarse = {name: pooled(maps) for name, maps in fine.items()}
    half_precision = {f"{name}_fine": maps.astype(np.float16) for name, maps in fine.items()}
    np.savez(f"{prefix}_hypothetical_{split}.npz", rows=rows, other=other, **coarse, **half_precision)
    for spacing, hypothetical, true in (("2.6", fine, effects), ("5.2", coarse, pooled(effects))):
        for name, maps in hypothetical.items():
            score = np.mean([ncc(one, effect) for one, effect in zip(maps, true, strict=True)])
            print(f"{split}, {len(rows)} patients, {spacing} mm: NCC of {name} effects {score:.3f}")


if __name__ == "__main__":
    main()
