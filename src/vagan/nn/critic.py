"""The critic: one unbounded score per image (Section 2 of the paper's supplement)."""

from itertools import accumulate, chain, pairwise
from typing import Literal

from torch import nn

from vagan.axes import (
    binomial_filter,
    first_channels,
    pad_to_multiple,
    per_sample_mean,
    per_sample_sum,
    space_to_depth,
    spatial_mean,
)
from vagan.nn.conditioning import Condition
from vagan.nn.layers import conv, conv_levels, recomputed
from vagan.types import Images, Scores


class Critic(nn.Module):
    """Fully convolutional critic without normalisation.

    Blocks of 1, 1, 2, 2 and 3 convolutions with max-pooling between them, then a 1x1 convolution to one map
    whose mean is the score. No batch norm: the gradient penalty concerns single images. ``width`` feature maps of the
    first block, 16 in the paper, are doubled at every pooling, up to ``max_width``, there 256. Blocks of pixels of
    edge ``patch_size``, 1 or 2, are the channels of the first block (space to depth). With 2, as a first convolution
    of stride 2, the paper's first block is left out, for a fifth of the time. With ``smoothing`` it sees images
    through a binomial filter, so that it cannot tell classes by how blurred an image is, or by its noise.

    ``conditions`` is the width of the condition, the first numbers of the generator's; 0 for none, as in the paper. A
    projection of the condition onto the means of the last feature maps adds to the score (Miyato and Koyama 2018).
    For ``gradient_checkpointing`` see `vagan.nn.layers.recomputed`.
    """

    def __init__(
        self,
        num_spatial_dims: int,
        *,
        channels: int = 1,
        width: int = 16,
        max_width: int = 256,
        patch_size: Literal[1, 2] = 1,
        smoothing: bool = False,
        conditions: int = 0,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.conditions, self._gradient_checkpointing = conditions, gradient_checkpointing
        self._patch_size, self._smoothing, poolings = patch_size, smoothing, 5 - patch_size
        levels = conv_levels(
            num_spatial_dims,
            channels * patch_size**num_spatial_dims,
            width,
            max_width=max_width,
            first=patch_size - 1,
            poolings=poolings,
            batch_norm=False,
        )
        self._ends = [0, *accumulate(map(len, levels))]
        features = min(2**poolings * width, max_width)
        self.layers = nn.Sequential(*chain(*levels), conv(num_spatial_dims, features, 1, kernel=1))
        self.projection = nn.Linear(conditions, features, bias=False) if conditions else None

    def forward(self, images: Images, condition: Condition | None = None) -> Scores:
        """Score of each image; higher means more like the baseline class, given the condition."""
        if self._smoothing:
            images = binomial_filter(images)
        features = space_to_depth(pad_to_multiple(images, self._patch_size), self._patch_size)
        for begin, end in pairwise(self._ends):
            block = self.layers[begin:end]
            features = recomputed(block, features) if self._gradient_checkpointing else block(features)
        scores = per_sample_mean(self.layers[-1](features).float())
        if self.projection is None or condition is None:
            return scores
        projected = self.projection(first_channels(condition, self.conditions))
        return scores + per_sample_sum(projected * spatial_mean(features)).float()
