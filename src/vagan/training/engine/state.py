"""The state of a training, as stored in checkpoints, and the interface between the loop and what it trains."""

import errno
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import nn
from torch.optim import Optimizer

from vagan.errors import RunError
from vagan.files import replacing
from vagan.model.folder import ModelSpec
from vagan.training.early_stopping import EarlyStopping
from vagan.training.objectives import Terms
from vagan.training.steps import Backward
from vagan.types import Images, Maps

Batch = TypeVar("Batch")

Monitor = Callable[[Maps, Maps], float]
"""Compares maps with true effects, for the curves only: nothing is chosen by it."""


@dataclass
class TrainState:
    """Networks, optimisers and counters of a training."""

    networks: dict[str, nn.Module]
    """With the running average of weights, where there is one."""
    optimizers: dict[str, Optimizer]
    updates: int = 0
    """Updates done, of all networks together."""
    seconds: float = 0.0
    """Time spent, over all sessions of the run."""
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)
    terms: dict[str, list[float]] = field(default_factory=dict)
    """Values of each loss term since the last row of metrics.csv."""

    def __post_init__(self) -> None:
        self._learning_rates = {name: one.param_groups[0]["lr"] for name, one in self.optimizers.items()}

    def set_learning_rates(self, factor: Callable[[str, int], float]) -> None:
        """Those the optimisers were made with, times a factor that depends on the optimiser and the update."""
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self._learning_rates[name] * factor(name, self.updates)

    def save(self, path: Path) -> None:
        """Write a checkpoint into a folder that is there; the file is whole or not there."""
        checkpoint = {
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "updates": self.updates,
            "seconds": self.seconds,
            "early_stopping": asdict(self.early_stopping),
            "terms": self.terms,
        }
        with replacing(path, in_new_folder=False) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:  # its own words for a full disk
                raise OSError(errno.EIO, " ".join(str(error).split())[:200], str(path)) from error

    def load(self, path: Path, *, total: int) -> None:
        """Continue from a checkpoint of a training of this many updates."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what torch has to say of strange files ends in the message
                checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            for name, weights in checkpoint["networks"].items():
                if not all(torch.isfinite(tensor).all() for tensor in weights.values()):
                    raise ValueError(f"the weights of the {name} must be finite, but are not")
            for name, network in self.networks.items():
                network.load_state_dict(checkpoint["networks"][name])
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(checkpoint["optimizers"][name])
            self.updates, self.seconds = checkpoint["updates"], checkpoint["seconds"]
            if not isinstance(self.updates, int) or not 0 <= self.updates <= total:
                raise ValueError(f"its number of updates must be 0 to {total}, found {self.updates!r}")
            self.early_stopping, self.terms = EarlyStopping(**checkpoint["early_stopping"]), checkpoint["terms"]
            if not self.early_stopping.is_valid(self.updates):
                raise ValueError("its record of early stopping must be numbers in their range")
        except Exception as error:  # a damaged archive raises whatever its first broken byte leads to
            reason = " ".join(str(error).split())[:200]
            if isinstance(error, pickle.UnpicklingError):  # torch's own remedy would be to run what is in the file
                reason = "it is damaged, or holds more than numbers, such as code, which is never run"
            raise RunError(f"the checkpoint {path} cannot be used: {reason}; delete it to start again") from error


class ValidationExamples(NamedTuple):
    """The first validation images of each class, always the same; of volumes an axial slice (last axis: 1)."""

    images: Images
    counterfactuals: Images
    classes: tuple[str, ...]
    """Name of each image's class."""


@runtime_checkable
class Task(Protocol[Batch]):
    """Networks, optimisers, batches and updates, which are counted from 0. No files, no devices."""

    total: int
    """Updates of the whole run, as planned."""

    examples: ValidationExamples | None
    """Of the last validation; None for what makes no maps."""

    def build(self) -> TrainState:
        """Fresh networks and optimisers, decided by the seed."""

    def plan(self, state: TrainState, means: Mapping[str, float]) -> None:
        """Decide on ``total`` from the means of the last update's terms; none where a session begins."""

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
