"""A trained network as a folder: ``config.json`` and ``model.safetensors``, no pickles."""

import errno
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from vagan.constants import MAX_VALUES
from vagan.data.covariates import Covariate
from vagan.data.preparation import Preparation
from vagan.effect import Output, is_coarse, raw_channels
from vagan.errors import ConfigError, ModelError, nearest
from vagan.files import read_text, regular, replacing
from vagan.model.ood import MahalanobisOOD
from vagan.nn.classifier import CAMClassifier, Classifier
from vagan.nn.conditioning import Condition
from vagan.nn.unet import MapGenerator

CONFIG = "config.json"
WEIGHTS = "model.safetensors"

Kind = Literal["map-generator", "classifier", "cam-classifier", "label-classifier"]
Count = Annotated[int, Field(ge=1, le=4096)]
Text = Annotated[str, Field(max_length=1000)]
Extents = Annotated[tuple[Annotated[int, Field(ge=1, le=2**16)], ...], Field(min_length=2, max_length=3)]
Spacing = Annotated[tuple[Annotated[float, Field(gt=0, le=1e4)], ...], Field(min_length=2, max_length=3)]


class ModelSpec(BaseModel):
    """Everything needed to build a network and to apply it to new images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    num_spatial_dims: Annotated[int, Field(ge=2, le=3)]
    channels: Count
    shape: Extents
    """Spatial shape of the training images."""
    spacing_mm: Spacing | None = None
    """Voxel spacing along each axis; None where it is not known, as of pictures."""
    width: Count
    global_context: bool = False
    """Of a map generator, as is what follows."""
    output: Output = "add"
    downsampling: Literal[1, 2] = 1
    """Pixels of an image along each axis for one in training; also of a class gate."""
    patch_size: Literal[1, 2] = 1
    classes: Annotated[tuple[Text, ...], Field(min_length=2, max_length=4096)]
    """The first is the baseline class. A map generator of several classes of interest is conditioned on the class."""
    covariates: Annotated[tuple[Covariate, ...], Field(max_length=256)] = ()
    """That a map generator is conditioned on, after the class."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Of a classifier of all classes: its logits are divided by it."""
    bidirectional: bool = False
    """Whether a map generator can insert each class of interest too; these are its last tasks."""
    preparation: Preparation
    pipeline: dict[str, list[dict[str, Any]]] | None = None
    """Of models of scans: how raw ones are preprocessed."""
    rule: Text
    """How this network was selected among those of its training."""
    cohort_hash: Text = ""

    @model_validator(mode="after")
    def _is_consistent(self) -> "ModelSpec":
        if len(self.shape) != self.num_spatial_dims or math.prod(self.shape) > MAX_VALUES:
            raise ValueError(f"shape must have {self.num_spatial_dims} extents of a usual size, found {self.shape}")
        if self.preparation.size is not None and len(self.preparation.size) != self.num_spatial_dims:
            raise ValueError(f"size must have {self.num_spatial_dims} extents, found {self.preparation.size}")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"class names must be unique, found {', '.join(self.classes[:4])}")
        return self

    @property
    def tasks(self) -> int:
        """Tasks of a map generator: removing each class of interest, and inserting it."""
        return (len(self.classes) - 1) * (1 + self.bidirectional)

    @property
    def conditions(self) -> int:
        """Width of a map generator's condition."""
        return (self.tasks if self.tasks > 1 else 0) + sum(covariate.width for covariate in self.covariates)

    def task_conditions(self, *, insert: bool = False) -> Condition | None:
        """Conditions that select each class of interest, ``(classes, tasks)``; None where there is a single task."""
        if insert and not self.bidirectional:
            required = "inserting a class needs a bidirectional model, and this one only removes it"
            raise ConfigError(f"{required}; train one with training.bidirectional=true")
        count = len(self.classes) - 1
        return None if self.tasks == 1 else torch.eye(self.tasks)[count * insert : count * (1 + insert)]


def select_class(
    spec: ModelSpec, class_of_interest: str = "", *, insert: bool = False
) -> tuple[ModelSpec, Condition | None]:
    """Restrict a model to a single class of interest, which it removes from images, or inserts.

    Gives its description with this class alone, and the condition ``(1, tasks)`` that selects it; None for a network
    with a single task. A model of several needs the name.
    """
    known, conditions = spec.classes[1:], spec.task_conditions(insert=insert)
    if class_of_interest and class_of_interest not in known:
        hint = nearest(class_of_interest, known)
        raise ConfigError(f"the model has no class of interest {class_of_interest!r}; {hint}")
    if conditions is None:
        return spec, None
    class_of_interest = class_of_interest or (known[0] if len(known) == 1 else "")
    if not class_of_interest:
        raise ConfigError(f"`class_of_interest` is needed, one of {', '.join(known)}: the model has several")
    narrowed = spec.model_copy(update={"classes": (spec.classes[0], class_of_interest)})
    return narrowed, conditions[[known.index(class_of_interest)]]


