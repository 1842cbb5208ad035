"""Tensor types. Axes are always batch, channel, space."""

from jaxtyping import Float
from torch import Tensor

Images = Float[Tensor, "batch channel *space"]
"""Prepared images: intensities in [-1, 1], background -1."""

Maps = Float[Tensor, "batch channel *space"]
"""Effect maps: positive where the class of interest made the image brighter."""

Scores = Float[Tensor, " batch"]
"""One number for each image of a batch."""

Scalar = Float[Tensor, ""]
