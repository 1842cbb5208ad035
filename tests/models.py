"""Model folders whose maps are not zero, without a training."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jaxtyping
import torch

from vagan.data.preparation import Preparation
from vagan.model.folder import ModelSpec, build_network, save_model

FIXED = Preparation(intensity="fixed", low=0, high=255)


def save_random_generator(folder: Path, *, seed: int = 0, **facts) -> Path:
    """Write a small map generator with random weights; of 24x20 pixels unless the facts say otherwise."""
    usual = {"num_spatial_dims": 2, "shape": (24, 20), "classes": ("healthy", "ill"), "preparation": FIXED}
    about = ModelSpec(**usual | {"kind": "map-generator", "channels": 1, "width": 4, "rule": "none"} | facts)
    network = build_network(about)
    generator = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        weight.data.uniform_(-0.2, 0.2, generator=generator)
    save_model(folder, network, about)
    return folder


@contextmanager
def unchecked_shapes() -> Iterator[None]:
    """Run no shape checks of signatures: a tracer calls functions with symbols in the place of numbers."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
