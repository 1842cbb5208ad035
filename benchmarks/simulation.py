"""How long does simulating a subject take: a scan, and for half of the subjects the one before it with its effect.

Times each subject's measurement and scans, one after the other on one core, and the one-off set-up of the brain.
Writes ``simulation.json`` to ``benchmarks/results``.

    python benchmarks/simulation.py
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from study import keep

from vagan.simulation.simulation import Simulation
from vagan.simulation.study import make_atrophy_cohort


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--subjects", type=int, nargs=2, default=[20, 40], help="of two cohorts whose times differ by the subjects'"
    )
    parser.add_argument("--spacings-mm", type=float, nargs="+", default=[2.6, 1.3])
    parser.add_argument("--base", default="mni152")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    Simulation.on(options.base, seed=0)
    setup = time.perf_counter() - begin
    found = {}
    few, many = options.subjects
    for spacing_mm in options.spacings_mm:
        seconds = [_timed(count, spacing_mm, options.base) for count in (few, many)]
        found[f"{spacing_mm:g} mm"] = float(np.diff(seconds)[0] / (many - few))
        print(f"{spacing_mm:g} mm: {found[f'{spacing_mm:g} mm']:.2f} s per subject", flush=True)
    result = {"options": vars(options), "setup_seconds": setup, "seconds_per_subject": found}
    keep("simulation", result)


def _timed(subjects: int, spacing_mm: float, base: str) -> float:
    with TemporaryDirectory() as folder:
        begin = time.perf_counter()
        make_atrophy_cohort(Path(folder) / "cohort", subjects=subjects, spacing_mm=spacing_mm, base=base, jobs=1)
        return time.perf_counter() - begin


if __name__ == "__main__":
    main()
