"""Fingerprints of images: whether two cohorts hold the same image, told without the image itself."""

import base64

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from vagan.data.cohort import Cohort
from vagan.seeding import numpy_generator

CELLS = {2: 32, 3: 16}  # along each axis, by number of axes: what is finer does not count
NUMBERS = 16
SAME = 0.02  # estimated distance of two images of unit norm up to which they count as one; a correlation of 0.9998
BLOCK_VALUES = 2**24

Fingerprints = NDArray[np.float16]  # ``(image, number)``


def fingerprints(cohort: Cohort, rows: ArrayLike) -> Fingerprints:
    """Random projections of coarse, standardised images: distances of images are preserved, images are not.

    A linear change of intensity, such as another range on import, does not matter; another size in pixels may. Those
    of images with NaN or infinite values are not finite.
    """
    rows = np.asarray(rows, np.int64)
    side, dims = CELLS[len(cohort.shape)], len(cohort.shape)
    at_once = max(1, BLOCK_VALUES // (cohort.channels * int(np.prod(cohort.shape))))
    projection = numpy_generator(0, "fingerprints").standard_normal((cohort.channels * side**dims, NUMBERS))
    found = [np.empty((0, NUMBERS))]
    for start in range(0, len(rows), at_once):
        images = cohort.images(rows[start : start + at_once])
        coarse = torch.nn.functional.interpolate(images, size=(side,) * dims, mode="area").flatten(1).double().numpy()
        with np.errstate(invalid="ignore"):
            coarse -= coarse.mean(axis=1, keepdims=True)
            found.append(coarse / np.maximum(np.linalg.norm(coarse, axis=1, keepdims=True), 1e-12) @ projection)
    return np.concatenate(found).astype(np.float16)


def _is_finite(found: Fingerprints) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(found).all(axis=1))


def is_among(these: Fingerprints, others: Fingerprints) -> NDArray[np.bool_]:
    """Whether each of these is the same image as one of the others; one that is not finite equals no other."""
    found, finite = np.zeros(len(these), bool), _is_finite(these)
    if len(others) and finite.any():
        tree = cKDTree(others.astype(float))
        distances, _ = tree.query(these[finite].astype(float), distance_upper_bound=SAME * NUMBERS**0.5)
        found[finite] = np.isfinite(distances)
    return found


def is_repeated(these: Fingerprints) -> NDArray[np.bool_]:
    """Whether each of these is the same image as an earlier one."""
    (finite,) = np.nonzero(_is_finite(these))
    pairs = cKDTree(these[finite].astype(float)).query_pairs(SAME * NUMBERS**0.5, output_type="ndarray")
    repeated = np.zeros(len(these), bool)
    repeated[finite[pairs[:, 1]]] = True  # the later one of each
    return repeated


def to_text(found: Fingerprints) -> str:
    """Those that are finite, in base 64."""
    return base64.b64encode(found[_is_finite(found)].astype("<f2").tobytes()).decode()


def from_text(text: str) -> Fingerprints:
    """The inverse of `to_text`; `ValueError` for other text."""
    found = np.frombuffer(base64.b64decode(text, validate=True), "<f2").reshape(-1, NUMBERS).astype(np.float16)
    if not np.isfinite(found).all():
        raise ValueError("they must be finite")
    return found
