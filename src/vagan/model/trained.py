"""A trained model in memory: network, specification and OOD statistics."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from vagan.errors import ConfigError
from vagan.model.folder import ModelSpec, load_model
from vagan.model.ood import MahalanobisOOD


class TrainedModel(NamedTuple):
    """A model of a run folder or model folder."""

    path: Path
    network: nn.Module
    spec: ModelSpec
    ood: MahalanobisOOD | None

    @classmethod
    def load(cls, run: Path | str, device: torch.device | str = "cpu") -> "TrainedModel":
        """Read a folder; its network is put on the device."""
        network, spec = load_model(Path(run))
        return cls(Path(run), network.to(device), spec, MahalanobisOOD.load(Path(run)))


def require_distinct(runs: Sequence[Path | str]) -> None:
    """Refuse one run in the place of two members of an ensemble."""
    places = [Path(run).resolve() for run in runs]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise ConfigError(f"an ensemble's members must differ: {twice} is given twice; give runs of different seeds")
    if not runs:
        raise ConfigError("at least one run folder is needed, found none")


def require_alike(models: Sequence[TrainedModel]) -> None:
    """Refuse members of an ensemble that take different images or are about different classes."""
    first = models[0]
    for model in models:
        for field in ("kind", "num_spatial_dims", "channels", "classes", "preparation", "pipeline"):
            ours, theirs = getattr(first.spec, field), getattr(model.spec, field)
            if ours != theirs:
                raise ConfigError(
                    f"models of an ensemble must agree in {field}: {first.path} has {ours}, {model.path} {theirs}; "
                    "give runs of one cohort with different seeds"
                )
