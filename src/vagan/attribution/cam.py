"""Class activation maps: weighted sums of a classifier's last feature maps."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from vagan.attribution import method
from vagan.attribution.method import Convention, Covariates, Unit
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
    model, target
        Classifier whose logits are one ``torch.nn.Linear`` of the global averages of feature maps, which `attribute`
        verifies; class of interest.
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

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Class activation map, interpolated; an error for models that are not of the form above."""
        method.require_images(images)
        with method.preserving(self.model), torch.no_grad():
            with _recording(self.model, self.layer, images) as recorded:
                logits = method.require_logits(self.model(images.clone()), len(images), self.target)
            features = _feature_maps(recorded, images)
            weights = _dense_layer(self.model, features, logits).weight[self.target]
            return _like_images(weighted_channel_sum(features, weights.expand(len(images), -1)), images)


@dataclass(frozen=True, eq=False)
class GradCAM:
    """Grad-CAM (Selvaraju et al. 2017): class activation mapping for any convolutional classifier.

    The weight of a feature map is the mean over space of the class score's derivative by it. For a model of the form
    that `CAM` needs, at its last feature maps, the result is the CAM divided by their number of pixels. Maps are not
    rectified: metrics read the positive part of the interpolated map. The original rectifies the map before it is
    interpolated. Parameters are those of `CAM`; of a layer that runs several times, the last time counts.
    """

    model: nn.Module = field(repr=False)
    target: int = 1
    _: KW_ONLY
    layer: Layer = field(default=None, repr=False)

    name = "Grad-CAM"
    unit: ClassVar[Unit] = "class score"
    cost = 1
    convention: ClassVar[Convention] = "positive"

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Gradient-weighted class activation map, interpolated; an error where the score does not depend on it."""
        with method.differentiating(self.model, images) as points:
            with _recording(self.model, self.layer, images) as recorded:
                scores = method.class_scores(self.model, points, self.target)
            features = _feature_maps(recorded, images)
            gradients = None
            if features.requires_grad:
                (gradients,) = torch.autograd.grad(scores.sum(), features, allow_unused=True)
            if gradients is None:
                raise ModelError("the class score must depend on the layer's output; choose another layer")
            return _like_images(weighted_channel_sum(features, spatial_mean(gradients)), images).detach()


@contextmanager
def _recording(model: nn.Module, layer: Layer, images: Images) -> Iterator[list[Any]]:
    """A list of the last output of a layer in passes inside the block, or of the last one with spatial extent."""
    try:
        layers = [model.get_submodule(layer)] if isinstance(layer, str) else [layer] if layer else model.modules()
    except AttributeError as error:
        raise ModelError(f"the layer must be a module of the model: found no {layer!r}") from error
    latest: list[Any] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        is_map = isinstance(output, Tensor) and output.ndim == images.ndim and math.prod(spatial_shape(output)) > 1
        if layer is None and not is_map:
            return output
        latest[:] = [output]
        # what follows may work in place, and must not change the maps that we keep
        return output.clone() if isinstance(output, Tensor) else output

    hooks = [module.register_forward_hook(keep) for module in layers]
    try:
        yield latest
    finally:
        for hook in hooks:
            hook.remove()


def _feature_maps(recorded: list[Any], images: Images) -> Tensor:
    (features,) = recorded or [None]
    if not isinstance(features, Tensor) or features.ndim != images.ndim:
        found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ModelError(
            "the layer must be a module of the model that runs, and its output feature maps "
            f"(batch, feature, *space): found {found}; choose another layer"
        )
    return features


def _dense_layer(model: nn.Module, features: Tensor, logits: Tensor) -> nn.Linear:
    """The layer that makes the logits of the averages of the feature maps."""
    averages, tolerance = spatial_mean(features), torch.finfo(logits.dtype).eps ** 0.5  # of rounding
    for module in model.modules():
        if not isinstance(module, nn.Linear) or module.in_features != num_channels(features):
            continue
        found = linear(averages, module.weight, module.bias)
        if found.shape == logits.shape and (found - logits).abs().max() <= tolerance * logits.abs().max():
            return module
    raise ModelError(
        "class activation mapping needs logits that are one torch.nn.Linear of the global averages of the layer's "
        "output: found another form; choose another layer, use Grad-CAM, or train a CAM classifier"
    )


def _like_images(maps: Tensor, images: Images) -> Maps:
    return resize_linear(maps, spatial_shape(images)).expand_as(images).clone()
