"""The critic: one unbounded score per image (Section 2 of the paper's supplement)."""

from torch import nn

from vagan.axes import per_sample_mean
from vagan.nn.layers import conv, conv_block, max_pool
from vagan.types import Images, Scores


class Critic(nn.Module):
    """Fully convolutional critic without normalisation.

    Blocks of 1, 1, 2, 2 and 3 convolutions with max-pooling between them, then a 1x1 convolution to one map
    whose mean is the score. No batch norm: the gradient penalty is a statement about single images.

    Parameters
    ----------
    num_spatial_dims
        2 or 3.
    channels
        Channels of the images.
    width
        Feature maps of the first block; doubled at every pooling. The paper has 16.
    """

    def __init__(self, num_spatial_dims: int, *, channels: int = 1, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for level, convolutions in enumerate((1, 1, 2, 2, 3)):
            outputs = width * 2**level
            for _ in range(convolutions):
                layers.append(conv_block(num_spatial_dims, inputs, outputs, normalisation="none"))
                inputs = outputs
            if level < 4:
                layers.append(max_pool(num_spatial_dims))
        layers.append(conv(num_spatial_dims, inputs, 1, kernel=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Images) -> Scores:
        """Score of each image; higher means more like the baseline class."""
        return per_sample_mean(self.layers(images).float())
