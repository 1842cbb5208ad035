"""Out-of-distribution detection in features of the map generator."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vagan.axes import concatenate_channels, spatial_mean
from vagan.errors import ModelError
from vagan.files import regular, replacing
from vagan.nn.unet import MapGenerator
from vagan.types import Images, Scores

OOD_FILE = "ood.safetensors"
QUANTILE = 0.99
MAX_BYTES = 2**28

Features = Float[Tensor, "_ feature"]
"""A row for each image."""


def image_features(network: MapGenerator, images: Images) -> Features:
    """Mean over space of the encoder's feature maps at every level."""
    with torch.no_grad():
        return level_means(network.encoded(images))


def level_means(levels: Sequence[Tensor]) -> Features:
    """The same from these feature maps, see `MapGenerator.encoded`."""
    return concatenate_channels(*(spatial_mean(maps.float()) for maps in levels)).cpu()


@dataclass(frozen=True, eq=False)
class MahalanobisOOD:
    """Mahalanobis distance of an image's features from the nearest class of training images.

    Reference: Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples, NeurIPS 2018; the
    covariance is that of Ledoit and Wolf, Journal of Multivariate Analysis 88 (2004).
    """

    means: Features
    """Of each class."""
    whitening: Float[Tensor, "feature feature"]
    """Gives features of one class the unit covariance."""
    validation: Scores
    """Distances of validation images, ascending."""

    @classmethod
    def fit(cls, features: Features, labels: NDArray[np.int64], validation: Features) -> "MahalanobisOOD":
        """Fit to features of training images with the labels of their classes, and of validation images."""
        from sklearn.covariance import LedoitWolf

        values = features.numpy().astype(np.float64)
        means = np.stack([values[labels == label].mean(axis=0) for label in np.unique(labels)])
        inside = values - means[np.searchsorted(np.unique(labels), labels)]
        sizes, directions = np.linalg.eigh(LedoitWolf(assume_centered=True).fit(inside).covariance_)
        whitening = directions / np.sqrt(np.maximum(sizes, 1e-12 * sizes.max() + 1e-30))
        found = torch.from_numpy(means).float(), torch.from_numpy(whitening).float()
        distances = cls(*found, torch.empty(0)).scores(validation)
        return cls(*found, distances.sort().values)

    def scores(self, features: Features) -> Scores:
        """Distances in standard deviations of training images of a class."""
        return torch.cdist(features @ self.whitening, self.means @ self.whitening).amin(dim=-1)

    @property
    def threshold(self) -> float:
        """Score that 99 % of validation images stay below; images beyond are out of distribution."""
        return float(torch.quantile(self.validation, QUANTILE))

    def save(self, folder: Path) -> None:
        """Write into a model folder."""
        with replacing(folder / OOD_FILE) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in vars(self).items()}, temporary)

    @classmethod
    def load(cls, path: Path) -> "MahalanobisOOD | None":
        """Read from a run folder or a model folder; None if there is none."""
        file = next((place for place in (path / "model" / OOD_FILE, path / OOD_FILE) if place.is_file()), None)
        if file is None:
            return None
        try:
            if regular(file).stat().st_size > MAX_BYTES:
                raise ValueError(f"it has more than {MAX_BYTES} bytes")
            found = load_file(file)
            _require_sound(found)
            return cls(**found)
        except (SafetensorError, TypeError, ValueError, MemoryError, OSError) as error:
            raise ModelError(f"{file} is damaged ({error}); remove it, and repeat the training command") from error


def _require_sound(tensors: dict[str, Tensor]) -> None:
    """Statistics of matching shapes, finite, with validation distances in order; else `ValueError`."""
    if tensors.keys() != {"means", "whitening", "validation"}:
        raise ValueError(f"it must hold means, whitening and validation, found {', '.join(sorted(tensors))}")
    means, whitening, validation = tensors["means"], tensors["whitening"], tensors["validation"]
    if means.ndim != 2 or whitening.shape != (means.shape[1],) * 2 or validation.ndim != 1 or not validation.numel():
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise ValueError(f"the shapes must be (class, feature), (feature, feature) and (image,), found {shapes}")
    if not all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError("all values must be finite and of single precision")
    if (validation < 0).any() or (validation.diff() < 0).any():
        raise ValueError("validation distances must be positive and ascend")
