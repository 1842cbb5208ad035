"""A DICOM series as a volume: single-frame files, or enhanced multi-frame ones."""

import warnings
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vagan.data.image_file import is_clutter
from vagan.data.picture import is_dicom_file, modality_values, name_encoding, require_size
from vagan.errors import ImageFileError, first_line, require_extra
from vagan.geometry import LPS_FROM_RAS, Matrix, affine_of

MIN_SLICES = 16  # series of fewer are localizers or lone pictures
ALIKE = 1e-3  # largest difference of direction cosines and pixel spacings (mm) within a volume
UNEVEN = 0.05  # largest spread of the distances of neighbouring slices over their mean; positions are often rounded


class _Slice(NamedTuple):
    """What the header says about a frame of a file."""

    path: Path
    frame: int
    series: str  # what tells series apart: identifier, stack and number of pixels
    title: str
    plane: NDArray[np.float64]
    """Direction cosines of a row and of a column, and the distances along these; 0 if it has no place."""
    position: NDArray[np.float64]
    slope: float
    intercept: float


def read_series(folder: Path) -> tuple[NDArray[np.float32], Matrix, tuple[str, ...]]:
    """Array, affine (RAS+ mm) and warnings of the one series in a folder that is a volume.

    Localizers, pictures and files of other formats beside it are left out with a warning. Slices are ordered by
    position; each is rescaled by its own slope and intercept. Raises `ImageFileError` if there is no such series or
    more than one, if slices are missing, unevenly spaced, sheared or repeated, or if a file is damaged.
    """
    require_extra("mri", "pydicom", what="a DICOM series")
    if odd := [path for path in folder.iterdir() if not path.is_dir() and not path.is_file()]:
        raise ImageFileError(f"{folder} must hold files alone, but {odd[0].name} is none; remove it")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        chosen, left_out = _choose(folder)
        array, affine, repeated = _assemble(folder, chosen)
    return array, affine, (*left_out, *repeated, *dict.fromkeys(" ".join(str(one.message).split()) for one in said))


def _choose(folder: Path) -> tuple[list[_Slice], list[str]]:
    """Slices of the only volume, and what was left out."""
    groups: list[list[_Slice]] = []
    left_out = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() or is_clutter(path.name):
            continue
        try:
            found = list(_slices(path)) if is_dicom_file(path) else []
        except Exception as error:  # headers are parsed as they are used, and raise whatever they lead to
            raise _damaged(path, error) from error
        if not found:
            left_out.append(f"{path.name} was left out: it holds no DICOM image")
        for one in found:
            for group in groups:
                if group[0].series == one.series and np.abs(group[0].plane - one.plane).max() < ALIKE:
                    group.append(one)
                    break
            else:
                groups.append([one])
    volumes = [group for group in groups if group[0].plane.any() and len(group) >= MIN_SLICES]
    if len(volumes) != 1:
        described = ", ".join(f"{group[0].title} ({len(group)} slices)" for group in (volumes or groups)[:3])
        raise ImageFileError(
            f"{folder} must hold one DICOM series of {MIN_SLICES} slices or more in parallel planes, found "
            f"{len(volumes) or 'none'}{f': {described}' if described else ''}; give each series a folder"
        )
    others = [f"{group[0].title} was left out: {len(group)} slices" for group in groups if group is not volumes[0]]
    return volumes[0], left_out + others


def _slices(path: Path) -> Iterator[_Slice]:
    """All grey frames of a file with their places; nothing of a file without pixels, such as a DICOMDIR."""
    from pydicom import dcmread

    dataset = dcmread(path, stop_before_pixels=True, force=True)
    if "Rows" not in dataset or int(dataset.get("SamplesPerPixel", 1)) != 1:
        return
    frames = int(dataset.get("NumberOfFrames") or 1)
    size = int(dataset.Rows), int(dataset.Columns)
    require_size((frames, *size))
    shared = dataset.get("SharedFunctionalGroupsSequence") or [{}]
    own = dataset.get("PerFrameFunctionalGroupsSequence") or [{}] * frames
    title = f"series {dataset.get('SeriesNumber', '?')} {dataset.get('SeriesDescription', '')}".strip()
    for frame in range(frames):

        def value(name: str, group: str, default: Any = None, at: int = frame) -> Any:
            """An attribute of the frame: in its functional group, the one shared by all, or the file's own."""
            for groups in (own[at], shared[0]):
                inner = groups.get(group)
                if inner and inner[0].get(name) is not None:
                    return inner[0].get(name)
            found = dataset.get(name)
            return default if found is None else found

        position = value("ImagePositionPatient", "PlanePositionSequence")
        cosines = value("ImageOrientationPatient", "PlaneOrientationSequence")
        spacing = value("PixelSpacing", "PixelMeasuresSequence")
        placed = position is not None and cosines is not None and spacing is not None
        stack = value("StackID", "FrameContentSequence", "")
        yield _Slice(
            path,
            frame,
            f"{dataset.get('SeriesInstanceUID', '')} {stack} {size}",
            title,
            # the spacing between rows comes first in DICOM
            np.array([*cosines, spacing[1], spacing[0]], float) if placed else np.zeros(8),
            np.array(position, float) if placed else np.zeros(3),
            float(value("RescaleSlope", "PixelValueTransformationSequence", 1)),
            float(value("RescaleIntercept", "PixelValueTransformationSequence", 0)),
        )


