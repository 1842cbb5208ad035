"""`vagan import folder`, `vagan import csv`, `vagan import bids` and `vagan import adni`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from vagan.cli.options import Splitting, parse_size

if TYPE_CHECKING:
    from vagan.data.cohort import Cohort
    from vagan.data.sources.files import ImportOptions


@Parameter(name="*")
@dataclass(frozen=True)
class Preparing(Splitting):
    """How files are read, prepared and split."""

    baseline: str | None = None
    """Name of the baseline class [default: the one called baseline, healthy, control, normal, CN or 0]."""
    size: str | None = None
    """Resize all images to HEIGHTxWIDTH; required if they differ in size."""
    colour: Literal["grey", "rgb"] | None = None
    """Convert colour to grey (luminance), or keep three channels."""
    intensity: Literal["fixed", "per-image"] = "fixed"
    """Rescale all images by one range, or each by its own, to [-1, 1]."""
    range: tuple[float, float] | None = None
    """Range for --intensity fixed [default: the extremes of the training images]."""
    drop_bad: Annotated[bool, Parameter(negative=())] = False
    """Exclude unreadable, NaN and constant images instead of stopping."""


def folder(source: Path, out: Path, *, subject_pattern: str = "", preparing: Preparing | None = None) -> None:
    """Make a cohort from a folder for each class: SOURCE/<class name>/<image>.

    Images are PNG, JPEG, TIFF, DICOM (one frame), NumPy or NIfTI. Split: 64 % train, 16 % validation, 20 % test.

    Parameters
    ----------
    source
        Folder with one folder per class.
    out
        Cohort folder to write: manifest.csv, dropped.csv, cohort.zarr.
    subject_pattern
        Regular expression with one group that finds the subject in a file name, e.g. '(sub-[0-9]+)', so that
        all images of a subject are in one split [default: every image is a subject].
    """
    from vagan.data.sources.folder import import_folder

    _print_counts(import_folder(source, out, _options(preparing), subject_pattern=subject_pattern))


def csv(source: Path, out: Path, *, class_column: str = "class", preparing: Preparing | None = None) -> None:
    """Make a cohort from a CSV table with a row for each image.

    Columns: image (path, relative to the table) and a class; optionally id, subject, session, split, effect
    (path of the true effect) and covariates.

    Parameters
    ----------
    source
        The table.
    out
        Cohort folder to write: manifest.csv, dropped.csv, cohort.zarr.
    class_column
        Column with the class names; images without one are left out.
    """
    from vagan.data.sources.csv import import_csv

    _print_counts(import_csv(source, out, _options(preparing), class_column=class_column))


def bids(
    source: Path, out: Path, *, class_column: str, desc: str = "preproc", preparing: Preparing | None = None
) -> None:
    """Make a cohort from a BIDS dataset of T1-weighted images of one shape, e.g. preprocessed ones.

    Warns if they do not lie on one grid. Raw scans go through `vagan preprocess` instead, which makes a cohort too.

    Parameters
    ----------
    source
        BIDS folder.
    out
        Cohort folder to write: manifest.csv, dropped.csv, cohort.zarr.
    class_column
        Column with the class, in sub-*/sub-*_sessions.tsv, sessions.tsv or participants.tsv; all other columns
        are kept as covariates.
    desc
        Take the images with this desc entity; '' takes those without one.
    """
    from vagan.data.sources.bids import import_bids

    _print_counts(import_bids(source, out, _options(preparing), class_column=class_column, desc=desc))


def adni(
    images: Path,
    tables: Path,
    out: Path,
    *,
    classes: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    max_days: int = 90,
    field: Literal["1.5", "3"] | None = None,
    splitting: Splitting | None = None,
) -> None:
    """Make a table of raw scans for `vagan preprocess` from an ADNI download and ADNI's study tables.

    Reads the tables that LONI exports (DXSUM, Key_MRI, MRIQC, All_Images, Study_Entry, PTDEMOG, ...). One scan for
    each subject, visit and field strength. Excluded images are in dropped.csv with the reason, counts in summary.md.

    Parameters
    ----------
    images
        Folder of the image download, NIfTI or DICOM.
    tables
        Folder with the CSV tables.
    out
        Folder to write: manifest.csv, dropped.csv, summary.md.
    classes
        Two or three of CN, MCI and AD, the baseline class first [default: MCI AD].
    max_days
        Largest number of days between a scan and a diagnosis without a common visit code.
    field
        Only scans of this field strength, in tesla.
    """
    from vagan.data.sources.adni.study import AdniOptions, import_adni

    chosen, classes = splitting or Splitting(), classes or ["MCI", "AD"]
    options = AdniOptions(tuple(classes), max_days, field or "", chosen.seed, chosen.lists())
    print(import_adni(images, tables, out, options))
    print(f"next: vagan preprocess {out} PREPARED")


def _options(preparing: Preparing | None) -> "ImportOptions":
    from vagan.data.sources.files import ImportOptions

    given = preparing or Preparing()
    return ImportOptions(
        baseline=given.baseline,
        size=parse_size(given.size) if given.size else None,
        colour=given.colour,
        intensity=given.intensity,
        intensity_range=given.range,
        seed=given.seed,
        lists=given.lists(),
        drop_bad=given.drop_bad,
    )


def _print_counts(cohort: "Cohort") -> None:
    from vagan.data.schema import DROPPED
    from vagan.data.sources.files import describe_dropped
    from vagan.data.table import read_table

    table = cohort.manifest.table
    for line in describe_dropped(read_table(cohort.path / DROPPED), table):
        print(line)
    for line in cohort.metadata.warnings:
        print(f"WARNING: {line}")
    where = " on one grid" if cohort.metadata.affine else ""
    print(f"{len(table)} images of {'x'.join(map(str, cohort.shape))}{where} in {cohort.path}")
    print(table.groupby(["split", "class"], sort=False).size().unstack(fill_value=0).to_string())
