"""What the configuration of an exported MONAI bundle is made of; see `vagan.exporting.monai`.

Images are read, prepared and written as `vagan attribute` does it, so that the maps are the same.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vagan.data.image_file import name_of, read_image, suffix_of
from vagan.errors import ImageFileError, ModelError
from vagan.exporting.applied import load_applied
from vagan.model.folder import select_class
from vagan.nn.conditioning import Condition
from vagan.types import Images, Maps


def image_files(folder: str) -> list[str]:
    """All image files of a folder, by name.

    Raises
    ------
    ImageFileError
        If there are none.
    """
    found = sorted(str(path) for path in Path(folder).glob("*") if suffix_of(path))
    if not found:
        raise ImageFileError(f"the folder {folder} must hold images, but has none; name another with --dataset_dir")
    return found


class EffectNetwork(nn.Module):
    """From prepared images to the effect of the class, with the weights of a model folder.

    Parameters
    ----------
    folder
        Model folder with ``config.json`` and ``model.safetensors``.
    interest
        Class of interest; needed where the model knows several.
    """

    condition: Condition | None

    def __init__(self, folder: str, interest: str = "") -> None:
        super().__init__()
        self.applied, facts = load_applied(Path(folder))
        _, condition = select_class(facts, interest)
        self.register_buffer("condition", condition, persistent=False)

    def forward(self, images: Images) -> Maps:
        """Effect in each image, ``x - y``."""
        told = () if self.condition is None else (self.condition.expand(len(images), -1),)
        _, effect = self.applied(images, *told)
        return effect


class ReadPreparedd:
    """Replace the path of an image by the image, prepared as those of the training were.

    Parameters
    ----------
    key
        Of the path.
    folder
        Model folder, which knows the preparation.
    """

    def __init__(self, key: str, folder: str) -> None:
        _, self._facts = load_applied(Path(folder))
        self._key = key

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The same with an image ``(channel, *space)`` in [-1, 1], a volume in RAS+ order with its affine."""
        return {**data, self._key: self._read(Path(data[self._key]))}

    def _read(self, path: Path) -> torch.Tensor:
        from monai.data import MetaTensor

        facts = self._facts
        file = read_image(path, facts.preparation.colour)
        channels, *shape = file.array.shape
        if (channels, len(shape)) != (facts.channels, facts.num_spatial_dims):
            raise ModelError(
                f"{path} is a {len(shape)}-D image of {channels} channel(s); the model was trained on "
                f"{facts.num_spatial_dims}-D images of {facts.channels}"
            )
        affine = np.eye(4) if file.volume is None else file.volume.affine
        prepared = torch.from_numpy(facts.preparation.apply(file.array))
        return MetaTensor(prepared, affine=torch.from_numpy(affine), meta={"filename_or_obj": str(path)})


class WriteMapd:
    """Write a map on the grid of its image's file: NIfTI for NIfTI, else ``.npy``.

    Parameters
    ----------
    key
        Of the map.
    like
        Of the image that it is of.
    folder
        Model folder, which knows the preparation.
    output_dir
        Folder for ``NAME_effect``.
    """

    def __init__(self, key: str, like: str, folder: str, output_dir: str) -> None:
        _, self._facts = load_applied(Path(folder))
        self._key, self._like, self._out = key, like, Path(output_dir)

    def __call__(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same, after the map was written."""
        preparation = self._facts.preparation
        file = read_image(Path(data[self._like].meta["filename_or_obj"]), preparation.colour)
        effect = np.asarray(data[self._key].cpu(), dtype=np.float32)
        own_grid = preparation.map_to_source(effect, file.array.shape[1:])
        file.write_map(self._out, f"{name_of(file.path)}_effect", own_grid)
        return data
