"""Model folders whose maps are not zero, without a training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jaxtyping
import torch

from tables import rows_by_image
from vagan.data.cohort import Cohort
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


def linear_model(space: tuple[int, ...], channels: int = 1) -> torch.nn.Sequential:
    """Logits of two classes that are linear in the image."""
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(channels * torch.Size(space).numel(), 2))


class Known:
    """A method whose maps are known: of the image of a row ``map_of(row)``."""

    name, unit, cost = "known", "none", 1

    def __init__(self, cohort: Cohort, map_of: Callable[[int], object], convention: str = "signed") -> None:
        self._rows, self._map_of, self.convention = rows_by_image(cohort), map_of, convention
        self.asked: list[int] = []

    def attribute(self, images: torch.Tensor, covariates: object = None) -> torch.Tensor:
        rows = [self._rows[image.numpy().tobytes()] for image in images]
        self.asked += rows
        return torch.stack([torch.as_tensor(self._map_of(row), dtype=torch.float32) for row in rows])


@contextmanager
def unchecked_shapes() -> Iterator[None]:
    """Run no shape checks of signatures: a tracer calls functions with symbols in the place of numbers."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
