"""The interface between the training loop and what it trains."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import nn

from vagan.model.folder import ModelSpec
from vagan.training.engine.state import TrainState
from vagan.training.objectives import Terms
from vagan.training.steps import Backward
from vagan.types import Maps

Batch = TypeVar("Batch")

Monitor = Callable[[Maps, Maps], float]
"""Compares maps with true effects, for the curves only: nothing is chosen by it."""


@runtime_checkable
class Task(Protocol[Batch]):
    """Networks, optimisers, batches and updates, which are counted from 0. No files, no devices."""

    total: int
    """Updates of the whole run."""

    def build(self) -> TrainState:
        """Fresh networks and optimisers, decided by the seed."""

    def check(self, state: TrainState, device: torch.device, *, half: bool) -> None:
        """Raise if an update surely needs more memory than the device has; ``half``: activations are bfloat16."""

    def load(self, update: int) -> Batch:
        """Batch of the given update; depends on nothing but its number."""

    def update(self, state: TrainState, batch: Batch, backward: Backward) -> Terms:
        """Do update number ``state.updates``; returns the loss's terms."""

    def lr_factor(self, optimizer: str, update: int) -> float:
        """Factor on the learning rate of an optimiser."""

    def should_log(self, updates: int) -> bool:
        """Whether a row of metrics belongs after this many updates."""

    def should_validate(self, updates: int) -> bool:
        """Whether to validate after this many; only where there is a row."""

    def validate(self, state: TrainState) -> dict[str, float]:
        """Figures on validation images."""

    def model(self, state: TrainState) -> tuple[nn.Module, ModelSpec]:
        """The network that is used after training, and its specification."""

    def finish(self, model: Path, device: torch.device) -> None:
        """Measure what else belongs to the saved model, once the training is complete; does nothing twice."""
