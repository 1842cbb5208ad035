"""How unlike the training images an image is to the map generator: a map of another organ means nothing."""

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
from vagan.files import replacing
from vagan.nn.unet import MapGenerator
from vagan.types import Images, Scores

LIKENESS = "likeness.safetensors"
QUANTILE = 0.99

Features = Float[Tensor, "_ feature"]
"""A row for each image."""


def image_features(network: MapGenerator, images: Images) -> Features:
    """How much of each feature the generator finds in each image, at every level on the way down."""
    with torch.no_grad():
        means = [spatial_mean(maps.float()) for maps in network.encoded(images)]
    return concatenate_channels(*means).cpu()


class Likeness:
    """Distance of an image's features from those of the nearest class of training images (Mahalanobis).

    Parameters
    ----------
    means
        Of each class.
    whitening
        Matrix that gives features of one class the unit covariance.
    validation
        Distances of validation images, in rising order: what is usual.

    References
    ----------
    Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples, NeurIPS 2018; the covariance is
    that of Ledoit and Wolf, Journal of Multivariate Analysis 88 (2004).
    """

    def __init__(self, means: Features, whitening: Float[Tensor, "feature feature"], validation: Scores) -> None:
        self._means, self._whitening, self._validation = means, whitening, validation

    @classmethod
    def fitted(cls, features: Features, labels: NDArray[np.int64], validation: Features) -> "Likeness":
        """Of training images with the labels of their classes, and of validation images."""
        from sklearn.covariance import LedoitWolf

        values = features.numpy().astype(np.float64)
        means = np.stack([values[labels == label].mean(axis=0) for label in np.unique(labels)])
        inside = values - means[np.searchsorted(np.unique(labels), labels)]
        covariance = LedoitWolf(assume_centered=True).fit(inside).covariance_
        sizes, directions = np.linalg.eigh(covariance)
        whitening = directions / np.sqrt(np.maximum(sizes, 1e-12 * sizes.max() + 1e-30))
        found = torch.from_numpy(means).float(), torch.from_numpy(whitening).float()
        usual = cls(*found, torch.empty(0)).distances(validation)
        return cls(*found, usual.sort().values)

    def distances(self, features: Features) -> Scores:
        """In standard deviations of training images of a class; rising with unlikeness."""
        return torch.cdist(features @ self._whitening, self._means @ self._whitening).amin(dim=-1)

    @property
    def usual(self) -> float:
        """Distance that 99 % of validation images stay below."""
        return float(torch.quantile(self._validation, QUANTILE))

    def save(self, folder: Path) -> None:
        """Write into a model folder."""
        tensors = {"means": self._means, "whitening": self._whitening, "validation": self._validation}
        with replacing(folder / LIKENESS) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)

    @classmethod
    def load(cls, path: Path) -> "Likeness | None":
        """From a run folder or a model folder; None if it was never measured.

        Raises
        ------
        ModelError
            If the file is damaged.
        """
        file = next((place for place in (path / "model" / LIKENESS, path / LIKENESS) if place.is_file()), None)
        if file is None:
            return None
        try:
            return cls(**load_file(file))
        except (SafetensorError, TypeError, OSError) as error:
            raise ModelError(
                f"{file} is damaged ({error}); remove it, and give the training's command again"
            ) from error
