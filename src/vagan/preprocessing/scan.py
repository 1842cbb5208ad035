"""A scan in the pipeline, read from NIfTI, MGZ or DICOM, and the base of all pipeline steps."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from vagan.constants import BACKGROUND
from vagan.data.preparation import rescale_intensity
from vagan.data.volume import SUFFIXES, Volume, header_warnings, make_volume, read_volume
from vagan.errors import ImageFileError
from vagan.geometry import Grid, Matrix, resample

Facts = dict[str, Any]  #: What a step found out; numbers, words and lists, written to the record as they are.

MIN_VOXELS = 16
FIELD_MM = (80.0, 600.0)
SPACING_MM = (0.2, 10.0)

AIR_IN_CT = -500.0


@dataclass(frozen=True)
class Scan:
    """A head between two steps."""

    image: NDArray[np.float32]  #: ``space``, RAS+.
    grid: Grid  #: Where its voxels lie: in the scanner's mm, after registration in the template's.
    mask: NDArray[np.bool_] | None = None  #: The brain, once it is known.
    template_from_scanner: Matrix = field(default_factory=lambda: np.eye(4))
    """Takes points of the raw scan to the template, once it is known."""

    @property
    def brain(self) -> NDArray[np.float32]:
        """The image where the mask is; all of it, as long as there is none."""
        return self.image if self.mask is None else np.where(self.mask, self.image, 0).astype(np.float32)

    def with_image(self, image: NDArray[np.float32]) -> "Scan":
        """The same head with other intensities."""
        return replace(self, image=image)

    def with_intensities(self, low: float, high: float) -> "Scan":
        """The brain, with these intensities as -1 and 1; -1 outside."""
        scaled = rescale_intensity(self.brain, low, high)
        if self.mask is not None:
            scaled[~self.mask] = BACKGROUND
        return self.with_image(scaled)

    def onto(self, grid: Grid, order: Literal[1, 3] = 1) -> "Scan":
        """The same head on other voxels, by one interpolation."""
        mask = None if self.mask is None else resample(self.mask, self.grid, grid) > 0.5
        return replace(self, image=resample(self.image, self.grid, grid, order=order), grid=grid, mask=mask)

    @property
    def brain_ml(self) -> float:
        """Volume of the mask."""
        return 0.0 if self.mask is None else float(self.mask.sum()) * self.grid.voxel_ml


@dataclass(frozen=True)
class RawScan:
    """A head as its file has it: the scan, the file's own grid, and what looks odd about it."""

    path: Path
    volume: Volume
    scan: Scan
    warnings: tuple[str, ...]


def read_scan(path: Path, mask: Path | None = None) -> RawScan:
    """Read a T1-weighted head, a NIfTI or MGZ file or a DICOM folder, and refuse what cannot be one.

    ``mask`` is a brain mask on the same grid: zero outside the brain. `ImageFileError` if the file is unreadable, a
    series over time, a few slices, constant, not finite, a CT, without a place in space, or of a size no head has.
    """
    if path.is_dir():
        from vagan.preprocessing.dicom import read_series

        array, affine, warnings = read_series(path)
        volume = make_volume(array, affine)
    elif path.name.lower().endswith(SUFFIXES):
        volume, warnings = read_volume(path), tuple(header_warnings(path))
    else:
        raise ImageFileError(f"{path} is not a scan: it must be a DICOM folder, or a file of {', '.join(SUFFIXES)}")
    grid = Grid(volume.array.shape, volume.affine)
    _require_head(path, volume.array, grid)
    return RawScan(path, volume, Scan(volume.array, grid, _read_mask(mask, grid) if mask else None), warnings)


def _require_head(path: Path, image: NDArray[np.float32], grid: Grid) -> None:
    if image.ndim != 3 or min(image.shape) < MIN_VOXELS:
        raise ImageFileError(f"{path} must be a 3-D head, at least {MIN_VOXELS} voxels each way, not {image.shape}")
    spacing, extent = grid.spacing_mm, grid.spacing_mm * image.shape
    for what, found, (low, high) in (("have voxels of", spacing, SPACING_MM), ("cover a head:", extent, FIELD_MM)):
        if found.min() < low or found.max() > high:
            needed = f"{low:g} to {high:g} mm along each axis"
            raise ImageFileError(f"{path} must {what} {needed}, found {_times(found)} mm; are its units right?")
    if not np.isfinite(image).all():
        raise ImageFileError(f"{path} holds {(~np.isfinite(image)).sum()} NaN or infinite values; replace them first")
    if image.min() == image.max():
        raise ImageFileError(f"{path} is constant: every voxel is {image.min():g}; check the file")
    if (image < AIR_IN_CT).mean() > 0.1:
        raise ImageFileError(f"{path} looks like a CT: a tenth of it is below {AIR_IN_CT:g}; give a T1-weighted MRI")


def _read_mask(path: Path, grid: Grid) -> NDArray[np.bool_]:
    mask = read_volume(path)
    if mask.array.shape != grid.shape or np.abs(mask.affine - grid.affine).max() > 0.01:
        raise ImageFileError(
            f"{path} must lie on the grid of its scan, {_times(grid.shape)} voxels, found {_times(mask.array.shape)} "
            "or another place; resample it first"
        )
    return mask.array > 0


def _times(values: Any) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


class Step(BaseModel):
    """One change of a scan: its settings, frozen, which are its entry in the record, and how to apply them.

    A step returns the new scan with all its fields consistent: the mask on the image's grid, the grid in the
    scanner's mm before registration and in the template's after it. With this the inverse of any step is known:
    ``resample`` from the new grid to the old one, through ``template_from_scanner`` if it is the registration.

    Examples
    --------
    A step of your own; see `vagan.preprocessing.pipeline.STEPS` for how it is found again when a model is loaded.

    >>> from typing import Literal
    >>> class Invert(Step):
    ...     step: Literal["invert"] = "invert"
    ...
    ...     def apply(self, scan):
    ...         return scan.with_image(-scan.image), {}
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    step: str

    def apply(self, scan: Scan) -> tuple[Scan, Facts]:
        """The changed scan, and what was measured on the way."""
        raise NotImplementedError(f"{type(self).__name__} must define apply(scan)")
