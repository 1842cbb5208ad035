"""Random affine and elastic augmentation, against overfitting of the critic."""

import numpy as np
import torch
from scipy.linalg import expm
from scipy.ndimage import gaussian_filter

from vagan.axes import identity_grid, resize_linear, transform_coordinates
from vagan.deformation import Field
from vagan.training.config import Augmentation

NODE = 8
"""Pixels between the nodes of elastic displacements, along each axis; interpolated between them."""
SMOOTH_NODES = 2.0
"""Standard deviation of the Gaussian that makes them smooth, in nodes."""
MARGIN_NODES = 6
"""Drawn around the image and cut off again: the Gaussian is three standard deviations long."""


def changes_images(settings: Augmentation) -> bool:
    """Whether images are deformed at all; mirroring is not meant."""
    return any((settings.rotation_degrees, settings.translation, settings.scale, settings.elastic))


def random_pose(shape: tuple[int, ...], settings: Augmentation, random: np.random.Generator) -> Field:
    """Coordinates at which an image of this spatial shape is sampled to show it in a random pose and shape."""
    dims = len(shape)
    turns = random.normal(0.0, np.deg2rad(settings.rotation_degrees), (dims, dims))
    matrix = expm(np.triu(turns, 1) - np.triu(turns, 1).T) @ np.diag(np.exp(random.normal(0, settings.scale, dims)))
    middle = (np.array(shape) - 1) / 2
    offset = middle - matrix @ middle + random.normal(0.0, settings.translation, dims)
    grid = identity_grid(torch.empty(1, 1, *shape))
    coordinates = transform_coordinates(grid, torch.from_numpy(matrix), torch.from_numpy(offset))
    if settings.elastic:
        coordinates = coordinates + _elastic_displacement(shape, settings.elastic, random)
    return coordinates


def _elastic_displacement(shape: tuple[int, ...], size: float, random: np.random.Generator) -> Field:
    """In pixels, of standard deviation ``size``; independent beyond a distance of about thirty pixels."""
    dims = len(shape)
    nodes = [extent // NODE + 2 for extent in shape]
    white = random.standard_normal((dims, *(count + 2 * MARGIN_NODES for count in nodes)))
    smooth = gaussian_filter(white, (0, *[SMOOTH_NODES] * dims))[:, *[slice(MARGIN_NODES, -MARGIN_NODES)] * dims]
    expected = (2 * np.sqrt(np.pi) * SMOOTH_NODES) ** (-dims / 2)  # standard deviation of smoothed white noise
    return resize_linear(torch.from_numpy(smooth * (size / expected)).float()[None], shape)
