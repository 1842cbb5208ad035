"""What is known of a map once it is on disk."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Written(NamedTuple):
    """A written map, and what a viewer shows of it."""

    path: Path
    """On the file's own grid."""
    image: NDArray[np.float32]
    """``(channel, *space)`` in [-1, 1]: the image less the effect is the image as if of the baseline class."""
    effect: NDArray[np.float32]
    """On the same grid; of scans of heads that of the template."""
    affine: NDArray[np.float64] | None
    """Of volumes: voxels to mm."""
