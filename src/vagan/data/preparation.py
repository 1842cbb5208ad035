"""Size and intensity preparation of images, and its inverse for maps."""

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vagan.constants import MAX_VALUES
from vagan.data.image_file import Colour
from vagan.errors import ImageFileError

Array = NDArray[np.float32]
IntensityRule = Literal["per-image", "fixed"]


class Preparation(BaseModel):
    """How images were prepared. Stored with the cohort and with every model, and applied again to new images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    colour: Colour | None = None
    size: tuple[Annotated[int, Field(ge=1, le=2**16)], ...] | None = None
    """Spatial shape that images are resized to (anti-aliased, linear); None keeps each image's own."""
    intensity: IntensityRule = "fixed"
    """``per-image``: an image's own minimum and maximum go to -1 and 1. ``fixed``: ``low`` and ``high`` do."""
    low: Annotated[float, Field(allow_inf_nan=False)] = -1.0
    high: Annotated[float, Field(allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _is_possible(self) -> "Preparation":
        if not self.low < self.high:
            raise ValueError(f"intensities must rise from low to high, found {self.low:g} to {self.high:g}")
        if self.size is not None and math.prod(self.size) > MAX_VALUES:
            raise ValueError(f"at most {MAX_VALUES} values make an image, found the size {self.size}")
        return self

    def apply(self, array: Array) -> Array:
        """Prepare ``(channel, *space)`` in a file's own intensity; the result lies in [-1, 1]."""
        if self.size is not None:
            array = _resize(array, self.size)
        return rescale_intensity(array, *self.range_of(array))

    def range_of(self, array: Array) -> tuple[float, float]:
        """Intensities of ``(channel, *space)`` as read from a file that become -1 and 1."""
        if self.intensity == "fixed":
            return self.low, self.high
        if self.size is not None:
            array = _resize(array, self.size)
        low, high = float(array.min()), float(array.max())
        if low == high:
            raise ImageFileError(f"images must not be constant: every pixel is {low:g}")
        return low, high

    def map_to_source(self, values: Array, shape: tuple[int, ...]) -> Array:
        """Bring a map of a prepared image to the spatial shape of its file."""
        return values if values.shape[1:] == shape else _resize(values, shape)


def rescale_intensity(array: Array, low: float | np.float32, high: float | np.float32) -> Array:
    """Scale intensities linearly so that ``low`` becomes -1 and ``high`` 1, and clip to this range."""
    return ((array - low) * (2 / (high - low)) - 1).clip(-1, 1).astype(np.float32)


def _resize(array: Array, size: tuple[int, ...]) -> Array:
    from skimage.transform import resize

    if len(size) != array.ndim - 1:
        raise ImageFileError(f"the size {size} does not fit the shape {array.shape[1:]}; give one number per axis")
    if array.shape[1:] == size:
        return array
    return np.stack([resize(channel, size, order=1, anti_aliasing=True) for channel in array]).astype(np.float32)
