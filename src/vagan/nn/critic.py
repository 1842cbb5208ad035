"""The critic: one unbounded score per image (Section 2 of the paper's supplement)."""

from itertools import accumulate, chain, pairwise

from torch import nn

from vagan.axes import first_channels, per_sample_mean, per_sample_sum, spatial_mean
from vagan.nn.conditioning import Condition
from vagan.nn.layers import conv, conv_levels, recomputed
from vagan.types import Images, Scores


class Critic(nn.Module):
    """Fully convolutional critic without normalisation.

    Blocks of 1, 1, 2, 2 and 3 convolutions with max-pooling between them, then a 1x1 convolution to one map
    whose mean is the score. No batch norm: the gradient penalty concerns single images.

    Parameters
    ----------
    num_spatial_dims, channels
        2 or 3; channels of the images.
    width
        Feature maps of the first block; doubled at every pooling. The paper has 16.
    conditions
        Width of its condition, the first numbers of the generator's; 0 for none, as in the paper. A projection of the
        condition onto the means of the last feature maps adds to the score (Miyato and Koyama 2018).
    gradient_checkpointing
        Keep only what passes between the levels, see `vagan.nn.layers.recomputed`.
    """

    def __init__(
        self,
        num_spatial_dims: int,
        *,
        channels: int = 1,
        width: int = 16,
        conditions: int = 0,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.conditions, self._gradient_checkpointing = conditions, gradient_checkpointing
        levels = conv_levels(num_spatial_dims, channels, width, normalisation="none")
        self._ends = [0, *accumulate(map(len, levels))]
        self.layers = nn.Sequential(*chain(*levels), conv(num_spatial_dims, 16 * width, 1, kernel=1))
        self.projection = nn.Linear(conditions, 16 * width, bias=False) if conditions else None

    def forward(self, images: Images, condition: Condition | None = None) -> Scores:
        """Score of each image; higher means more like the baseline class, given the condition."""
        features = images
        for begin, end in pairwise(self._ends):
            block = self.layers[begin:end]
            features = recomputed(block, features) if self._gradient_checkpointing else block(features)
        scores = per_sample_mean(self.layers[-1](features).float())
        if self.projection is None or condition is None:
            return scores
        projected = self.projection(first_channels(condition, self.conditions))
        return scores + per_sample_sum(projected * spatial_mean(features)).float()
