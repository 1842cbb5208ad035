"""Occlusion (Zeiler and Fergus 2014), computed by Captum."""

from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

import captum.attr
import torch
from torch import nn

from vagan.attribution.integrated import Reference, reference_images
from vagan.attribution.method import Convention, Covariates, Unit, class_scores, preserving
from vagan.axes import concatenate_batches, num_channels, num_spatial_dims, spatial_shape
from vagan.errors import ConfigError
from vagan.types import Images, Maps, Scores

WINDOWS = {1: 8, 2: 8, 3: 4}
"""Windows side by side along the smallest extent of an image, where their size is not given, by spatial dimensions.

In volumes they are larger and do not overlap, since places go with the third power: at 64x80x56 there are 120 of
them, and would be ten thousand.
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
        What the window is filled with; see `integrated.reference_images`. The mean intensity of the image by
        default: black windows would be conspicuous in most images.
    internal_batch_size
        Windows times images in one forward pass; bounds the memory, changes nothing else.
    """

    model: nn.Module = field(repr=False)
    target: int = 1
    _: KW_ONLY
    window: int | None = None
    stride: int | None = None
    reference: Reference = field(default="mean", repr=False)
    internal_batch_size: int = 16

    name = "occlusion"
    unit: ClassVar[Unit] = "class score"
    cost = 250
    convention: ClassVar[Convention] = "signed"

    def __post_init__(self) -> None:
        if self.internal_batch_size < 1:
            raise ConfigError(f"internal_batch_size must be at least 1: found {self.internal_batch_size}")

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Mean fall of the class score over the windows that cover a pixel."""
        window, stride = self._window_and_stride(images)
        parts = images.split(self.internal_batch_size)
        with preserving(self.model), torch.no_grad():
            maps = concatenate_batches(*(self._occlude(part, window, stride) for part in parts))
        return maps.to(images.dtype)  # Captum's are in single precision

    def _window_and_stride(self, images: Images) -> tuple[int, int]:
        smallest = min(spatial_shape(images))
        dims = num_spatial_dims(images)
        window = max(1, smallest // WINDOWS[dims]) if self.window is None else self.window
        usual = window if dims == 3 else max(1, window // 2)
        stride = usual if self.stride is None else self.stride
        if window > smallest:
            raise ConfigError(
                f"the window must fit into the image: found window {window}, image {spatial_shape(images)}; "
                "choose a smaller window"
            )
        if not 1 <= stride <= window:
            raise ConfigError(
                "the stride must be from 1 to the window, or pixels are left out: "
                f"found stride {stride}, window {window}"
            )
        return window, stride

    def _occlude(self, images: Images, window: int, stride: int) -> Maps:
        channels, dims = num_channels(images), num_spatial_dims(images)

        def scores(occluded: Images) -> Scores:
            return class_scores(self.model, occluded, self.target)

        return captum.attr.Occlusion(scores).attribute(
            images,
            sliding_window_shapes=(channels, *[window] * dims),
            strides=(channels, *[stride] * dims),
            baselines=reference_images(self.reference, images),
            perturbations_per_eval=max(1, self.internal_batch_size // len(images)),
        )
