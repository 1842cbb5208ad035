"""From a table of image files to a cohort; shared by all file sources."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vagan.data.cohort import Cohort
from vagan.data.image_file import Colour, read_image
from vagan.data.manifest import REQUIRED, Manifest, label_classes
from vagan.data.preparation import IntensityRule, Preparation
from vagan.data.schema import COHORT, DROPPED, CohortCase, CohortMetadata
from vagan.data.splits import DRAWN, SubjectLists, assign_splits
from vagan.data.table import write_table
from vagan.data.write import write_cohort
from vagan.errors import ImageFileError, ManifestError
from vagan.files import require_replaceable
from vagan.progress import track

SAME_PLACE_MM = 1e-3
LARGE_LOSS = 0.1
"""Part of a class's images beyond which leaving them out is worth a warning."""


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
    drop_bad: bool = False
    """Leave unreadable images out, with the reason in ``dropped.csv``, instead of refusing."""


class Dropped(NamedTuple):
    """A file that was left out, and its class if it is an image of a known one: a row of ``dropped.csv``."""

    image: str
    reason: str
    class_name: str = ""


def import_files(
    table: pd.DataFrame,
    out: Path,
    options: ImportOptions,
    *,
    source: str,
    class_column: str = "class",
    dropped: list[Dropped] | None = None,
) -> Cohort:
    """Check every file, split by subject, prepare, and write a cohort folder with ``dropped.csv``.

    ``table`` has the columns ``image`` (path), ``class`` (rows where it is empty are left out), ``id``, ``subject``;
    optionally ``session``, ``split``, ``effect`` (path of an image of the true effect) and covariates. ``source``
    says in words where it came from, ``class_column`` what the column with the class was called there; ``dropped``
    are files that were left out before. `ImageFileError`, `ManifestError` or `LeakageError` names the first bad file
    and how many there are.
    """
    require_replaceable(out, COHORT)
    without = table["class"].eq("")
    dropped = (dropped or []) + [
        Dropped(path, f"no value in the column {class_column!r}") for path in table["image"][without]
    ]
    if not without.all():
        label_classes(list(table["class"][~without]), options.baseline)  # before all files are read
    table, files, bad = _inspect(table[~without], options)
    labels = label_classes(list(table["class"]), options.baseline)
    table = table.assign(label=table["class"].map(labels))
    if "session" not in table:
        table = table.assign(session="")
    if "split" not in table:
        table = table.assign(split=assign_splits(table, seed=options.seed, lists=options.lists))
    manifest = Manifest(table[[*REQUIRED, *(name for name in table if name not in REQUIRED)]])
    preparation = _preparation(options, manifest, files)
    paths, effects = list(manifest.table["image"]), list(manifest.table.get("effect", []))
    _require_one_shape(paths, [file.shape for file in files], resized=options.size is not None)
    _require_one_kind(paths, files, options)

    def case_at(row: int) -> CohortCase:
        raw = read_image(Path(paths[row]), options.colour).array
        image = preparation.apply(raw)
        if image.min() == image.max():
            raise ImageFileError(
                f"{paths[row]} shows nothing between --range {preparation.low:g} {preparation.high:g}"
            )
        return CohortCase(image, _effect(effects[row], raw.shape, preparation) if effects else None)

    placed = _common_affine(files) if options.size is None else None  # resized voxels lie elsewhere
    metadata = CohortMetadata(
        source=source,
        preparation=preparation,
        spacing_mm=None if placed is None else tuple(float(step) for step in np.linalg.norm(placed, axis=0)[:3]),
        affine=None if placed is None else tuple(tuple(map(float, row)) for row in placed),
    )
    cohort = write_cohort(out, manifest, metadata, case_at)
    write_table(out / DROPPED, pd.DataFrame(dropped + bad, columns=["image", "reason", "class"]))
    return cohort


def describe_dropped(dropped: pd.DataFrame, kept: pd.DataFrame) -> list[str]:
    """A line for each kind of reason in ``dropped.csv``, and a warning for each class that lost many images.

    Parameters
    ----------
    dropped, kept
        ``dropped.csv``, and the table of the manifest; both have the column ``class``.
    """
    reasons = Counter(
        kind_of_reason(reason.removeprefix(image).strip())
        for image, reason in zip(dropped["image"], dropped["reason"], strict=True)
    )
    lines = [f"left out: {count} × {kind}" for kind, count in reasons.most_common()]
    for name, lost in Counter(dropped["class"][dropped["class"].ne("")]).items():
        total = lost + kept["class"].eq(name).sum()
        if lost > LARGE_LOSS * total:
            lines.append(f"WARNING: {lost} of {total} images of the class {name!r} were left out; see {DROPPED}")
    return lines


def kind_of_reason(reason: str) -> str:
    """A reason without what is particular to one image."""
    return reason.split(";", maxsplit=1)[0].split(":", maxsplit=1)[0].split(" (", maxsplit=1)[0]


