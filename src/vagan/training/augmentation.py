"""Random affine and elastic augmentation, against overfitting of the critic."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import expm
from scipy.ndimage import gaussian_filter

from vagan.axes import identity_grid, resize_linear, sample_linear, spatial_shape, transform_coordinates
from vagan.deformation import Field
from vagan.types import Images

NODE = 8
"""Pixels between the nodes of elastic displacements, along each axis; interpolated between them."""
SMOOTH_NODES = 2.0
"""Standard deviation of the Gaussian that makes them smooth, in nodes."""
MARGIN_NODES = 6
"""Drawn around the image and cut off again: the Gaussian is three standard deviations long."""


@dataclass(frozen=True)
class RandomAffineElastic:
    """Random poses and shapes, all by one interpolation; the numbers are standard deviations."""

    rotation_degrees: float = 0.0
    """Rotation in each plane, about the middle of the image."""
    translation: float = 0.0
    """Of the whole image along each axis, in pixels."""
    scale: float = 0.0
    """Change of size along each axis, as a fraction."""
    elastic: float = 0.0
    """Smooth displacement along each axis, in pixels; independent beyond a distance of about thirty pixels."""

    def __bool__(self) -> bool:
        """Whether it changes anything."""
        return any((self.rotation_degrees, self.translation, self.scale, self.elastic))

    def draw(self, image: Images, random: np.random.Generator) -> Images:
        """Augment a batch of one image; its border is repeated outside."""
        shape = spatial_shape(image)
        dims = len(shape)
        turns = random.normal(0.0, np.deg2rad(self.rotation_degrees), (dims, dims))
        matrix = expm(np.triu(turns, 1) - np.triu(turns, 1).T) @ np.diag(np.exp(random.normal(0, self.scale, dims)))
        middle = (np.array(shape) - 1) / 2
        offset = middle - matrix @ middle + random.normal(0.0, self.translation, dims)
        sources = transform_coordinates(identity_grid(image), torch.from_numpy(matrix), torch.from_numpy(offset))
        if self.elastic:
            sources = sources + self._elastic_displacement(shape, random)
        return sample_linear(image, sources, outside="border")

    def _elastic_displacement(self, shape: tuple[int, ...], random: np.random.Generator) -> Field:
        dims = len(shape)
        nodes = [extent // NODE + 2 for extent in shape]
        white = random.standard_normal((dims, *(count + 2 * MARGIN_NODES for count in nodes)))
        smooth = gaussian_filter(white, (0, *[SMOOTH_NODES] * dims))[:, *[slice(MARGIN_NODES, -MARGIN_NODES)] * dims]
        expected = (2 * np.sqrt(np.pi) * SMOOTH_NODES) ** (-dims / 2)  # standard deviation of smoothed white noise
        return resize_linear(torch.from_numpy(smooth * (self.elastic / expected)).float()[None], shape)
