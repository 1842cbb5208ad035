"""Export as a MONAI bundle that writes the maps of `vagan attribute`.

The classes are the parts that ``templates/inference.json`` names; its own names are those of MONAI's model zoo. They
read, prepare and write images as `vagan attribute` does.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vagan.data.image_file import name_of, suffix_of
from vagan.effect import SIGN
from vagan.errors import ImageFileError, require_extra
from vagan.exporting.card import CARD, load_generator, model_card, shareable
from vagan.files import FolderKind, new_folder, write_json
from vagan.inference.attribution import SourceImage
from vagan.inference.attributor import Attributor
from vagan.inference.files import read_source
from vagan.model.folder import CONFIG, WEIGHTS, ModelSpec, load_model, save_model
from vagan.types import Images, Maps

CONFIGS, MODELS, DOCS = "configs", "models", "docs"
METADATA = f"{CONFIGS}/metadata.json"
FILES = (METADATA, f"{CONFIGS}/inference.json", f"{MODELS}/{CONFIG}", f"{MODELS}/{WEIGHTS}", f"{DOCS}/{CARD}")
EXPORT = FolderKind(FILES, METADATA, '"vagan"')
PACKAGES = ("vagan", "safetensors", "pytorch-ignite", "nibabel")


def export_monai(run: Path, out: Path, *, results: Path | None = None) -> Path:
    """Write a bundle: ``configs``, ``docs/README.md``, and ``models``, a model folder as `vagan attribute` takes it.

    See `vagan.exporting.hub.export_hub`; `ModelError` if it is no map generator, or is conditioned on covariates.
    """
    require_extra("monai", "monai", "ignite", what="the format monai")
    generator, spec = load_generator(run)
    card = model_card("monai.md.j2", run, spec, results)
    with new_folder(out, EXPORT) as folder:
        for name in (CONFIGS, MODELS, DOCS):
            (folder / name).mkdir()
        write_json(folder / METADATA, _metadata(spec))
        (folder / CONFIGS / "inference.json").write_text(_template("inference.json"), encoding="utf-8")
        save_model(folder / MODELS, generator, shareable(spec))
        (folder / DOCS / CARD).write_text(card, encoding="utf-8")
    return out


class EffectNetwork(nn.Module):
    """From prepared images to effects, by the model folder; see `vagan.inference.attributor.Attributor`."""

    def __init__(self, folder: str, class_of_interest: str = "", device: torch.device | str = "cpu") -> None:
        super().__init__()
        self._attributor = Attributor.load(folder, class_of_interest=class_of_interest, device=device)

    def forward(self, images: Images) -> Maps:
        """Effect in each image, ``x - y``."""
        return self._attributor.effect(images)


def image_files(folder: str) -> list[str]:
    """All image files of a folder, by name."""
    return sorted(str(path) for path in Path(folder).glob("*") if suffix_of(path))


def require_images(found: list[str], folder: str) -> None:
    """Refuse to run, though not to be initialised, without images."""
    if not found:
        raise ImageFileError(f"the folder {folder} must hold images, but has none; name another as dataset_dir")


class ReadPreparedd:
    """Replace the path of an image by the image, prepared as the model folder records."""

    def __init__(self, key: str, folder: str) -> None:
        self._key, self._folder = key, folder

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The same with an image ``(channel, *space)`` in [-1, 1]; of volumes, in RAS+ order."""
        from monai.data import MetaTensor

        path = str(data[self._key])
        prepared = torch.from_numpy(_source(self._folder, path).prepared())
        return {**data, self._key: MetaTensor(prepared, meta={"filename_or_obj": path})}


class WriteMapd:
    """Write a map as ``NAME_effect`` on the grid of its image's file (key ``like``): NIfTI, or else ``.npy``."""

    def __init__(self, key: str, like: str, folder: str, output_dir: str) -> None:
        self._key, self._like, self._folder, self._out = key, like, folder, Path(output_dir)

    def __call__(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same, after the map was written."""
        path = str(data[self._like].meta["filename_or_obj"])
        effect = np.asarray(data[self._key].cpu(), dtype=np.float32)
        _source(self._folder, path).write(self._out / name_of(Path(path)), "effect", effect)
        return data


@lru_cache(maxsize=2)
def _source(folder: str, path: str) -> SourceImage:
    """Kept from reading an image to writing its map: raw scans are preprocessed once."""
    return read_source(Path(path), _spec(folder))


@lru_cache(maxsize=2)
def _spec(folder: str) -> ModelSpec:
    return load_model(Path(folder))[1]


def _metadata(spec: ModelSpec) -> dict[str, Any]:
    """The mandatory entries. Class names are only used within sentences: MONAI evaluates text that begins with $."""
    baseline, *classes_of_interest = spec.classes
    classes = ", ".join(classes_of_interest)
    return json.loads(_template("metadata.json")) | {
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {name: version(name) for name in PACKAGES},
        "name": f"Effect of {classes}",
        "task": f"Visual attribution: the effect of {classes} in each image, compared with {baseline}",
        "description": "Map generator of VA-GAN (Baumgartner et al., CVPR 2018): the image minus its effect is the "
        f"image as if of the class {baseline}. Not a diagnosis: every image gets a map.",
        "pred_classes": SIGN,
        "network_data_format": {
            "inputs": {"image": _tensor(spec, "image", value_range=[-1, 1])},
            "outputs": {"pred": _tensor(spec, "effect", value_range=[-2, 2])},
        },
    }


def _template(name: str) -> str:
    return files("vagan.exporting").joinpath("templates", name).read_text(encoding="utf-8")


def _tensor(spec: ModelSpec, content: str, *, value_range: Sequence[int]) -> dict[str, Any]:
    return {
        "type": "image",
        "format": "magnitude",
        "modality": "MR" if spec.pipeline else "n/a",
        "num_channels": spec.channels,
        "spatial_shape": ["*"] * spec.num_spatial_dims,
        "dtype": "float32",
        "value_range": list(value_range),
        "is_patch_data": False,
        "channel_def": {str(number): content for number in range(spec.channels)},
    }