class _File(NamedTuple):
    """What reading a file has shown."""

    shape: tuple[int, ...]
    low: float
    high: float
    affine: NDArray[np.float64] | None
    """Where the voxels of a volume lie, in mm."""
    bytes_per_value: int | None
    """Of pictures with unsigned integers."""


def _inspect(table: pd.DataFrame, options: ImportOptions) -> tuple[pd.DataFrame, list[_File], list[Dropped]]:
    """Read every file once: the rows of the good ones with what was seen, and reasons against the bad ones."""
    files, good, bad = [], [], []
    for path, name in track(zip(table["image"], table["class"], strict=True), len(table), "reading images"):
        try:
            _require_utf8(path)
            file = read_image(Path(path), options.colour)
        except ImageFileError as error:
            bad.append(Dropped(path.encode(errors="backslashreplace").decode(), str(error), name))
            good.append(False)
            continue
        affine = file.volume.affine if file.volume is not None and file.array.ndim == 4 else None
        files.append(
            _File(file.array.shape, float(file.array.min()), float(file.array.max()), affine, file.bytes_per_value)
        )
        good.append(True)
    if bad and not options.drop_bad:
        more = f" ({len(bad) - 1} more like it)" if len(bad) > 1 else ""
        raise ImageFileError(f"{bad[0].reason}{more}; --drop-bad leaves such images out")
    if not files:
        raise ManifestError("no image is left: every file was unreadable or without a class")
    return table[good].reset_index(drop=True), files, bad


def _common_affine(files: list[_File]) -> NDArray[np.float64] | None:
    first = files[0].affine
    same = first is not None and all(
        file.affine is not None and np.abs(file.affine - first).max() < SAME_PLACE_MM for file in files
    )
    return first if same else None


def _require_one_shape(paths: list[str], shapes: list[tuple[int, ...]], *, resized: bool) -> None:
    if len({shape[:1] if resized else shape for shape in shapes}) > 1:
        odd = next(row for row, shape in enumerate(shapes) if shape != shapes[0])
        what = "number of channels" if resized else "size"
        remedy = "choose --colour" if resized else "give --size, e.g. --size 112x112, to resize"
        raise ManifestError(
            f"all images must have the same {what}: {paths[0]} has {shapes[0]}, "
            f"{paths[odd]} has {shapes[odd]} (channels first); {remedy}"
        )


def _require_utf8(path: str) -> None:
    """Refuse a name that a table cannot hold."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ImageFileError(f"the file name {path!a} must be UTF-8; rename it") from error


def _require_one_kind(paths: list[str], files: list[_File], options: ImportOptions) -> None:
    """Refuse pictures of 8 and 16 bits under one intensity range, and volumes of one shape but other voxels."""
    first = files[0]
    for path, file in zip(paths, files, strict=True):
        if (
            options.intensity == "fixed"
            and options.intensity_range is None
            and file.bytes_per_value != first.bytes_per_value
        ):
            bits = [8 * (one.bytes_per_value or 0) or "other" for one in (first, file)]
            raise ManifestError(
                f"all images must have the same bit depth: {paths[0]} has {bits[0]} bits, {path} has {bits[1]}; "
                "convert them, or choose --intensity per-image or --range"
            )
        if options.size is None and first.affine is not None and file.affine is not None:
            sizes = [np.linalg.norm(one.affine[:3, :3], axis=0) for one in (first, file) if one.affine is not None]
            if np.abs(sizes[0] - sizes[1]).max() > SAME_PLACE_MM:
                said = [" x ".join(f"{size:.4g}" for size in found) for found in sizes]
                raise ManifestError(
                    f"all volumes must have the same voxel size: {paths[0]} has {said[0]} mm, {path} has {said[1]} "
                    "mm; resample them to one grid, as vagan preprocess does"
                )


def _preparation(options: ImportOptions, manifest: Manifest, files: list[_File]) -> Preparation:
    train = [files[row] for row in manifest.indices("train")]
    if not train:
        raise ManifestError("some images must be in the split train, found none; correct the column split")
    low, high = options.intensity_range or (min(file.low for file in train), max(file.high for file in train))
    if not -np.inf < low < high < np.inf:
        raise ManifestError(f"--range must rise from one finite number to another, found {low:g} to {high:g}")
    return Preparation(colour=options.colour, size=options.size, intensity=options.intensity, low=low, high=high)


def _effect(path: str, shape: tuple[int, ...], preparation: Preparation) -> NDArray[np.float32]:
    """True effect of an image of this raw shape, on the grid of the prepared image; zero without a file."""
    size = preparation.size or shape[1:]
    if not path:
        return np.zeros((shape[0], *size), np.float32)
    effect = read_image(Path(path), "grey", constant=True).array
    if effect.shape[1:] not in (shape[1:], size):
        raise ImageFileError(f"{path} must have its image's shape {shape[1:]}, found {effect.shape[1:]}")
    return np.broadcast_to(preparation.map_to_source(effect, size), (shape[0], *size)).copy()
