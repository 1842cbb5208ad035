"""Memory for the map of a large image, asked before it is spent: a small file can decode to a huge image."""

from collections.abc import Sequence

import torch

from vagan.attribution.method import AttributionMethod
from vagan.attribution.vagan import VAGAN
from vagan.errors import NotEnoughMemoryError
from vagan.nn.classifier import CAMClassifier, Classifier
from vagan.nn.unet import MapGenerator
from vagan.training.engine.memory import free_bytes, peak_bytes

SMALL_VALUES = 2**21
"""A batch of no more is not asked about."""
RESULT_BYTES = 48
"""For each value of an image: the image, its map, what is derived from them, and copies for files."""


def require_memory(method: AttributionMethod, shape: Sequence[int], device: torch.device) -> None:
    """Raise `NotEnoughMemoryError` if a map of images ``(batch, channel, *space)`` needs more than is free."""
    size = torch.Size(shape)
    free = free_bytes(device) if size.numel() > SMALL_VALUES else None
    if free is None:
        return
    networks = [part for part in vars(method).values() if isinstance(part, MapGenerator | Classifier | CAMClassifier)]
    kept = [peak_bytes(network, size, derivatives=not isinstance(method, VAGAN)) for network in networks]
    needed = max(kept, default=0) + RESULT_BYTES * size.numel()
    if needed > free:
        extents = " x ".join(map(str, shape[2:]))
        raise NotEnoughMemoryError(
            f"the map of an image of {extents} needs about {needed / 2**30:.1f} GB of memory, but "
            f"{free / 2**30:.1f} GB are free on {device}; crop the image, or reduce its resolution"
        )
