"""From a table of image files to a cohort; shared by all file sources."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vagan.data.cohort import Cohort, write_cohort
from vagan.data.image_file import Colour, read_image
from vagan.data.manifest import REQUIRED, Manifest, label_classes
from vagan.data.preparation import IntensityRule, Preparation
from vagan.data.schema import COHORT, DROPPED, CohortCase, CohortMetadata
from vagan.data.splits import DRAWN, SubjectLists, assign_splits
from vagan.data.table import write_table
from vagan.errors import ColourError, ImageFileError, ManifestError
from vagan.files import require_replaceable
from vagan.progress import track

SAME_PLACE_MM = 1e-3
FLAT = 0.02  #: Standard deviation of prepared intensities, which span 2, below which an image is nearly constant.
LARGE_LOSS = 0.1  #: Part of a class's images beyond which leaving them out is worth a warning.


@dataclass(frozen=True)
class ImportOptions:
    """How files become prepared images, and images become parts of a study."""

    baseline: str | None = None  #: Name of the baseline class; None takes the one with a usual name.
    size: tuple[int, ...] | None = None  #: Spatial shape to resize to; None needs images of one size.
    colour: Colour | None = None
    intensity: IntensityRule = "fixed"
    intensity_range: tuple[float, float] | None = None
    """Intensities that become -1 and 1 with ``fixed``; None takes the extremes of the training images."""
    seed: int = 0  #: Decides the split, where the table gives none.
    lists: SubjectLists = DRAWN
    drop_bad: bool = False  #: Leave unreadable images out, with the reason in ``dropped.csv``, instead of refusing.


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
    reason = f"no value in the column {class_column!r}"
    dropped = (dropped or []) + [Dropped(path, reason) for path in table["image"][without]]
    if not without.all():
        label_classes(list(table["class"][~without]), options.baseline)  # before all files are read
    table, files, bad = _inspect(table[~without], options)
    manifest = make_manifest(table, baseline=options.baseline, seed=options.seed, lists=options.lists)
    preparation = _preparation(options, manifest, files)
    paths, effects = list(manifest.table["image"]), list(manifest.table.get("effect", []))
    _require_one_shape(paths, [file.shape for file in files], resized=options.size is not None)
    warned = require_one_kind(paths, files, options)
    if absent := options.lists.describe_absent(table["subject"].astype(str)):
        warned.append(absent)
    flat = []
    for name, file in zip(manifest.table["id"], files, strict=True):
        own = preparation.intensity == "per-image"
        low, high = (file.low, file.high) if own else (preparation.low, preparation.high)
        flat += [name] if 2 * file.std < FLAT * (high - low) else []
    if flat:
        more = f" and {len(flat) - 3} more" if len(flat) > 3 else ""
        warned.append(f"images are nearly black or constant after scaling: {', '.join(flat[:3])}{more}; check them")

    def case_at(row: int) -> CohortCase:
        raw = read_image(Path(paths[row]), options.colour).array
        image = preparation.apply(raw)
        if image.min() == image.max():
            shown = f"{preparation.low:g} {preparation.high:g}"
            raise ImageFileError(f"{paths[row]} shows nothing between the `intensity_range` {shown}")
        return CohortCase(image, _effect(effects[row], raw.shape, preparation) if effects else None)

    place = files[0].affine
    # resized voxels lie elsewhere
    on_one_grid = options.size is None and place.any() and not _others([file.affine for file in files])
    metadata = CohortMetadata(
        source=source,
        preparation=preparation,
        spacing_mm=np.linalg.norm(place[:3, :3], axis=0).tolist() if on_one_grid else None,
        affine=place.tolist() if on_one_grid else None,
        warnings=tuple(warned),
    )
    cohort = write_cohort(out, manifest, metadata, case_at)
    write_table(out / DROPPED, pd.DataFrame(dropped + bad, columns=["image", "reason", "class"]))
    return cohort


def make_manifest(table: pd.DataFrame, *, baseline: str | None, seed: int, lists: SubjectLists) -> Manifest:
    """Number the classes of a table with ``id``, ``subject`` and ``class``, and split it if it has no ``split``."""
    table = table.assign(label=table["class"].map(label_classes(list(table["class"]), baseline)))
    if "session" not in table:
        table = table.assign(session="")
    if "split" not in table:
        table = table.assign(split=assign_splits(table, seed=seed, lists=lists))
    return Manifest(table[[*REQUIRED, *(name for name in table if name not in REQUIRED)]])


def describe_dropped(dropped: pd.DataFrame, kept: pd.DataFrame) -> list[str]:
    """A line for each kind of reason in ``dropped.csv``, and a warning for each class that lost many images.

    Both tables, ``dropped.csv`` and that of the manifest, have the column ``class``.
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


