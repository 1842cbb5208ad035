"""The two classifiers that the compared attribution methods explain (Section 2 of the paper's supplement)."""

import math
from itertools import chain
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from vagan.axes import block_means, spatial_mean, spatial_shape
from vagan.axes import num_spatial_dims as dims_of
from vagan.errors import ModelError
from vagan.nn.layers import BATCH_NORM_EPS, conv_levels, he_normal
from vagan.types import Images

Logits = Float[Tensor, "batch classes"]
Features = Float[Tensor, "batch features *reduced"]

POOLINGS = 4
MOMENTUM = 0.1
"""Ten times the paper's, whose statistics in a run of some hundred updates are those of its start."""


class Classifier(nn.Module):
    """The critic's blocks with twice the maps and batch norm, then two dense layers.

    ``shape`` is the spatial shape of the images, at least 16 along each axis; the first dense layer sees every pixel
    of the last feature maps, so it is fixed. Of the ``num_classes`` logits, the first is the baseline class's.
    ``width`` feature maps of the first block, 32 in the paper in 2-D, are doubled at every pooling. The hidden dense
    layer is as wide as the last feature maps, ``16 * width``, as in the authors' code: at 112x112 most weights are
    there, and for volumes a smaller width is advisable.
    """

    def __init__(
        self,
        num_spatial_dims: int,
        *,
        shape: tuple[int, ...],
        channels: int = 1,
        num_classes: int = 2,
        width: int = 32,
    ) -> None:
        super().__init__()
        self._shape = tuple(shape)
        levels = conv_levels(num_spatial_dims, channels, width, poolings=POOLINGS, momentum=MOMENTUM)
        self.convolutions = nn.Sequential(*chain(*levels))
        pixels = math.prod(extent // 2**POOLINGS for extent in shape)
        hidden = 16 * width
        self.dense = nn.Sequential(
            nn.Flatten(),
            he_normal(nn.Linear(pixels * hidden, hidden, bias=False), pixels * hidden),
            nn.BatchNorm1d(hidden, eps=BATCH_NORM_EPS, momentum=MOMENTUM),
            nn.ReLU(),
            he_normal(nn.Linear(hidden, num_classes), hidden),
        )

    def features(self, images: Images) -> Features:
        """Last feature maps, after their ReLU: ``16 * width`` maps, a sixteenth of each extent, rounded down."""
        if dims_of(images) != len(self._shape) or spatial_shape(images) != self._shape:
            raise ModelError(
                f"this classifier was made for images of shape {self._shape}: found {spatial_shape(images)}; "
                "crop or pad the images, or train a classifier of that shape"
            )
        return self.convolutions(images)

    def forward(self, images: Images) -> Logits:
        """Logits of each class; the softmax is part of the loss."""
        return self.dense(self.features(images)).float()


class CAMClassifier(nn.Module):
    """The classifier without its last two poolings, with global average pooling and one dense layer without bias.

    Its logits are means over space of weighted sums of feature maps, which is what class activation mapping needs
    (Zhou et al. 2016). Works on images of any size from 4 pixels along each axis. With a ``downsampling`` of 2 it
    works on means over blocks of two pixels along each axis, or on images that are ``downsampled`` already.
    """

    def __init__(
        self,
        num_spatial_dims: int,
        *,
        channels: int = 1,
        num_classes: int = 2,
        width: int = 32,
        downsampling: Literal[1, 2] = 1,
        downsampled: bool = False,
    ) -> None:
        super().__init__()
        self._block = 1 if downsampled else downsampling
        levels = conv_levels(num_spatial_dims, channels, width, poolings=2, momentum=MOMENTUM)
        self.convolutions = nn.Sequential(*chain(*levels))
        self.dense = he_normal(nn.Linear(16 * width, num_classes, bias=False), 16 * width)

    def features(self, images: Images) -> Features:
        """Last feature maps, after their ReLU: ``16 * width`` maps, a quarter of each extent, rounded down."""
        return self.convolutions(images if self._block == 1 else block_means(images, self._block))

    def forward(self, images: Images) -> Logits:
        """Logits of each class; the softmax is part of the loss."""
        return self.dense(spatial_mean(self.features(images))).float()
