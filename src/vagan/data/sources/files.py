"""From a table of image files to a cohort; shared by all file sources."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vagan.data.cohort import Cohort
from vagan.data.image_file import Colour, read_image
from vagan.data.manifest import REQUIRED, Manifest, label_classes
from vagan.data.preparation import IntensityRule, Preparation
from vagan.data.schema import COHORT_FILES, DROPPED, CohortCase, CohortMetadata
from vagan.data.splits import DRAWN, SubjectLists, assign_splits
from vagan.data.write import write_cohort
from vagan.errors import ImageFileError, ManifestError
from vagan.files import replacing, require_replaceable
from vagan.progress import track

SAME_PLACE_MM = 1e-3


@dataclass(frozen=True)
class ImportOptions:
    """How files become prepared images, and images become parts of a study."""

    baseline: str | None = None
    """Name of the baseline class; None takes the one with a usual name."""
    size: tuple[int, ...] | None = None
    """Spatial shape to resize to; None needs images of one size."""
    colour: Colour | None = None
    intensity: IntensityRule = "fixed"
    intensity_range: tuple[float, float] | None = None
    """Intensities that become -1 and 1 with ``fixed``; None takes the extremes of the training images."""
    seed: int = 0
    """Decides the split, where the table gives none."""
    lists: SubjectLists = DRAWN
    """Subjects whose part is given."""
    drop_bad: bool = False
    """Leave unreadable images out, with the reason in ``dropped.csv``, instead of refusing."""


@dataclass(frozen=True)
class Dropped:
    """A file that was left out."""

    image: str
    reason: str


def import_files(
    table: pd.DataFrame, out: Path, options: ImportOptions, *, source: str, dropped: list[Dropped]
) -> Cohort:
    """Check every file, split by subject, prepare, and write a cohort folder with ``dropped.csv``.

    Parameters
    ----------
    table
        Columns ``image`` (path), ``class``, ``id``, ``subject``; optionally ``session``, ``split``, ``effect``
        (path of an image of the true effect) and covariates.
    out
        Cohort folder to write.
    options
        See `ImportOptions`.
    source
        Where the table came from, in words.
    dropped
        Files that were left out before.

    Raises
    ------
    ImageFileError, ManifestError, LeakageError
        Naming the first bad file and how many there are.
    """
    require_replaceable(out, COHORT_FILES)
    inspected = _inspect(table, options)
    shapes, lows, highs, table = inspected.shapes, inspected.lows, inspected.highs, inspected.table
    dropped = dropped + inspected.bad
    labels = label_classes(list(table["class"]), options.baseline)
    table = table.assign(label=table["class"].map(labels))
    if "session" not in table:
        table = table.assign(session="")
    if "split" not in table:
        table = table.assign(split=assign_splits(table, seed=options.seed, lists=options.lists))
    rest = [name for name in table if name not in REQUIRED]
    manifest = Manifest(table[[*REQUIRED, *rest]].reset_index(drop=True))
    preparation = _preparation(options, manifest, lows, highs)
    _require_one_shape(shapes, manifest, options)
    paths, effects = list(manifest.table["image"]), list(manifest.table.get("effect", []))

    def case_at(row: int) -> CohortCase:
        image = preparation.apply(read_image(Path(paths[row]), options.colour).array)
        if image.min() == image.max():
            raise ImageFileError(
                f"{paths[row]} shows nothing between --range {preparation.low:g} {preparation.high:g}"
            )
        return CohortCase(image, _effect(effects[row], image.shape) if effects else None)

    placed = inspected.affine if options.size is None else None  # resized voxels lie elsewhere
    metadata = CohortMetadata(
        source=source,
        preparation=preparation,
        spacing_mm=None if placed is None else tuple(float(step) for step in np.linalg.norm(placed, axis=0)[:3]),
        affine=None if placed is None else tuple(tuple(map(float, row)) for row in placed),
    )
    cohort = write_cohort(out, manifest, metadata, case_at)
    with replacing(out / DROPPED) as temporary:
        pd.DataFrame([vars(entry) for entry in dropped], columns=["image", "reason"]).to_csv(temporary, index=False)
    return cohort


@dataclass(frozen=True)
class _Inspected:
    """What reading every file once has shown, of the good ones in the order of their rows."""

    shapes: list[tuple[int, ...]]
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]
    affine: NDArray[np.float64] | None
    """Where the voxels of all of them lie, in mm; None if they are not volumes or lie in different places."""
    table: pd.DataFrame
    bad: list[Dropped]


def _inspect(table: pd.DataFrame, options: ImportOptions) -> _Inspected:
    """Read every file once: shapes, places and extremes of the good ones, reasons against the bad ones."""
    shapes, lows, highs, good, bad = [], [], [], [], []
    affines: list[NDArray[np.float64] | None] = []
    for path in track(table["image"], len(table), "reading images"):
        try:
            file = read_image(Path(path), options.colour)
        except ImageFileError as error:
            bad.append(Dropped(path, str(error)))
            good.append(False)
            continue
        good.append(True)
        shapes.append(file.array.shape)
        lows.append(float(file.array.min()))
        highs.append(float(file.array.max()))
        affines.append(file.volume.affine if file.volume is not None and file.array.ndim == 4 else None)
    if bad and not options.drop_bad:
        more = f" ({len(bad) - 1} more like it)" if len(bad) > 1 else ""
        raise ImageFileError(f"{bad[0].reason}{more}; --drop-bad leaves such images out")
    if not any(good):
        raise ManifestError("no image is left: every file was unreadable")
    return _Inspected(
        shapes, np.array(lows), np.array(highs), _common(affines), table[good].reset_index(drop=True), bad
    )


def _common(affines: list[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    first = affines[0]
    same = first is not None and all(a is not None and np.abs(a - first).max() < SAME_PLACE_MM for a in affines)
    return first if same else None


def _require_one_shape(shapes: list[tuple[int, ...]], manifest: Manifest, options: ImportOptions) -> None:
    different = sorted(set(shapes if options.size is None else [shape[:1] for shape in shapes]))
    if len(different) > 1:
        odd = next(row for row, shape in enumerate(shapes) if shape != shapes[0])
        what = "number of channels" if options.size else "size"
        remedy = "choose --colour" if options.size else "give --size, e.g. --size 112x112, to resize"
        raise ManifestError(
            f"all images must have the same {what}: {manifest.table['image'][0]} has {shapes[0]}, "
            f"{manifest.table['image'][odd]} has {shapes[odd]} (channels first); {remedy}"
        )


def _preparation(
    options: ImportOptions, manifest: Manifest, lows: NDArray[np.float64], highs: NDArray[np.float64]
) -> Preparation:
    train = manifest.indices("train")
    if not len(train):
        raise ManifestError("some images must be in the split train, found none; correct the column split")
    low, high = options.intensity_range or (float(lows[train].min()), float(highs[train].max()))
    if not -np.inf < low < high < np.inf:
        raise ManifestError(f"--range must rise from one finite number to another, found {low:g} to {high:g}")
    return Preparation(colour=options.colour, size=options.size, intensity=options.intensity, low=low, high=high)


def _effect(path: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if not path:
        return np.zeros(shape, np.float32)
    effect = read_image(Path(path), "grey").array
    if effect.shape[1:] != shape[1:]:
        raise ImageFileError(f"{path} must have its image's shape {shape[1:]}, found {effect.shape[1:]}")
    return np.broadcast_to(effect, shape).copy()
