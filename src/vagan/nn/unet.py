"""The map generator: a U-Net from an image to a map of the same size (Section 2 of the paper's supplement)."""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from vagan.axes import (
    binomial_filter,
    block_means,
    concatenate_channels,
    crop_to,
    depth_to_space,
    pad_to_multiple,
    repeat_blocks,
    space_to_depth,
    spatial_shape,
)
from vagan.deformation import BLOCK
from vagan.effect import RawMap
from vagan.errors import ModelError
from vagan.nn.conditioning import Condition, FeatureModulation
from vagan.nn.layers import GlobalContext, conv, conv_block, max_pool, recomputed
from vagan.types import Images


class MapGenerator(nn.Module):
    """U-Net whose output is the raw map ``M(x)``, what must be added to look like the baseline class.

    Encoder of 16, 32 and 64 maps, bottom of 128, two convolutions each. Every transposed convolution leads
    to 16 maps only (the paper's fourfold reduction), joined to the skip; the last convolution is linear.
    Images of any size are padded to a multiple of 8 by repeating the border, and the map is cropped back.

    The map has as many channels as the images, or ``outputs``, see `vagan.effect.raw_channels`. The first level has
    ``width`` feature maps, 16 in the paper. ``global_context`` adds a `GlobalContext` in the bottom; without it, as
    in the paper, the receptive field is 68 pixels. With ``zero_init`` it starts from ``M = 0`` exactly: the last
    convolution's weights are zero. ``conditions`` is the width of the condition, see `vagan.nn.conditioning`; 0 for
    none, as in the paper. For ``gradient_checkpointing`` see `vagan.nn.layers.recomputed`.

    For deformations, which are smooth: a ``coarse`` generator ends a level earlier, and one value of the map stands
    for a block of two pixels along each axis, for some 0.6 of the work and of the memory. With a ``downsampling`` of
    2 it works on means over such blocks, or on images that are ``downsampled`` already; the map is that of the images
    at their full resolution. Blocks of ``patch_size`` pixels are the channels of the first level (space to depth),
    and of the last; a binomial filter hides their edges.
    """

    multiple = 8

    def __init__(
        self,
        num_spatial_dims: int,
        *,
        channels: int = 1,
        outputs: int | None = None,
        width: int = 16,
        global_context: bool = False,
        zero_init: bool = True,
        conditions: int = 0,
        coarse: bool = False,
        downsampling: Literal[1, 2] = 1,
        downsampled: bool = False,
        patch_size: Literal[1, 2] = 1,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.conditions, self._gradient_checkpointing = conditions, gradient_checkpointing
        self._downsampling, self._block = downsampling, 1 if downsampled else downsampling
        self._patch_size = patch_size
        self._coarse = coarse and downsampling == patch_size == 1
        levels, values = 2 if self._coarse else 3, patch_size**num_spatial_dims

        def block(inputs: int, *outputs: int) -> nn.Sequential:
            return nn.Sequential(*(conv_block(num_spatial_dims, a, b) for a, b in pairwise((inputs, *outputs))))

        downs = [(channels * values, width, width), (width, 2 * width, 2 * width), (2 * width, 4 * width, 4 * width)]
        self.encoders = nn.ModuleList(block(*widths) for widths in downs)
        self.pool = max_pool(num_spatial_dims)
        self.bottom = block(4 * width, 8 * width, 8 * width)
        if global_context:
            self.bottom.insert(1, GlobalContext(8 * width))
        upsamplers = [conv_block(num_spatial_dims, part * width, width, up=True) for part in (8, 4, 2)]
        self.upsamplers = nn.ModuleList(upsamplers[:levels])
        ups = [(5 * width, 4 * width, 4 * width), (3 * width, 2 * width, 2 * width), (2 * width, width)]
        self.decoders = nn.ModuleList([block(*widths) for widths in ups][:levels])
        features = [8 * width, 4 * width, 2 * width, width][: levels + 1]
        self.modulations = nn.ModuleList([FeatureModulation(conditions, count) for count in features if conditions])
        self.last = conv(num_spatial_dims, features[-1], (outputs or channels) * values)
        if zero_init:
            nn.init.zeros_(self.last.weight)

    def forward(self, images: Images, condition: Condition | None = None) -> RawMap:
        """Raw map ``M(x)``, the spatial shape of the images."""
        return self.decoded(self.encoded(images), spatial_shape(images), condition)

    def decoded(self, encoded: list[Tensor], shape: tuple[int, ...], condition: Condition | None) -> RawMap:
        """Raw map of images of this spatial shape, whose feature maps are those of `encoded`."""
        if bool(self.conditions) != (condition is not None):
            needed = "needs a condition, such as the class of interest; give one"
            unknown = "takes no condition; leave it out"
            raise ModelError(f"this map generator {needed if condition is None else unknown}")
        *skips, bottom = encoded
        features = self._modulated(0, bottom, condition)
        levels = zip(self.upsamplers, self.decoders, reversed(skips[-len(self.upsamplers) :]), strict=True)
        for level, (upsampler, decoder, skip) in enumerate(levels, start=1):
            features = self._modulated(level, self._through(_Up(upsampler, decoder), features, skip), condition)
        maps = self.last(features).float()
        if self._patch_size > 1:
            maps = binomial_filter(depth_to_space(maps, self._patch_size))
        if self._coarse:
            maps = repeat_blocks(maps, BLOCK)
        if self._downsampling > 1:  # velocities are in pixels
            maps = self._downsampling * repeat_blocks(maps, self._downsampling)
            shape = tuple(self._downsampling // self._block * extent for extent in shape)
        return crop_to(maps, shape)

    def encoded(self, images: Images) -> list[Tensor]:
        """Feature maps of each level on the way down, the bottom's last; independent of the condition."""
        if self._block > 1:
            images = block_means(images, self._block)
        features = pad_to_multiple(images, self._patch_size * self.multiple)
        if self._patch_size > 1:
            features = space_to_depth(features, self._patch_size)
        levels = []
        for encoder in self.encoders:
            levels.append(self._through(encoder, features))
            features = self.pool(levels[-1])
        return [*levels, self._through(self.bottom, features)]

    def _through(self, block: nn.Module, *features: Tensor) -> Tensor:
        return recomputed(block, *features) if self._gradient_checkpointing else block(*features)

    def _modulated(self, level: int, features: Tensor, condition: Condition | None) -> Tensor:
        return features if condition is None else self.modulations[level](features, condition)


class _Up(nn.Module):
    """A level on the way up; made anew for each pass, so that the network's weights keep their names."""

    def __init__(self, upsampler: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.upsampler, self.decoder = upsampler, decoder

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        return self.decoder(concatenate_channels(self.upsampler(features), skip))