def _assemble(folder: Path, slices: list[_Slice]) -> tuple[NDArray[np.float32], Matrix, list[str]]:
    """Array ``(column, row, slice)`` and affine of parallel slices, and what was said of repeated ones."""
    along_row, along_column, spacing = np.split(slices[0].plane, [3, 6])
    normal = np.cross(along_row, along_column)
    pixels = _pixels(slices)
    order = sorted(range(len(slices)), key=lambda number: float(slices[number].position @ normal))
    kept = order[:1]
    for number in order[1:]:
        if np.linalg.norm(slices[number].position - slices[kept[-1]].position) > ALIKE:
            kept.append(number)
        elif not np.array_equal(pixels[number], pixels[kept[-1]]):
            one, other = slices[kept[-1]], slices[number]
            raise ImageFileError(
                f"{folder} must hold one image at each place, but {one.path.name} and {other.path.name} (frames "
                f"{one.frame + 1} and {other.frame + 1}) differ at {np.round(one.position, 2).tolist()} mm; give "
                "each time point, echo or repetition a folder"
            )
    repeated = [f"{len(order) - len(kept)} repeated slices were left out"] if len(kept) < len(order) else []
    positions = np.array([slices[number].position for number in kept])
    step = _even_step(folder, positions, normal, spacing)
    lps = affine_of(np.stack([along_row * spacing[0], along_column * spacing[1], step], axis=1), positions[0])
    return np.stack([pixels[number].T for number in kept], axis=-1), LPS_FROM_RAS @ lps, repeated


def _even_step(
    folder: Path, positions: NDArray[np.float64], normal: NDArray[np.float64], spacing: NDArray[np.float64]
) -> NDArray[np.float64]:
    """From a slice to the next, mm, perpendicular to the slices."""
    if len(positions) < MIN_SLICES:
        raise ImageFileError(f"{folder} must hold {MIN_SLICES} slices or more, found {len(positions)} places")
    steps = np.diff(positions, axis=0)
    along = steps @ normal
    if along.max() - along.min() > UNEVEN * along.mean():
        raise ImageFileError(
            f"{folder} lacks slices, or they are unevenly spaced: they are {along.min():.4g} to {along.max():.4g} mm "
            "apart; copy the whole series, or resample it to even slices"
        )
    aside = steps - np.outer(along, normal)
    if np.linalg.norm(np.cumsum(aside, axis=0), axis=1).max() > spacing.min() / 2:
        shift = np.linalg.norm(aside, axis=1).mean()
        raise ImageFileError(
            f"{folder} is a sheared stack (tilted gantry): each slice is shifted by {shift:.4g} mm for "
            f"{along.mean():.4g} mm along the normal; resample it to a box of voxels first, e.g. with dcm2niix"
        )
    return normal * along.mean()


def _pixels(slices: list[_Slice]) -> list[NDArray[np.float32]]:
    """Rescaled pixels ``(row, column)`` of each slice; every file is decoded once."""
    from pydicom import dcmread
    from pydicom.pixels import pixel_array

    found = []
    for path, of_file in groupby(slices, key=lambda one: one.path):
        try:
            dataset = dcmread(path, force=True)
            name_encoding(dataset)
            stored = pixel_array(dataset)
            frames = stored[None] if stored.ndim == 2 else stored
            values = (modality_values(dataset, frames[one.frame], one.slope, one.intercept) for one in of_file)
            found += [of_slice.astype(np.float32) for of_slice in values]
        except Exception as error:  # decoders raise whatever damaged pixels lead to
            raise _damaged(path, error) from error
    return found


def _damaged(path: Path, error: Exception) -> ImageFileError:
    return ImageFileError(f"{path} cannot be read as DICOM: {first_line(error)}; copy the series again")