class FileFacts(NamedTuple):
    """What reading a file has shown."""

    shape: tuple[int, ...]
    low: float
    high: float
    std: float
    affine: NDArray[np.float64]  #: Where the voxels of a volume lie, in mm; 0 for other images.
    bits: int  #: Of pictures with unsigned integers; 0 for other numbers.


def _inspect(table: pd.DataFrame, options: ImportOptions) -> tuple[pd.DataFrame, list[FileFacts], list[Dropped]]:
    """Read every file once: the rows of the good ones with what was seen, and reasons against the bad ones."""
    bad: list[Dropped] = []
    files, good, remedy = [], [], "`drop_bad` leaves such images out"
    for path, name in track(zip(table["image"], table["class"], strict=True), len(table), "reading images"):
        try:
            if path.encode(errors="replace").decode() != path:  # not to be written to a table
                raise ImageFileError(f"the file name {path!a} must be UTF-8; rename it")
            file = read_image(Path(path), options.colour)
        except ImageFileError as error:
            if not bad and isinstance(error, ColourError):
                remedy = "`colour` converts such images, `drop_bad` leaves them out"
            bad.append(Dropped(path.encode(errors="backslashreplace").decode(), str(error), name))
            good.append(False)
            continue
        array, affine = file.array, np.zeros((4, 4))
        if file.volume is not None and array.ndim == 4:
            affine = file.volume.affine
        extremes, std = (float(array.min()), float(array.max())), float(array.std(dtype=np.float64))
        files.append(FileFacts(array.shape, *extremes, std, affine, 8 * (file.bytes_per_value or 0)))
        good.append(True)
    if bad and not options.drop_bad:
        more = f" ({len(bad) - 1} more like it)" if len(bad) > 1 else ""
        raise ImageFileError(f"{bad[0].reason}{more}; {remedy}")
    if not files:
        raise ManifestError("no image is left: every file was unreadable or without a class")
    return table[good].reset_index(drop=True), files, bad


def _require_one_shape(paths: list[str], shapes: list[tuple[int, ...]], *, resized: bool) -> None:
    what, remedy = ("size", "give a `size`, e.g. 112x112")
    if resized:
        what, remedy, shapes = "number of channels", "choose a `colour`", [shape[:1] for shape in shapes]
    for path, shape in zip(paths, shapes, strict=True):
        if shape != shapes[0]:
            both = f"{paths[0]} has {shapes[0]}, {path} has {shape} (channels first)"
            raise ManifestError(f"all images must have the same {what}: {both}; {remedy}")


def require_one_kind(paths: Sequence[str], files: Sequence[FileFacts], options: ImportOptions) -> list[str]:
    """Warnings of bit depths, voxel sizes or places that differ, each with an example.

    `ManifestError` for bit depths under one intensity range, and for voxel sizes of images that are not resized.
    """
    own_range = options.intensity == "per-image" or options.intensity_range is not None
    bits, affines = [np.array([float(file.bits)]) for file in files], [file.affine for file in files]
    voxels_mm = [np.linalg.norm(affine[:3, :3], axis=0) for affine in affines]
    kinds = (
        ("bit depth", bits, own_range, "convert them, or choose `intensity` per-image, or fix `intensity_range`"),
        ("voxel size", voxels_mm, options.size is not None, "resample them to one grid, as vagan preprocess does"),
        ("place", affines, True, ""),
    )
    warned = []
    for what, values, tolerated, remedy in kinds:
        others = _others(values)
        if not others:
            continue
        one, other = (_text(values[row]) for row in (0, others[0]))
        which = f"{paths[0]} has {one}, {paths[others[0]]} has {other} ({len(others)} of {len(paths)} differ)"
        if not tolerated:
            raise ManifestError(f"all images must have the same {what}: {which}; {remedy}")
        warned.append(f"images differ in {what}, which maps may show: {which}")
        if what == "voxel size":
            break  # places differ then as well
    return warned


def _others(values: Sequence[NDArray[np.float64]]) -> list[int]:
    """Where a value differs from the first one."""
    return [row for row, value in enumerate(values) if np.abs(value - values[0]).max(initial=0) > SAME_PLACE_MM]


def _text(value: NDArray[np.float64]) -> str:
    if len(value) == 1:
        return f"{value[0]:g} bits" if value[0] else "other numbers"
    if value.ndim == 1:
        return f"{' x '.join(f'{size:.4g}' for size in value)} mm"
    return f"its first voxel at ({', '.join(f'{place:.4g}' for place in value[:3, 3])}) mm"


def _preparation(options: ImportOptions, manifest: Manifest, files: list[FileFacts]) -> Preparation:
    train = [files[row] for row in manifest.indices("train")]
    if not train:
        raise ManifestError("some images must be in the split train, found none; correct the column split")
    low, high = options.intensity_range or (min(file.low for file in train), max(file.high for file in train))
    if not -np.inf < low < high < np.inf:
        raise ManifestError(f"`intensity_range` must rise between two finite numbers, found {low:g} to {high:g}")
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
