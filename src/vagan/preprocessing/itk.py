"""Conversion between RAS+ arrays and SimpleITK images (LPS)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vagan.errors import MissingExtraError
from vagan.geometry import Grid, Matrix

try:
    import SimpleITK as sitk
except ImportError as error:
    raise MissingExtraError("brain scans need SimpleITK: pip install 'vagan[mri]'") from error

# ITK's sums depend on the number of threads; scans, not their parts, are the parallel work
sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)

__all__ = ["LPS_FROM_RAS", "from_itk", "matrix_of", "sitk", "to_itk"]

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def to_itk(values: NDArray[np.generic], grid: Grid) -> Any:
    """An image for SimpleITK; its first axis is numpy's last, so that the array is turned around."""
    spacing = grid.spacing_mm
    lps = LPS_FROM_RAS @ grid.affine
    stored = values.astype(np.uint8) if values.dtype == bool else values
    image = sitk.GetImageFromArray(np.ascontiguousarray(stored.T))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


def from_itk(image: Any) -> tuple[NDArray[np.float32], Matrix]:
    """Array and affine (RAS+ mm) of a SimpleITK image."""
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    return np.ascontiguousarray(sitk.GetArrayFromImage(image).T, np.float32), LPS_FROM_RAS @ lps


def matrix_of(transform: Any) -> Matrix:
    """A linear transform of SimpleITK as a matrix on RAS+ points."""
    linear = np.array(transform.GetMatrix()).reshape(3, 3)
    center, shift = np.array(transform.GetCenter()), np.array(transform.GetTranslation())
    lps = np.eye(4)
    lps[:3, :3] = linear
    lps[:3, 3] = shift + center - linear @ center
    return LPS_FROM_RAS @ lps @ LPS_FROM_RAS
