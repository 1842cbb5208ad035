"""Masks and lesion tables of maps."""

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pandas as pd
from jaxtyping import Bool, Integer
from numpy.typing import NDArray
from scipy import ndimage

from vagan.data.table import write_table
from vagan.data.volume import Volume, write_like
from vagan.files import replacing

Mask = Bool[np.ndarray, "*space"]
Numbers = Integer[np.ndarray, "*space"]

MIN_PIXELS = 3
"""Smaller components are specks and count neither as lesions nor as false ones, unless there are no larger ones."""


def components(mask: Mask) -> Numbers:
    """Number of the connected component of each pixel, touching at corners too, from 1; 0 elsewhere and in specks."""
    numbers, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    kept = sizes >= min(MIN_PIXELS, sizes.max(initial=1))
    return np.asarray(np.concatenate([[0], np.where(kept, kept.cumsum(), 0)])[numbers])


def write_mask(stem: Path, effect: NDArray[np.float32], threshold: float, volume: Volume | None = None) -> Path:
    """Write ``STEM_mask``, 1 where ``|map|`` exceeds the threshold, and a table ``STEM_lesions.csv``.

    The table has a row for each connected component, the largest first, without specks of less than three pixels: the
    first and last pixel along each axis (of a volume: in mm, towards right, front and top), their number, and the
    map's mean and extreme value in it. Of several channels of the effect ``(channel, *space)`` the strongest counts.
    ``volume`` is the NIfTI file, if any, on the same grid: its mask is NIfTI, that of a picture PNG, others ``.npy``.
    """
    values = np.take_along_axis(effect, np.abs(effect).argmax(axis=0)[None], axis=0)[0]
    numbers = components(np.abs(values) > threshold)
    mask = (numbers > 0).astype(np.uint8)
    if volume is not None:
        path = Path(f"{stem}_mask.nii.gz")
        write_like(path, mask.astype(np.float32), volume)
    else:
        path = Path(f"{stem}_mask.png" if values.ndim == 2 else f"{stem}_mask.npy")
        with replacing(path) as temporary:
            if values.ndim == 2:
                imageio.imwrite(temporary, 255 * mask)
            else:
                np.save(temporary, mask)
    write_table(Path(f"{stem}_lesions.csv"), _lesions(values, numbers, volume))
    return path


def _lesions(values: NDArray[np.float32], numbers: NDArray[np.integer], volume: Volume | None) -> pd.DataFrame:
    axes = range(values.ndim) if volume is None else ("x_mm", "y_mm", "z_mm")
    rows = []
    for number in range(1, int(numbers.max(initial=0)) + 1):
        inside, indices = values[numbers == number], np.argwhere(numbers == number)
        places = indices if volume is None else volume.places_mm(indices)
        ends = np.stack([places.min(axis=0), places.max(axis=0)], axis=1).ravel()
        rows.append([*ends, len(inside), inside.mean(), inside[np.abs(inside).argmax()]])
    ends_of_axes = [f"{end}_{axis}" for axis in axes for end in ("first", "last")]
    table = pd.DataFrame(rows, columns=[*ends_of_axes, "pixels", "mean", "extreme"])
    return table.sort_values("pixels", ascending=False, kind="stable", ignore_index=True)
