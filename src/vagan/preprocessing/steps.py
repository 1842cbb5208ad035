"""Steps that change intensities, and steps that choose the voxel grid."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vagan.errors import ImageFileError, PreprocessingError
from vagan.geometry import Grid, bounds_of, largest_piece
from vagan.preprocessing.registration import to_itk
from vagan.preprocessing.scan import Facts, Scan, Step

Percentile = Annotated[float, Field(ge=0, le=100)]
Iterations = Annotated[int, Field(ge=1, le=1000)]
Extent = Annotated[int, Field(ge=8, le=1024)]
Place = Annotated[float, Field(ge=-1e4, le=1e4)]


class CorrectBias(Step):
    """Divide by the slowly varying brightness of the coil (N4; Tustison et al. 2010)."""

    step: Literal["correct-bias"] = "correct-bias"
    within: Literal["brain", "head"] = "brain"
    """Where the field is measured: the brain, which is better and must be known, or all above Otsu's threshold."""
    shrink: Annotated[int, Field(ge=1, le=8)] = 4
    """Voxels in each direction that are one for the fit."""
    iterations: Annotated[tuple[Iterations, ...], Field(min_length=1, max_length=8)] = (50,) * 4
    """Most iterations at each level of the spline."""

    def apply(self, scan: Scan) -> tuple[Scan, Facts]:
        """The scan over its field, fitted to every ``shrink``-th voxel; its mean log is 0 where it was measured."""
        import SimpleITK as sitk

        where = scan.mask if self.within == "brain" and scan.mask is not None else head_mask(scan.image)
        positive = np.maximum(scan.image, 0)
        if not (positive[where] > 0).any():
            raise ImageFileError("the head must be brighter than 0 somewhere; are the intensities inverted?")
        full, mask = to_itk(positive, scan.grid), to_itk(where, scan.grid)
        factors = [min(self.shrink, max(1, extent // 8)) for extent in positive.shape]
        n4 = sitk.N4BiasFieldCorrectionImageFilter()
        n4.SetMaximumNumberOfIterations(list(self.iterations))
        try:
            n4.Execute(sitk.Shrink(full, factors), sitk.Shrink(mask, factors))
        except RuntimeError as error:
            raise ImageFileError(f"N4 found no field: {str(error).strip().splitlines()[-1]}") from error
        field = np.ascontiguousarray(sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(full)).T, np.float32)
        field -= field[where].mean()
        corrected = (scan.image / np.exp(field)).astype(np.float32)
        return scan.with_image(corrected), {"field_sd": float(field[where].std())}


class Rescale(Step):
    """Clip at two percentiles and scale to [-1, 1]; outside the brain -1."""

    step: Literal["rescale"] = "rescale"
    percentiles: tuple[Percentile, Percentile] = (1.0, 99.0)
    """Intensities that become -1 and 1."""
    within: Literal["brain", "volume"] = "brain"
    """Voxels that are ranked; ``volume`` counts the empty ones too, as the authors' code does."""

    def apply(self, scan: Scan) -> tuple[Scan, Facts]:
        """Intensities in [-1, 1]."""
        brain = scan.brain
        ranked = brain[scan.mask] if self.within == "brain" and scan.mask is not None else brain
        low, high = (float(value) for value in np.percentile(ranked, self.percentiles))
        if not low < high:
            raise ImageFileError(f"the brain must have contrast, but its percentiles are {low:g} and {high:g}")
        return scan.with_intensities(low, high), {"low": low, "high": high}


def head_mask(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The bright part of an image, by Otsu's threshold; the brightest hundredth, mostly fat, counts as one."""
    from skimage.filters import threshold_otsu

    clipped = np.minimum(image, np.percentile(image, 99))
    return np.asarray(clipped > threshold_otsu(clipped))


class CropField(Step):
    """Cut off empty air, and the neck below a head's height; make voxels that are needlessly fine larger."""

    step: Literal["crop-field"] = "crop-field"
    height_mm: Annotated[float, Field(gt=0, le=1e3)] = 180.0
    """What is kept below the top of the head; brains are at most 150 mm high."""
    margin_mm: Annotated[float, Field(ge=0, le=1e3)] = 10.0
    """Air that is left around the head."""
    finest_mm: Annotated[float, Field(ge=0.05, le=10)] = 0.65
    """Along axes with smaller voxels the head is resampled to this: half the prepared spacing, for memory's sake."""

    def apply(self, scan: Scan) -> tuple[Scan, Facts]:
        """A smaller box on the same voxels."""
        from scipy.ndimage import binary_opening

        every = np.maximum(1, np.round(3 / scan.grid.spacing_mm).astype(int))  # the box need not be exact
        steps = tuple(slice(None, None, int(n)) for n in every)
        head = largest_piece(binary_opening(head_mask(scan.image[steps]), iterations=1))  # not the noise beside it
        if not head.any():
            raise PreprocessingError("a head must be brighter than the surrounding air; found no such region")
        low, high = bounds_of(head)
        spacing = scan.grid.spacing_mm
        margin = np.ceil(self.margin_mm / spacing).astype(int)
        top = high[2] * every[2]
        low, high = low * every - margin, high * every + margin
        low[2] = max(low[2], top - round(self.height_mm / spacing[2]))
        low, high = np.maximum(low, 0), np.minimum(high, scan.image.shape)
        inside = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        mask = None if scan.mask is None else scan.mask[inside]
        cropped = Scan(scan.image[inside], scan.grid.box(low, high), mask, scan.template_from_scanner)
        ratio = np.maximum(self.finest_mm / cropped.grid.spacing_mm, 1)
        if (ratio > 1).any():
            shape = np.ceil(cropped.image.shape / ratio).astype(int)
            cropped = cropped.onto(Grid(tuple(shape.tolist()), cropped.grid.affine @ np.diag([*ratio, 1])))
        return cropped, {"from_voxel": low.tolist(), "to_voxel": high.tolist()}


class Conform(Step):
    """Onto the grid that all subjects share: resampling, cropping and padding with one interpolation."""

    step: Literal["conform"] = "conform"
    spacing_mm: Annotated[float, Field(ge=0.1, le=10)] = 1.3
    shape: tuple[Extent, Extent, Extent] = (128, 160, 112)
    center_mm: tuple[Place, Place, Place] = (0.0, -17.0, 12.0)
    """The middle of the box in the template's space. The default holds the MNI brain but for the end of the stem."""
    interpolation: Literal["linear", "cubic"] = "linear"

    @property
    def grid(self) -> Grid:
        """The common grid, upright in the template's space."""
        return Grid.upright(self.shape, self.spacing_mm, self.center_mm)

    def apply(self, scan: Scan) -> tuple[Scan, Facts]:
        """The scan on the common grid."""
        conformed = scan.onto(self.grid, order=1 if self.interpolation == "linear" else 3)
        return conformed, {} if scan.mask is None else {"brain_kept": conformed.brain_ml / max(scan.brain_ml, 1e-6)}
