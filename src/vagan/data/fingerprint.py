"""Fingerprints of images: whether two cohorts hold the same image, told without the image itself."""

import base64

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from vagan.data.cohort import Cohort
from vagan.seeding import numpy_generator

CELLS = {2: 32, 3: 16}
"""Along each axis, by number of axes: what is finer does not count."""
NUMBERS = 16
SAME = 0.02
"""Estimated distance of two images of unit norm up to which they count as one; a correlation of 0.9998."""
BLOCK_VALUES = 2**24

Fingerprints = NDArray[np.float16]
"""``(image, number)``."""


def fingerprints(cohort: Cohort, rows: ArrayLike) -> Fingerprints:
    """Random projections of coarse, standardised images: distances of images are preserved, images are not.

    Neither a linear change of intensity, such as another range on import, nor another size in pixels matters.
    """
    rows = np.asarray(rows, np.int64)
    side, dims = CELLS[len(cohort.shape)], len(cohort.shape)
    at_once = max(1, BLOCK_VALUES // (cohort.channels * int(np.prod(cohort.shape))))
    projection = numpy_generator(0, "fingerprints").standard_normal((cohort.channels * side**dims, NUMBERS))
    found = [np.empty((0, NUMBERS))]
    for start in range(0, len(rows), at_once):
        images = cohort.images(rows[start : start + at_once])
        coarse = torch.nn.functional.interpolate(images, size=(side,) * dims, mode="area").flatten(1).double().numpy()
        with np.errstate(invalid="ignore"):  # images with infinite values equal no other
            coarse -= coarse.mean(axis=1, keepdims=True)
            norm = np.linalg.norm(coarse, axis=1, keepdims=True)
            found.append(coarse / np.maximum(norm, 1e-12) @ projection)
    return np.concatenate(found).astype(np.float16)


def is_among(these: Fingerprints, others: Fingerprints) -> NDArray[np.bool_]:
    """Whether each of these is the same image as one of the others."""
    if not len(others):
        return np.zeros(len(these), bool)
    distances, _ = cKDTree(others.astype(float)).query(these.astype(float), distance_upper_bound=SAME * NUMBERS**0.5)
    return np.isfinite(distances)


def is_repeated(these: Fingerprints) -> NDArray[np.bool_]:
    """Whether each of these is the same image as an earlier one."""
    pairs = cKDTree(these.astype(float)).query_pairs(SAME * NUMBERS**0.5, output_type="ndarray")
    repeated = np.zeros(len(these), bool)
    repeated[pairs[:, 1]] = True  # the later one of each
    return repeated


def to_text(found: Fingerprints) -> str:
    """All of them in base 64."""
    return base64.b64encode(found.astype("<f2").tobytes()).decode()


def from_text(text: str) -> Fingerprints:
    """The inverse of `to_text`; `ValueError` for other text."""
    found = np.frombuffer(base64.b64decode(text, validate=True), "<f2").reshape(-1, NUMBERS).astype(np.float16)
    if not np.isfinite(found).all():
        raise ValueError("they must be finite")
    return found
