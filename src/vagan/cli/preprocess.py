"""`vagan preprocess`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from vagan.cli.options import Splitting, parse_size


def preprocess(
    source: Path,
    out: Path,
    level: Literal["participant", "group"] | None = None,
    *,
    participant_label: Annotated[
        list[str] | None, Parameter(name=["--participant-label", "--participant_label"], consume_multiple=True)
    ] = None,
    preset: Literal["default", "paper"] = "default",
    dof: Literal[6, 7, 12] | None = None,
    strip: str | None = None,
    spacing: float | None = None,
    size: str | None = None,
    template: Path | None = None,
    template_mask: Path | None = None,
    class_column: str = "class",
    classes: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    baseline: str | None = None,
    splitting: Splitting | None = None,
    jobs: int = 0,
    scheduler: str = "",
) -> None:
    """Preprocess T1-weighted brain scans: skull stripping, bias correction, registration, resampling, rescaling.

    Writes BIDS derivatives, a quality-control page for each scan, failed.csv with a reason for each scan that failed,
    and, if the classes are known, a cohort folder OUT/cohort to train on. The same command resumes: scans that were
    finished from the same input with the same settings are kept.

    Parameters
    ----------
    source
        A BIDS folder (of several runs the first is taken), also of Clinica's t1-linear or fMRIPrep, whose steps are
        not done again; a CSV table (image, and optionally subject, session, class, mask, split), or the folder that
        `vagan import adni` made; a folder of scans, or with a folder of scans for each class; or one scan. NIfTI,
        MGZ, or DICOM folders.
    out
        Folder for the derivatives.
    level
        As a BIDS app: participant prepares scans only (for array jobs, with --participant-label), group makes the
        cohort and the group page of all that are prepared [default: both].
    participant_label
        Only these subjects, with or without sub-.
    preset
        default, or paper: N4 in the whole head, ROBEX, percentiles 5 and 95 of the volume; much slower.
    dof
        Degrees of freedom of the registration: 6 rigid, 7 with one scale, 12 affine [default: 7].
    strip
        Skull stripper: deepbet, robex, given (needs masks), none (already stripped), or
        'command: PROGRAM {input} {mask}' [default: the preset's].
    spacing
        Voxel size in mm [default: 1.3].
    size
        Voxels of a prepared scan, e.g. 64x80x56 [default: 128x160x112].
    template
        NIfTI file of the template: a skull-stripped brain, or a head with --template-mask [default: MNI152].
    template_mask
        Brain mask of the template.
    class_column
        Column with the class in the table, sessions.tsv or participants.tsv.
    classes
        Classes of the cohort, e.g. MCI AD [default: all scans with a class].
    baseline
        Name of the baseline class [default: the one called baseline, healthy, control, normal, CN or 0].
    jobs
        Parallel processes, one thread and up to 2 GB each [default: one per core].
    scheduler
        Address of a Dask scheduler whose workers see the same files, e.g. tcp://node1:8786; instead of --jobs.
    """
    from vagan.preprocessing.pipeline import make_pipeline
    from vagan.preprocessing.study import prepare_study
    from vagan.reporting.scan_pages import PAGES

    chosen, shape = splitting or Splitting(), parse_size(size, axes=3) if size else None
    pipeline = make_pipeline(
        preset, dof=dof, strip=strip, spacing_mm=spacing, shape=shape, template=template, template_mask=template_mask
    )
    report = prepare_study(
        source,
        out,
        pipeline,
        level=level,
        participants=participant_label or [],
        class_column=class_column,
        classes=classes or (),
        baseline=baseline,
        seed=chosen.seed,
        lists=chosen.lists(),
        processes=jobs,
        scheduler=scheduler,
        pages=PAGES,
    )
    print(report)
