"""Class activation maps: weighted sums of a classifier's last feature maps."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from vagan.attribution.method import (
    Convention,
    Covariates,
    Unit,
    class_scores,
    differentiating,
    preserving,
    require_logits,
)
from vagan.axes import num_channels, resize_linear, spatial_mean, spatial_shape, weighted_channel_sum
from vagan.errors import ModelError
from vagan.types import Images, Maps


class CAM:
    """Class activation mapping (Zhou et al. 2016).

    The sum of the last feature maps, weighted as the dense layer weights their means for the class: its mean over
    space, plus a bias, is the class's logit. It is interpolated to the images' size and the same for all channels;
    values stay raw, and only the positive ones speak for the class.

    Parameters
    ----------
    model
        Classifier whose logits are one ``torch.nn.Linear`` of the global averages of feature maps, which must be
        the output of some module. The feature maps are found, and the form is verified, by running it.
    target
        Class of interest.
    """

    name = "CAM"
    unit: Unit = "class score"
    cost = 1
    convention: Convention = "positive"

    def __init__(self, model: nn.Module, target: int = 1) -> None:
        self._model, self._target = model, target

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Class activation map, interpolated.

        Raises
        ------
        ModelError
            If the model is not of the form that class activation mapping needs.
        """
        with preserving(self._model), torch.no_grad():
            features, weights = _averaged_features(self._model, images, self._target)
            return _like_images(weighted_channel_sum(features, weights.expand(len(images), -1)), images)


class GradCAM:
    """Grad-CAM (Selvaraju et al. 2017): class activation mapping for any convolutional classifier.

    The weight of a feature map is the mean over space of the class score's derivative by it. For a model of the form
    that `CAM` needs, at its last feature maps, the result is the CAM divided by their number of pixels.
    The rectification of the original is left to the scores, which read the positive part.

    Parameters
    ----------
    model
        Classifier with logits ``(batch, class)``.
    target
        Class of interest.
    layer
        Module of the model, or its dotted name, whose output is explained; the last convolution to run if not given.
        Of a module that runs several times, the last time counts.
    """

    name = "Grad-CAM"
    unit: Unit = "class score"
    cost = 1
    convention: Convention = "positive"

    def __init__(self, model: nn.Module, target: int = 1, *, layer: nn.Module | str | None = None) -> None:
        self._model, self._target = model, target
        self._layers = _layers(model, layer)

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Gradient-weighted class activation map, interpolated.

        Raises
        ------
        ModelError
            If the layer does not run, or its output is not feature maps on which the score depends.
        """
        with differentiating(self._model, images) as points:
            latest: list[Any] = []

            def keep(_module: nn.Module, _arguments: Any, output: Any) -> Any:
                latest[:] = [output]
                # what follows may work in place, and must not change the maps that we keep
                return output.clone() if isinstance(output, Tensor) else output

            for layer in self._layers:
                layer.register_forward_hook(keep)
            scores = class_scores(self._model, points, self._target)
            features = _require_feature_maps(latest, images)
            (gradients,) = torch.autograd.grad(scores.sum(), features, allow_unused=True)
            if gradients is None:
                raise ModelError(
                    "the class score must depend on the layer's output: it does not; choose another layer"
                )
            maps = weighted_channel_sum(features, spatial_mean(gradients))
            return _like_images(maps, images).detach()


def _averaged_features(model: nn.Module, images: Images, target: int) -> tuple[Tensor, Tensor]:
    """Feature maps whose spatial means are the last dense layer's input, and that layer's weights for the class."""
    widths = {module.in_features for module in model.modules() if isinstance(module, nn.Linear)}
    maps: list[Tensor] = []
    dense: list[tuple[nn.Linear, Tensor, Tensor]] = []

    def keep(module: nn.Module, arguments: tuple[Tensor, ...], output: Any) -> None:
        if isinstance(module, nn.Linear):
            dense[:] = [(module, arguments[0], output)]
        elif isinstance(output, Tensor) and output.ndim == images.ndim and num_channels(output) in widths:
            maps.append(output)

    for module in model.modules():
        module.register_forward_hook(keep)
    logits = require_logits(model(images.clone()), len(images), target)
    if not dense or dense[0][2].shape != logits.shape or not _close(dense[0][2], logits):
        raise ModelError(
            "class activation mapping needs logits that come straight from a torch.nn.Linear: found something else; "
            "use Grad-CAM, or train a CAM classifier"
        )
    layer, averages, _ = dense[0]
    # maps of one pixel are their own mean, whatever pooling made them, and have no location to show
    candidates = [m for m in maps if num_channels(m) == layer.in_features and math.prod(spatial_shape(m)) > 1]
    averaged = [m for m in candidates if _close(spatial_mean(m), averages)]
    if not averaged:
        raise ModelError(
            "class activation mapping needs global average pooling right before the dense layer: no module's output "
            "of more than one pixel has the dense layer's input as its means over space; "
            "use Grad-CAM, or train a CAM classifier"
        )
    # where one pooling comes before the global one, both see the same means; the earlier maps are finer
    return max(averaged, key=Tensor.numel), layer.weight[target]


def _layers(model: nn.Module, layer: nn.Module | str | None) -> list[nn.Module]:
    if isinstance(layer, str):
        try:
            return [model.get_submodule(layer)]
        except AttributeError as error:
            raise ModelError(f"the layer must be a module of the model: found no {layer!r}") from error
    if layer is not None:
        if all(layer is not module for module in model.modules()):
            raise ModelError(f"the layer must be a module of the model: found a {type(layer).__name__} that is not")
        return [layer]
    convolutions: list[nn.Module] = [module for module in model.modules() if isinstance(module, _ConvNd)]
    if not convolutions:
        raise ModelError("Grad-CAM needs a layer with feature maps: found no convolution; name the layer")
    return convolutions


def _require_feature_maps(latest: list[Any], images: Images) -> Tensor:
    if not latest:
        raise ModelError("the layer must run when the model does: it did not; choose another layer")
    features = latest[0]
    if not isinstance(features, Tensor) or features.ndim != images.ndim or not features.requires_grad:
        raise ModelError(
            "the layer's output must be feature maps (batch, feature, *space) that depend on the image: "
            f"found {tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__}; "
            "choose another layer"
        )
    return features


def _like_images(maps: Tensor, images: Images) -> Maps:
    return resize_linear(maps, spatial_shape(images)).expand_as(images).clone()


def _close(one: Tensor, other: Tensor) -> bool:
    """Equal up to the rounding of their number format."""
    tolerance = torch.finfo(other.dtype).eps ** 0.5
    return one.shape == other.shape and bool((one - other).abs().max() <= tolerance * other.abs().max())
