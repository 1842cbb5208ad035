"""Methods that change the image: occlusion and additive perturbation."""

from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import ClassVar

import captum.attr
import torch
from torch import nn

from vagan import axes
from vagan.attribution import method
from vagan.attribution.gradients import AT_ONCE, Reference, reference_images
from vagan.attribution.method import Convention, Covariates, Unit
from vagan.effect import baseline_image, effect_map
from vagan.errors import ConfigError
from vagan.types import Images, Maps, Scores

WINDOWS = {2: 8, 3: 4}
"""Windows side by side along the smallest extent of an image, where their size is not given, by spatial dimensions.

In volumes they are larger and do not overlap: at 64x80x56 there are 120 of them, and would be ten thousand.
"""


@dataclass(frozen=True, eq=False)
class Occlusion:
    """How much the class score falls when a window of the image is replaced.

    A pixel's value, in units of the score (logit), is the mean over all windows that cover it.

    Parameters
    ----------
    model, target
        Classifier with logits ``(batch, class)``, and class of interest.
    window
        Extent of the window in pixels along each axis; an eighth of the image's smallest extent if not given, in
        volumes a quarter. All channels are replaced together. A window smaller than what the class adds has edges
        inside it, which a network may take for the class.
    stride
        Pixels between neighbouring windows, at most ``window``. If not given, half of it in images, all of it in
        volumes. The last one along an axis is cut at the border.
    reference
        What the window is filled with; see `vagan.attribution.gradients.reference_images`. The mean intensity of
        the image by default: black windows would be conspicuous in most images.
    """

    model: nn.Module = field(repr=False)
    target: int = 1
    _: KW_ONLY
    window: int | None = None
    stride: int | None = None
    reference: Reference = field(default="mean", repr=False)

    name = "occlusion"
    unit: ClassVar[Unit] = "class score"
    cost = 250  # of the default window in two dimensions
    convention: ClassVar[Convention] = "signed"

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Mean fall of the class score over the windows that cover a pixel."""
        method.require_images(images)
        window, stride = self._window_and_stride(images)
        channels, dims = axes.num_channels(images), axes.num_spatial_dims(images)
        occlusion = captum.attr.Occlusion(partial(method.class_scores, self.model, target=self.target))
        with method.preserving(self.model), torch.no_grad():
            maps = [
                occlusion.attribute(
                    part,
                    sliding_window_shapes=(channels, *[window] * dims),
                    strides=(channels, *[stride] * dims),
                    baselines=reference_images(self.reference, part),
                    perturbations_per_eval=AT_ONCE // len(part),
                )
                for part in images.split(AT_ONCE)
            ]
        return axes.concatenate_batches(*maps).to(images.dtype)  # Captum's are in single precision

    def _window_and_stride(self, images: Images) -> tuple[int, int]:
        smallest = min(axes.spatial_shape(images))
        dims = axes.num_spatial_dims(images)
        window = max(1, smallest // WINDOWS[dims]) if self.window is None else self.window
        stride = (window if dims == 3 else max(1, window // 2)) if self.stride is None else self.stride
        if window > smallest:
            found = f"found window {window}, image {axes.spatial_shape(images)}"
            raise ConfigError(f"the window must fit into the image: {found}; choose a smaller window")
        if not 1 <= stride <= window:
            found = f"found stride {stride}, window {window}"
            raise ConfigError(f"the stride must be from 1 to the window, or pixels are left out: {found}")
        return window, stride


@dataclass(frozen=True, eq=False)
class AdditivePerturbation:
    """Optimise a mask for each image so that adding it makes the class vanish (Eq. 5).

    Minimises ``f(x + m) + w1 * |m|_1 + w2 * sum_u |grad m(u)|_b^b`` by Adam from ``m = 0``, where ``f`` is the
    class's softmax probability and norms are sums over pixels. The effect is minus the mask, in image intensity.

    Parameters
    ----------
    model, target
        Classifier with logits ``(batch, class)``, and class of interest.
    map_weight, variation_weight, exponent
        ``w1``, ``w2`` and ``b``, by default the paper's. The authors' code has a ``w2`` of 0.1.
    learning_rate, updates
        Of Adam. The authors' code takes 100 updates at a rate of 0.1.
    name
        Display name in tables.

    Notes
    -----
    Images of a batch do not influence each other: the objective is a sum over images, and Adam works on each pixel
    by itself.
    """

    model: nn.Module = field(repr=False)
    target: int = 1
    _: KW_ONLY
    map_weight: float = 1e-2
    variation_weight: float = 1e-5
    exponent: float = 2.0
    learning_rate: float = 1e-2
    updates: int = 1500
    name: str = "additive perturbation"

    unit: ClassVar[Unit] = "intensity"
    convention: ClassVar[Convention] = "signed"

    def __post_init__(self) -> None:
        if min(self.map_weight, self.variation_weight) < 0 or self.exponent < 1:
            raise ConfigError(f"weights must not be negative, nor the exponent below 1: found {self}")
        if self.learning_rate <= 0 or self.updates < 1:
            raise ConfigError(f"the learning rate must be positive, and updates at least 1: found {self}")

    @property
    def cost(self) -> int:
        """One forward pass for each update."""
        return self.updates

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Effect of the class: what the mask takes away."""
        with method.differentiating(self.model, images) as leaves:
            points = leaves.detach()
            mask = torch.zeros_like(points, requires_grad=True)
            adam = torch.optim.Adam([mask], lr=self.learning_rate)
            for _ in range(self.updates):
                (mask.grad,) = torch.autograd.grad(self.objective(points, mask).sum(), mask)
                adam.step()
        return effect_map(images, baseline_image(images, mask.detach()))

    def objective(self, images: Images, mask: Images) -> Scores:
        """Eq. 5 for each image: class probability, size and roughness of the mask."""
        variation = sum(axes.per_sample_sum(d.abs() ** self.exponent) for d in axes.forward_differences(mask))
        logits = method.require_logits(self.model(baseline_image(images, mask)), len(images), self.target)
        probability = axes.class_column(axes.class_probabilities(logits), self.target)
        return probability + self.map_weight * axes.per_sample_sum(mask.abs()) + self.variation_weight * variation
