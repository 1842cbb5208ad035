"""Scanner model: pose, contrast, shading, noise."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from vagan.geometry import Coordinates, Grid
from vagan.simulation.fields import sample, smooth_noise, spacing_of

Image = Float32[np.ndarray, "x y z"]

PIVOT_MM = np.array([0.0, -17.0, 12.0])
"""The middle of the brain, about which heads turn."""

SHADING = Grid.spanning((-200, -200, -200), (200, 200, 200), 20.0)
SHADING_MM = 45.0


@dataclass(frozen=True)
class Protocol:
    """How much scans differ: standard deviations, but for the ranges."""

    turn_deg: float
    shift_mm: float
    zoom: float
    """Of the pose: rotation about each axis, shift along each, and logarithm of the scale."""
    gamma: tuple[float, float] = (0.85, 1.25)
    gamma_drift: float = 0.03
    """Range of the exponent of intensities, a subject's own, and its change from scan to scan."""
    shading: float = 0.02
    """Logarithm of the coil's brightness."""
    noise: tuple[float, float] = (0.008, 0.02)
    """Range of the noise, relative to white matter."""


PREPARED = Protocol(turn_deg=0.8, shift_mm=0.8, zoom=0.01)
"""What is left after bias correction and registration of a scan."""

RAW = Protocol(turn_deg=6.0, shift_mm=6.0, zoom=0.0, shading=0.12)
"""A scan as it leaves the scanner."""


def draw_pose(rng: np.random.Generator, protocol: Protocol) -> NDArray[np.float64]:
    """Matrix that takes points in the scanner to the head."""
    matrix = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(protocol.turn_deg) * rng.standard_normal(3)):
        turn = np.eye(4)
        one, other = [a for a in range(3) if a != axis]
        turn[one, one] = turn[other, other] = np.cos(angle)
        turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    matrix[:3, :3] *= np.exp(protocol.zoom * rng.standard_normal())
    matrix[:3, 3] = PIVOT_MM - matrix[:3, :3] @ PIVOT_MM + protocol.shift_mm * rng.standard_normal(3)
    return matrix


def move(matrix: NDArray[np.float64], coordinates: Coordinates) -> Coordinates:
    """Coordinates after a linear map."""
    x, y, z = coordinates
    return np.stack([row[0] * x + row[1] * y + row[2] * z + row[3] for row in matrix[:3].astype(np.float32)])


def shading(rng: np.random.Generator, coordinates: Coordinates, protocol: Protocol) -> Image:
    """Factor by which the coil brightens these coordinates."""
    field = protocol.shading * smooth_noise(rng, SHADING.shape, SHADING_MM / spacing_of(SHADING))
    return np.exp(sample(field[None].astype(np.float32), SHADING, coordinates)[0])


def noise_pair(rng: np.random.Generator, shape: tuple[int, ...], protocol: Protocol) -> NDArray[np.float32]:
    """Noise of the real and the imaginary part of a scan, for `magnitude`."""
    level = np.float32(rng.uniform(*protocol.noise))
    return level * rng.standard_normal((2, *shape), dtype=np.float32)


def magnitude(image: Image, noise: NDArray[np.float32]) -> Image:
    """What is seen of an image in complex noise: Rician values."""
    return np.hypot(image + noise[0], noise[1])
