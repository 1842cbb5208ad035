"""Class activation maps: weighted sums of a classifier's last feature maps."""

import math
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vagan.attribution.method import (
    Convention,
    Covariates,
    Unit,
    class_scores,
    differentiating,
    preserving,
    require_images,
    require_logits,
)
from vagan.axes import num_channels, resize_linear, spatial_mean, spatial_shape, weighted_channel_sum
from vagan.errors import ModelError
from vagan.types import Images, Maps

Layer = nn.Module | str | None


@dataclass(frozen=True, eq=False)
class CAM:
    """Class activation mapping (Zhou et al. 2016).

    The sum of the last feature maps, weighted as the dense layer weights their means for the class: its mean over
    space, plus a bias, is the class's logit. It is interpolated to the images' size and the same for all channels;
    values stay raw, and only positive ones are evidence for the class.

    Parameters
    ----------
    model
        Classifier whose logits are one ``torch.nn.Linear`` of the global averages of feature maps; `attribute`
        verifies it.
    target
        Class of interest.
    layer
        Module of the model, or its dotted name, whose output these feature maps are. Default: the last module to run
        whose output has spatial extent.
    """

    model: nn.Module = field(repr=False)
    target: int = 1
    _: KW_ONLY
    layer: Layer = field(default=None, repr=False)

    name = "CAM"
    unit: ClassVar[Unit] = "class score"
    cost = 1
    convention: ClassVar[Convention] = "positive"

    def __post_init__(self) -> None:
        _layers(self.model, self.layer)

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Class activation map, interpolated; an error for models that are not of the form above."""
        require_images(images)
        with preserving(self.model), torch.no_grad():
            recorded, dense = _record(_layers(self.model, self.layer), images), _record_dense(self.model)
            logits = require_logits(self.model(images.clone()), len(images), self.target)
            features = _require_feature_maps(recorded, images)
            weights = _require_averages(features, dense, logits)[self.target]
            return _like_images(weighted_channel_sum(features, weights.expand(len(images), -1)), images)


@dataclass(frozen=True, eq=False)
class GradCAM:
    """Grad-CAM (Selvaraju et al. 2017): class activation mapping for any convolutional classifier.

    The weight of a feature map is the mean over space of the class score's derivative by it. For a model of the form
    that `CAM` needs, at its last feature maps, the result is the CAM divided by their number of pixels.
    By default maps are not rectified: metrics read the positive part of the interpolated map. The original rectifies
    the map before it is interpolated.

    Parameters
    ----------
    model
        Classifier with logits ``(batch, class)``.
    target, layer
        As of `CAM`. Of a layer that runs several times, the last time counts.
    rectify
        Replace negative values by 0 before the interpolation, as the original does.
    """

    model: nn.Module = field(repr=False)
    target: int = 1
    _: KW_ONLY
    layer: Layer = field(default=None, repr=False)
    rectify: bool = False

    name = "Grad-CAM"
    unit: ClassVar[Unit] = "class score"
    cost = 1
    convention: ClassVar[Convention] = "positive"

    def __post_init__(self) -> None:
        _layers(self.model, self.layer)

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Gradient-weighted class activation map, interpolated; an error where the score does not depend on it."""
        with differentiating(self.model, images) as points:
            recorded = _record(_layers(self.model, self.layer), images)
            scores = class_scores(self.model, points, self.target)
            features = _require_feature_maps(recorded, images)
            gradients = None
            if features.requires_grad:
                (gradients,) = torch.autograd.grad(scores.sum(), features, allow_unused=True)
            if gradients is None:
                raise ModelError(
                    "the class score must depend on the layer's output: it does not; choose another layer"
                )
            maps = weighted_channel_sum(features, spatial_mean(gradients))
            maps = maps.clamp(min=0) if self.rectify else maps
            return _like_images(maps, images).detach()


def _layers(model: nn.Module, layer: Layer) -> list[nn.Module]:
    if isinstance(layer, str):
        try:
            return [model.get_submodule(layer)]
        except AttributeError as error:
            raise ModelError(f"the layer must be a module of the model: found no {layer!r}") from error
    if layer is not None and all(layer is not module for module in model.modules()):
        raise ModelError(f"the layer must be a module of the model: found a {type(layer).__name__} that is not")
    return list(model.modules()) if layer is None else [layer]


def _record(layers: list[nn.Module], images: Images) -> list[Any]:
    """Of a single layer the last output of the next pass, of several the last one with spatial extent; in a list."""
    latest: list[Any] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if len(layers) > 1 and not _has_extent(output, images):
            return output
        latest[:] = [output]
        # what follows may work in place, and must not change the maps that we keep
        return output.clone() if isinstance(output, Tensor) else output

    for layer in layers:
        layer.register_forward_hook(keep)
    return latest


def _has_extent(output: Any, images: Images) -> bool:
    return isinstance(output, Tensor) and output.ndim == images.ndim and math.prod(spatial_shape(output)) > 1


def _record_dense(model: nn.Module) -> list[tuple[nn.Linear, Tensor, Tensor]]:
    """The last dense layer of the next pass with its input and output; in a list."""
    latest: list[tuple[nn.Linear, Tensor, Tensor]] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            latest[:] = [(layer, inputs[0], output)]

    for layer in model.modules():
        layer.register_forward_hook(keep)
    return latest


def _require_feature_maps(recorded: list[Any], images: Images) -> Tensor:
    if not recorded:
        raise ModelError("the layer must run, and have feature maps: it did not; choose another layer")
    features = recorded[0]
    if not isinstance(features, Tensor) or features.ndim != images.ndim:
        raise ModelError(
            "the layer's output must be feature maps (batch, feature, *space): "
            f"found {tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__}; "
            "choose another layer"
        )
    return features


def _require_averages(features: Tensor, dense: list[tuple[nn.Linear, Tensor, Tensor]], logits: Tensor) -> Tensor:
    """Weights ``(class, feature)`` of the dense layer from the averages of the feature maps to the logits."""
    if not dense or dense[0][2].shape != logits.shape or not _close(dense[0][2], logits):
        raise ModelError(
            "class activation mapping needs logits that come straight from a torch.nn.Linear: found something else; "
            "use Grad-CAM, or train a CAM classifier"
        )
    layer, averages, _ = dense[0]
    if num_channels(features) != layer.in_features or not _close(spatial_mean(features), averages):
        raise ModelError(
            "class activation mapping needs global average pooling right before the dense layer: the means of the "
            "layer's output over space are not its input; choose another layer, or use Grad-CAM"
        )
    return layer.weight


def _like_images(maps: Tensor, images: Images) -> Maps:
    return resize_linear(maps, spatial_shape(images)).expand_as(images).clone()


def _close(one: Tensor, other: Tensor) -> bool:
    """Equal up to the rounding of their number format."""
    tolerance = torch.finfo(other.dtype).eps ** 0.5
    return one.shape == other.shape and bool((one - other).abs().max() <= tolerance * other.abs().max())
