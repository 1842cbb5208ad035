"""Steps that change intensities only."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vagan.conventions import BACKGROUND
from vagan.errors import ImageFileError
from vagan.geometry import Grid
from vagan.preprocessing.itk import from_itk, sitk, to_itk
from vagan.preprocessing.scan import Facts, Scan
from vagan.preprocessing.step import Step

Percentile = Annotated[float, Field(ge=0, le=100)]


class CorrectBias(Step):
    """Divide by the slowly varying brightness of the coil (N4; Tustison et al. 2010)."""

    step: Literal["correct-bias"] = "correct-bias"
    within: Literal["brain", "head"] = "brain"
    """Where the field is measured: the brain, which is better and must be known, or all above Otsu's threshold."""
    shrink: Annotated[int, Field(ge=1, le=8)] = 4
    """Voxels in each direction that are one for the fit."""
    iterations: Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1, max_length=8)] = (
        50,
        50,
        50,
        50,
    )
    """Most iterations at each level of the spline."""

    def apply(self, scan: Scan) -> tuple[Scan, Facts]:
        """The scan over its field, whose mean log is 0 where it was measured."""
        where = scan.mask if self.within == "brain" and scan.mask is not None else head_mask(scan.image)
        field = log_bias_field(scan.image, where, scan.grid, shrink=self.shrink, iterations=self.iterations)
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
            raise ImageFileError(
                f"the brain must have contrast: its percentiles {self.percentiles} are {low:g} and {high:g}"
            )
        scaled = ((brain - low) * (2 / (high - low)) - 1).clip(-1, 1)
        if scan.mask is not None:
            scaled[~scan.mask] = BACKGROUND
        return scan.with_image(scaled.astype(np.float32)), {"low": low, "high": high}


def head_mask(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The bright part of an image, by Otsu's threshold; the brightest hundredth, mostly fat, counts as one."""
    from skimage.filters import threshold_otsu

    clipped = np.minimum(image, np.percentile(image, 99))
    return np.asarray(clipped > threshold_otsu(clipped))


def log_bias_field(
    image: NDArray[np.float32],
    where: NDArray[np.bool_],
    grid: Grid,
    *,
    shrink: int,
    iterations: tuple[int, ...],
) -> NDArray[np.float32]:
    """Logarithm of the field by which N4 finds the image multiplied, fitted to every ``shrink``-th voxel."""
    positive = np.maximum(image, 0)
    if not (positive[where] > 0).any():
        raise ImageFileError("the head must be brighter than 0 somewhere; are the intensities inverted?")
    full, mask = to_itk(positive, grid), to_itk(where, grid)
    factors = [min(shrink, max(1, extent // 8)) for extent in image.shape]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(list(iterations))
    try:
        n4.Execute(sitk.Shrink(full, factors), sitk.Shrink(mask, factors))
    except RuntimeError as error:
        raise ImageFileError(f"N4 found no field: {str(error).strip().splitlines()[-1]}") from error
    field, _ = from_itk(n4.GetLogBiasFieldAsImage(full))
    return field
