"""The model of the paper (Eq. 1), its deformation variants, and the sign convention. No other module writes a minus.

A generator's *raw map* describes how to make an image ``x`` look like one of the baseline class, ``y``; ``output``
says how to apply it. The *effect* is what the class put there: ``effect = x - y``, or ``-M(x)`` if ``y = x + M(x)``.

==========  ======================================  ==================================
output      y                                       channels of the raw map
==========  ======================================  ==================================
add         ``x + M`` (Eq. 1)                       those of the image
tanh        ``tanh(x + M)``, the authors' code      those of the image
warp        ``x`` deformed                          a velocity: one for each axis
warp+add    ``x`` deformed, ``+ M``                 velocity, then M
==========  ======================================  ==================================

``y = x`` exactly where the raw map is 0, but for ``tanh``. Networks are trained on ``y`` as in the table; in use it
is clipped to the range of images, and the effect is that of the clipped image.
"""

from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from vagan.axes import num_channels, num_spatial_dims, sample_linear, spatial_shape, split_channels
from vagan.constants import RANGE
from vagan.deformation import BLOCK, Field, integrate_velocity, log_volume_ratio, velocity, warp, warp_posed
from vagan.types import Images, Maps

SIGN = "effect = image - image as if of the baseline class; positive: the class made it brighter"
"""Sign convention, stored with every map."""

SIGN_INSERTION = "effect = image as if of the class of interest - image; positive: the class would make it brighter"
"""Sign convention of maps of an inserted class."""

ArrayT = TypeVar("ArrayT", Tensor, NDArray[np.floating[Any]])
Output = Literal["add", "tanh", "warp", "warp+add"]
RawMap = Float[Tensor, "batch raw *full"]
"""At the resolution of images in use; those in training may have half of it."""


def deforms(output: Output) -> bool:
    """Whether such a generator moves what is in the image."""
    return output in ("warp", "warp+add")


def is_coarse(output: Output) -> bool:
    """Whether all of the raw map is a velocity, of which one value for a block of pixels says all."""
    return output == "warp"


def raw_channels(output: Output, *, channels: int, num_spatial_dims: int) -> int:
    """Channels of the raw map for images of so many channels."""
    return (num_spatial_dims if deforms(output) else 0) + (channels if output != "warp" else 0)


class Pose(NamedTuple):
    """Of augmented images: they show at ``p`` what ``images`` show at ``coordinates[p]``."""

    images: Images
    coordinates: Field


def posed(pose: Pose) -> Images:
    """Images in their poses; the border is repeated outside."""
    return sample_linear(pose.images, pose.coordinates, outside="border")


def baseline_image(images: Images, raw_map: RawMap, output: Output = "add", pose: Pose | None = None) -> Images:
    """Counterfactual image ``y``: the same image as if it belonged to the baseline class.

    Images in a ``pose`` are deformed together with it, see `vagan.deformation.warp_posed`.
    """
    if deforms(output):
        velocity_field, added = _velocity_and_added(raw_map)
        displacement = _displacement(velocity_field, raw_map, images)
        warped = warp(images, displacement) if pose is None else warp_posed(*pose, displacement)
        return warped + added if num_channels(added) else warped
    total = images + raw_map
    return total.tanh() if output == "tanh" else total


def counterfactual_image(images: Images, raw_map: RawMap, output: Output = "add") -> Images:
    """`baseline_image` within the range of images: the counterfactual of a trained generator.

    Not for training: a pixel that is clipped has no gradient. Pixels that are outside the range in the image itself
    may stay as they are, so that a zero map changes nothing. Where the raw map is infinite, the result is NaN.
    """
    low, high = RANGE
    baseline = baseline_image(images, raw_map, output)
    clipped = baseline.maximum(images.clamp(max=low)).minimum(images.clamp(min=high))
    return clipped + 0 * baseline  # infinity, which is an error, would be clipped as well


def effect_map(images: Images, baseline: Images) -> Maps:
    """Effect of the class, ``x - y``: positive where it made the image brighter."""
    return images - baseline


def added_effect(images: Images, with_class: Images) -> Maps:
    """Effect that the class would have on images of the baseline class: positive where they would be brighter."""
    return with_class - images


def difference(later: NDArray[np.floating[Any]], earlier: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Observed effect of what happened between two scans on one grid: positive where the later one is brighter."""
    return later - earlier


def without_effect(image: ArrayT, effect: ArrayT) -> ArrayT:
    """The image as it would look without an effect; undoes `difference`."""
    return image - effect


def with_effect(others: Images, images: Images, raw_map: RawMap, output: Output = "add") -> Images:
    """Transfer the effect of the class in these images to other images, of the baseline class.

    An effect on intensity is added. A deformation is inverted: tissue of the other image is moved as the class moved
    it here, because the difference ``x - y`` at one image's edges means nothing at another's.
    """
    if deforms(output):
        velocity_field, added = _velocity_and_added(raw_map)
        without = others - added if num_channels(added) else others
        return warp(without, _displacement(-velocity_field, raw_map, others))
    return others + effect_map(images, baseline_image(images, raw_map, output))


def velocity_of(raw_map: RawMap) -> Float[Tensor, "batch dims *reduced"]:
    """`vagan.deformation.velocity` of a ``warp`` or ``warp+add`` generator's map."""
    return _velocity_and_added(raw_map)[0]


class Deformation(NamedTuple):
    """What the class did to the shape of what an image shows, at each place of that image."""

    displacement: Field  #: How far the class moved what is here now, in pixels; component i along spatial axis i.
    log_jacobian: Float[Tensor, "batch 1 *space"]
    """Logarithm of its volume now over the volume that it had: negative where the class shrank it."""
    to_counterfactual: Field  #: The counterfactual shows at ``p`` what the image shows at ``p + u(p)``, in pixels.


def deformation(raw_map: RawMap, *, insert: bool = False) -> Deformation:
    """Deformation by the class, of a ``warp`` or ``warp+add`` generator, in the space of the image as observed.

    With ``insert`` the raw map inserts the class: it is what the class would do to what the image shows.
    """
    velocity_field, _ = _velocity_and_added(raw_map)
    # y shows at p what x has at p + u(p); the inverse takes places of x to where their tissue would be in y
    back, forth = (integrate_velocity(field, spatial_shape(raw_map)) for field in (-velocity_field, velocity_field))
    log_jacobian = log_volume_ratio(back)
    return Deformation(back, log_jacobian, forth) if insert else Deformation(-back, -log_jacobian, forth)


def _displacement(velocity_field: Tensor, raw_map: RawMap, images: Images) -> Field:
    """On the grid of the images, which may be that of the velocity: training images of a lower resolution."""
    block = BLOCK if spatial_shape(raw_map) == spatial_shape(images) else 1
    return integrate_velocity(velocity_field, spatial_shape(images), block=block).to(images.dtype)


def _velocity_and_added(raw_map: RawMap) -> tuple[Tensor, Tensor]:
    dims = num_spatial_dims(raw_map)
    raw, added = split_channels(raw_map, dims, num_channels(raw_map) - dims)
    return velocity(raw), added
