"""Soft masks of the regions in patients' validation and test scans at 5.2 mm, in which volumes are measured.

python benchmarks/individual_maps/masks.py PREFIX SEED [BASE]
"""

import sys

import numpy as np
import torch
from common import pooled
from swapped_disease import region_shares

from simulate import read_table, subject_and_visit
from vagan.simulation.simulation import Simulation, prepared_grid


def main() -> None:
    prefix, seed = sys.argv[1], int(sys.argv[2])
    base = sys.argv[3] if len(sys.argv) > 3 else "mni152"
    torch.set_num_threads(1)
    table = read_table(prefix)
    simulation, grid = Simulation.on(base, seed=seed), prepared_grid(2.6)
    rows = np.flatnonzero((table["split"] != "train") & (table["label"] == 1))
    masks = [
        pooled(region_shares(simulation, *subject_and_visit(table, row, seed=seed), grid)).astype(np.float16)
        for row in rows
    ]
    np.savez(f"{prefix}_masks.npz", rows=rows, masks=np.stack(masks))


if __name__ == "__main__":
    main()