def build_network(
    spec: ModelSpec, *, zero_init: bool = True, downsampled: bool = False, gradient_checkpointing: bool = False
) -> nn.Module:
    """Fresh network of the described architecture; the options are those of `MapGenerator`.

    Without ``downsampled`` it is one for images at their full resolution, as in use.
    """
    dims, channels, width = spec.num_spatial_dims, spec.channels, spec.width
    if spec.kind == "classifier":
        return Classifier(dims, shape=spec.shape, channels=channels, width=width)
    if spec.kind in ("cam-classifier", "label-classifier"):
        return CAMClassifier(
            dims,
            channels=channels,
            num_classes=len(spec.classes),
            width=width,
            downsampling=spec.downsampling,
            downsampled=downsampled,
        )
    return MapGenerator(
        dims,
        channels=channels,
        outputs=raw_channels(spec.output, channels=channels, num_spatial_dims=dims),
        width=width,
        global_context=spec.global_context,
        zero_init=zero_init,
        conditions=spec.conditions,
        coarse=is_coarse(spec.output),
        downsampling=spec.downsampling,
        downsampled=downsampled,
        patch_size=spec.patch_size,
        gradient_checkpointing=gradient_checkpointing,
    )


def save_model(folder: Path, network: nn.Module, spec: ModelSpec, *, in_new_folder: bool = True) -> None:
    """Write a model folder, made if there is none; an older model in it is replaced file by file, each one whole."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with replacing(folder / WEIGHTS, in_new_folder=in_new_folder) as temporary:
        try:
            save_file(tensors, temporary)
        except SafetensorError as error:  # its own words for a full disk
            raise OSError(errno.EIO, str(error), str(folder / WEIGHTS)) from error
    with replacing(folder / CONFIG, in_new_folder=in_new_folder) as temporary:
        temporary.write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_model(path: Path) -> tuple[nn.Module, ModelSpec]:
    """Read a model folder, or the ``model`` folder inside a run folder; the network is in evaluation mode on the CPU.

    Raises `ModelError` if it is not a model folder, or its files are damaged or do not fit each other.
    """
    folder = path / "model" if (path / "model" / CONFIG).is_file() else path
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        required = f"a model folder must hold {CONFIG} and {WEIGHTS}"
        raise ModelError(f"{required}: {path} does not; give a run folder made by `vagan train`")
    try:
        spec = ModelSpec.model_validate_json(read_text(folder / CONFIG))
        with torch.device("meta"):  # no memory is spent on what the file does not hold
            network = build_network(spec)
        own, weights = network.state_dict(), load_file(regular(folder / WEIGHTS))
        for name, tensor in weights.items():
            if not torch.isfinite(tensor).all():
                raise ValueError(f"the weights {name} must be finite, but are not")
            if name in own:
                weights[name] = tensor.to(own[name].dtype)  # weights may be stored in half precision
        network.load_state_dict(weights, assign=True)
    except (ValueError, SafetensorError, RuntimeError, MemoryError, RecursionError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"the model in {folder} is damaged or of another version: {reason}; copy it again, or give another run"
        ) from error
    return network.eval(), spec


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


def require_alike(models: Sequence[TrainedModel]) -> None:
    """Refuse members of an ensemble that are one run, take different images or are about different classes."""
    if not models:
        raise ConfigError("at least one run folder is needed, found none")
    places = [model.path.resolve() for model in models]
    if twice := next((place for place in places if places.count(place) > 1), None):
        raise ConfigError(f"an ensemble's members must differ: {twice} is given twice; give runs of different seeds")
    first = models[0]
    for model in models:
        for field in ("kind", "num_spatial_dims", "channels", "classes", "preparation", "pipeline"):
            ours, theirs = getattr(first.spec, field), getattr(model.spec, field)
            if ours != theirs:
                raise ConfigError(
                    f"models of an ensemble must agree in {field}: {first.path} has {ours}, {model.path} {theirs}; "
                    "give runs of one cohort with different seeds"
                )
