"""What the training loop needs to know of the thing that it trains."""

from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

from torch import nn

from vagan.model.folder import ModelSpec
from vagan.training.engine.state import TrainState
from vagan.training.steps import Backward, Terms
from vagan.types import Maps

Batch = TypeVar("Batch")

Monitor = Callable[[Maps, Maps], float]
"""Compares maps with true effects, for the curves only: nothing is chosen by it."""


@runtime_checkable
class Task(Protocol[Batch]):
    """Networks, their optimisers, their batches and their updates. No files, no devices."""

    total: int
    """Updates of the whole run."""

    def build(self) -> TrainState:
        """Fresh networks and optimisers, decided by the seed."""

    def load(self, update: int) -> Batch:
        """Batch of the given update; depends on nothing but its number."""

    def update(self, state: TrainState, batch: Batch, backward: Backward) -> Terms:
        """Do update number ``state.updates``; returns the loss's terms."""

    def rate_factor(self, optimizer: str, update: int) -> float:
        """Factor on the learning rate of an optimiser at the given update."""

    def row_is_due(self, updates: int) -> bool:
        """Whether a row of metrics belongs after this many updates."""

    def validation_is_due(self, updates: int) -> bool:
        """Whether to validate after this many updates."""

    def validate(self, state: TrainState) -> dict[str, float]:
        """Figures on validation images."""

    def model(self, state: TrainState) -> tuple[nn.Module, ModelSpec]:
        """The network that is used after training, and what is to be known of it."""
