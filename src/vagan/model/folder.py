"""A trained network as a folder: ``config.json`` and ``model.safetensors``. Nothing in it is ever unpickled."""

import errno
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from vagan.data.covariates import Covariate
from vagan.data.image_file import LARGEST_VALUES
from vagan.data.preparation import Preparation
from vagan.effect import Output, is_coarse, raw_channels
from vagan.errors import ConfigError, ModelError, nearest
from vagan.files import replacing
from vagan.nn.classifier import CAMClassifier, Classifier
from vagan.nn.conditioning import Condition
from vagan.nn.layers import Normalisation
from vagan.nn.unet import MapGenerator

CONFIG = "config.json"
WEIGHTS = "model.safetensors"

Kind = Literal["map-generator", "classifier", "cam-classifier", "label-classifier"]
Count = Annotated[int, Field(ge=1, le=4096)]
Extents = tuple[Annotated[int, Field(ge=1, le=2**16)], ...]


class ModelFacts(BaseModel):
    """Everything needed to build the network again and to apply it to new images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    num_spatial_dims: Annotated[int, Field(ge=2, le=3)]
    channels: Count
    shape: Annotated[Extents, Field(min_length=2, max_length=3)]
    """Spatial shape of the training images."""
    spacing_mm: tuple[float, ...] | None = None
    """Distance of their neighbouring voxels along each axis; None where it is not known, as of pictures."""
    width: Count
    normalisation: Normalisation = "batch"
    """Of a map generator."""
    context: bool = False
    """Of a map generator."""
    output: Output = "add"
    """Of a map generator."""
    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=4096)]
    """Class names; the first is the baseline class. Of a map generator the others are its classes of interest: where
    there are several, it is told which."""
    covariates: tuple[Covariate, ...] = ()
    """Of a map generator: what it is told of each image, after the class."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of a classifier of labels: its logits are divided by it."""
    contrast: bool = False
    """Of a map generator: whether it changes covariates instead of taking a class out; it is told by how much."""
    both_directions: bool = False
    """Of a map generator: whether it can put each class of interest in too, its last tasks."""
    preparation: Preparation
    pipeline: dict[str, list[dict[str, Any]]] | None = None
    """Of models of scans: how raw ones are preprocessed."""
    rule: str
    """How this network was chosen among those of its training."""
    cohort_hash: str = ""

    @model_validator(mode="after")
    def _fits(self) -> "ModelFacts":
        if len(self.shape) != self.num_spatial_dims or math.prod(self.shape) > LARGEST_VALUES:
            raise ValueError(f"shape must have {self.num_spatial_dims} extents of a usual size, found {self.shape}")
        if self.preparation.size is not None and len(self.preparation.size) != self.num_spatial_dims:
            raise ValueError(
                f"the size must have {self.num_spatial_dims} extents as the shape has, found {self.preparation.size}"
            )
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"each class must be named once, found {', '.join(self.classes[:4])}")
        return self

    @property
    def tasks(self) -> int:
        """What a map generator can do with an image: take out each class of interest (and put it in), or change
        covariates.
        """
        return 1 if self.contrast else (len(self.classes) - 1) * (1 + self.both_directions)

    @property
    def conditions(self) -> int:
        """Numbers that a map generator is told of each image."""
        width = sum(covariate.width for covariate in self.covariates)
        return (self.tasks if self.tasks > 1 else 0) + width * (1 + self.contrast)


def about_class(facts: ModelFacts, interest: str = "", *, into: bool = False) -> tuple[ModelFacts, Condition | None]:
    """A model as one of a single class of interest, which it takes out of images, or puts ``into`` them.

    Returns
    -------
    facts, condition
        With this class alone beside the baseline class, and what the network must be told to show it, of shape
        ``(1, tasks)``; None where it knows no other.

    Raises
    ------
    ConfigError
        If the model knows several and none is named, or does not know the one that is, or cannot put it in.
    """
    known = facts.classes[1:]
    if into and not facts.both_directions:
        raise ConfigError("this model only takes its class out; train one with --preset both-directions")
    if interest and interest not in known:
        raise ConfigError(f"the model knows no class of interest {interest!r}; {nearest(interest, known)}")
    if facts.tasks == 1:
        return facts, None
    interest = interest or (known[0] if len(known) == 1 else "")
    if not interest:
        raise ConfigError(f"the model knows several classes of interest: say which one of {', '.join(known)}")
    narrowed = facts.model_copy(update={"classes": (facts.classes[0], interest)})
    return narrowed, torch.eye(facts.tasks)[[known.index(interest) + into * len(known)]]


def build_network(facts: ModelFacts) -> nn.Module:
    """Fresh network of the described architecture."""
    dims, channels, width = facts.num_spatial_dims, facts.channels, facts.width
    if facts.kind == "classifier":
        return Classifier(dims, shape=facts.shape, channels=channels, width=width)
    if facts.kind == "label-classifier":
        return CAMClassifier(dims, channels=channels, num_classes=len(facts.classes), width=width)
    if facts.kind == "cam-classifier":
        return CAMClassifier(dims, channels=channels, width=width)
    return MapGenerator(
        dims,
        channels=channels,
        outputs=raw_channels(facts.output, channels=channels, num_spatial_dims=dims),
        width=width,
        normalisation=facts.normalisation,
        context=facts.context,
        conditions=facts.conditions,
        coarse=is_coarse(facts.output),
    )


def save_model(folder: Path, network: nn.Module, facts: ModelFacts, *, in_new_folder: bool = True) -> None:
    """Write a model folder, made if there is none; an older model in it is replaced file by file, each one whole."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with replacing(folder / WEIGHTS, in_new_folder=in_new_folder) as temporary:
        try:
            save_file(tensors, temporary)
        except SafetensorError as error:  # its own words for a full disk
            raise OSError(errno.EIO, str(error), str(folder / WEIGHTS)) from error
    with replacing(folder / CONFIG, in_new_folder=in_new_folder) as temporary:
        temporary.write_text(facts.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_model(path: Path) -> tuple[nn.Module, ModelFacts]:
    """Read a model folder, or the ``model`` folder inside a run folder.

    Returns
    -------
    network, facts
        The network in evaluation mode on the CPU.

    Raises
    ------
    ModelError
        If it is not a model folder, or its files are damaged or do not fit each other.
    """
    folder = path / "model" if (path / "model" / CONFIG).is_file() else path
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise ModelError(
            f"a model folder must hold {CONFIG} and {WEIGHTS}: {path} does not; "
            "give a run folder made by `vagan train`"
        )
    try:
        facts = ModelFacts.model_validate_json((folder / CONFIG).read_bytes())
        network = build_network(facts)
        weights = load_file(folder / WEIGHTS)
        for name, tensor in weights.items():
            if not torch.isfinite(tensor).all():
                raise ValueError(f"the weights {name} must be finite, and are not")
        network.load_state_dict(weights)
    except (ValueError, SafetensorError, RuntimeError, MemoryError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"the model in {folder} is damaged or of another version: {reason}; copy it again, or give another run"
        ) from error
    return network.eval(), facts
