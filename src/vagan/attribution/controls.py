"""Controls: maps that depend on no classifier, which a method must beat."""

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from vagan.attribution.method import Convention, Covariates, Unit, require_images
from vagan.axes import batch_mean, num_channels, num_spatial_dims, spatial_shape
from vagan.effect import effect_map
from vagan.errors import ModelError
from vagan.seeding import numpy_generator
from vagan.types import Images, Maps

SMOOTHNESS_VOX = 2.5


@dataclass(frozen=True)
class GradientMagnitude:
    """Length of the image's own spatial gradient by Sobel's filter, in intensity per pixel.

    A method that scores no better has found edges.
    """

    name = "gradient magnitude"
    unit: ClassVar[Unit] = "none"
    cost = 1
    convention: ClassVar[Convention] = "absolute"

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Gradient magnitude of each channel; never negative."""
        require_images(images)
        array = images.detach().cpu().numpy()
        planes = array.reshape(-1, *spatial_shape(images))
        # Sobel's filter is the difference over two pixels, and sums with weights 1, 2, 1 along all other axes
        gain = 2 * 4 ** (num_spatial_dims(images) - 1)
        found = [ndimage.generic_gradient_magnitude(plane, ndimage.sobel, mode="nearest") / gain for plane in planes]
        return torch.as_tensor(np.stack(found).reshape(array.shape)).to(images)


@dataclass(frozen=True)
class RandomSmoothMap:
    """Gaussian noise, smoothed by 2.5 pixels and scaled to standard deviation one: chance level.

    The same seed gives the same image the same map, alone or in any batch; a pixel changed gives another map.
    """

    seed: int = 0

    name = "random map"
    unit: ClassVar[Unit] = "none"
    cost = 1
    convention: ClassVar[Convention] = "signed"

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Random map of each image."""
        require_images(images)
        return torch.as_tensor(np.stack([self._map(image) for image in images.detach().cpu().numpy()])).to(images)

    def _map(self, image: NDArray[Any]) -> NDArray[Any]:
        content = hashlib.sha256(np.ascontiguousarray(image, dtype=np.float32).tobytes()).digest()
        generator = numpy_generator(self.seed, "random map", int.from_bytes(content[:8], "little"))
        channels = [ndimage.gaussian_filter(plane, SMOOTHNESS_VOX) for plane in generator.normal(size=image.shape)]
        return np.stack(channels) / np.std(channels)


class GroupMeanDifference:
    """Mean training image of the class of interest minus that of the baseline class, the same for every image.

    A strong, if trivial, competitor on registered images: it shows where the class acts on average.
    """

    name = "group mean difference"
    unit: Unit = "intensity"
    cost = 1
    convention: Convention = "signed"

    def __init__(
        self,
        baseline_images: Float[Tensor, "baseline_batch channel *space"],
        class_images: Float[Tensor, "class_batch channel *space"],
    ) -> None:
        self._map = effect_map(batch_mean(class_images.detach()), batch_mean(baseline_images.detach()))

    def __repr__(self) -> str:
        return f"GroupMeanDifference(of images {tuple(self._map.shape)})"

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Repeat the constant map for each image."""
        require_images(images)
        if num_channels(images) != num_channels(self._map) or spatial_shape(images) != spatial_shape(self._map):
            shapes = f"{tuple(self._map.shape)}: found {tuple(images.shape)}"
            raise ModelError(f"images must have the training images' channels and space, {shapes}")
        return self._map.to(images).expand_as(images).clone()
