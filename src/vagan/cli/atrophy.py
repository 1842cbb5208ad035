"""`vagan atrophy`."""

from pathlib import Path


def atrophy(
    out: Path,
    *,
    subjects: int = 400,
    spacing_mm: float = 2.6,
    base: str = "mni152",
    strength: float = 1.0,
    late_stage: bool = True,
    seed: int = 0,
    jobs: int = 0,
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
        The brain that all are variations of: mni152 (average of 152, from nilearn).
    strength
        Multiplies what the disease does, above 0 to 2.
    late_stage
        Shrink the temporal lobes too where the disease is severe.
    seed
        Same options, same bits.
    jobs
        Processes, one thread each [default: one for each core].
    """
    from vagan.data.sources.atrophy.study import make_atrophy_cohort

    cohort = make_atrophy_cohort(
        out,
        subjects=subjects,
        spacing_mm=spacing_mm,
        base=base,
        strength=strength,
        late_stage=late_stage,
        seed=seed,
        jobs=jobs,
    )
    table = cohort.manifest.table
    print(f"{len(table)} scans of {table['subject'].nunique()} subjects in {out}")
