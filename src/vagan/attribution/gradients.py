"""Methods from gradients: integrated gradients and guided backpropagation."""

from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import captum.attr
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.overrides import TorchFunctionMode

from vagan.attribution.method import Convention, Covariates, Unit, class_scores, differentiating
from vagan.axes import concatenate_batches, expand_like, per_sample_mean
from vagan.errors import ConfigError, ModelError
from vagan.types import Images, Maps

Reference = Literal["background", "zero", "mean"] | float | Tensor
"""Image without evidence of the class: a constant intensity, or one image for all, ``(channel, *space)``."""

_INTENSITY = {"background": -1.0, "zero": 0.0}
AT_ONCE = 16
"""Points of the line, or windows, times images in one pass: bounds the memory, changes nothing else."""


def reference_images(reference: Reference, images: Images) -> Images:
    """One reference image for each image.

    ``background`` is -1 everywhere, an empty image after preparation; ``zero`` mid-grey, an implicit default of many
    implementations; ``mean`` each image's own mean. Numbers and images are in prepared intensity.
    """
    if isinstance(reference, str) and reference == "mean":
        return expand_like(per_sample_mean(images), images).expand_as(images)
    if isinstance(reference, str) and reference not in _INTENSITY:
        raise ConfigError(f"reference must be background, zero, mean, a number or an image: found {reference!r}")
    value = _INTENSITY[reference] if isinstance(reference, str) else reference
    try:
        return torch.as_tensor(value, dtype=images.dtype, device=images.device).expand_as(images)
    except RuntimeError as error:
        found = tuple(value.shape) if isinstance(value, Tensor) else value
        raise ModelError(
            f"the reference image must have the images' channels and space, {tuple(images.shape)}: found {found}"
        ) from error


@dataclass(frozen=True, eq=False)
class IntegratedGradients:
    """Gradients of the class score, averaged along the straight line from a reference image, times the difference.

    A pixel's value is its share, in units of the score (logit), of the score's gain from the reference to the
    image: the values add up to it. Evidence for the class is positive where the image is brighter than the
    reference; the paper scores absolute values.

    Parameters
    ----------
    model, target
        Classifier with logits ``(batch, class)``, and class of interest.
    reference
        Where the line starts. ``background`` (-1) by default; the authors' code starts from ``zero``, which in
        images scaled to [-1, 1] is not empty but grey.
    steps
        Points of the Gauss-Legendre quadrature, at least 1. The authors' code takes 100 and the left Riemann sum.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2))
    >>> method = IntegratedGradients(model, reference=0.0, steps=2)
    >>> method.attribute(torch.ones(1, 1, 2, 3)).shape
    torch.Size([1, 1, 2, 3])
    """

    model: nn.Module = field(repr=False)
    target: int = 1
    _: KW_ONLY
    reference: Reference = field(default="background", repr=False)
    steps: int = 50

    name = "integrated gradients"
    unit: ClassVar[Unit] = "class score"
    convention: ClassVar[Convention] = "absolute"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"integrated gradients need at least 1 step: found {self.steps}")

    @property
    def cost(self) -> int:
        """One forward pass for each step."""
        return self.steps

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Share of each pixel in the class score."""
        line = captum.attr.IntegratedGradients(partial(class_scores, self.model, target=self.target))
        with differentiating(self.model, images) as points:
            references = reference_images(self.reference, points)
            how = {"n_steps": self.steps, "method": "gausslegendre", "internal_batch_size": AT_ONCE}
            parts = zip(points.split(AT_ONCE), references.split(AT_ONCE), strict=True)
            return concatenate_batches(*(line.attribute(x.detach(), start, **how) for x, start in parts)).detach()


# Every other function that cuts or squashes one side of its input. Sigmoid and tanh are not among them: as gates and
# bounds they go along with ReLU, and guided backpropagation has always sent the plain gradient through them.
_OTHER_RECTIFIERS = frozenset(
    {"leaky_relu", "prelu", "rrelu", "relu6", "threshold", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish"}
    | {"hardtanh", "softplus", "clamp", "clamp_min", "clip"}
)


@dataclass(frozen=True, eq=False)
class GuidedBackpropagation:
    """Gradient of the class score in which every ReLU passes on positive gradients only.

    Units are score (logit) per intensity; only the magnitude counts. The classifier's activations must be ReLUs, as
    modules or functions; without any, and with leaky or bounded ReLUs, ELU, GELU and so on, it raises `ModelError`.
    """

    model: nn.Module = field(repr=False)
    target: int = 1

    name = "guided backprop"
    unit: ClassVar[Unit] = "class score per intensity"
    cost = 1
    convention: ClassVar[Convention] = "absolute"

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Guided gradient at each pixel."""
        with differentiating(self.model, images) as points:
            with _GuidedReLUs() as guided:
                scores = class_scores(self.model, points, self.target)
            if not guided.found:
                raise ModelError(
                    "guided backpropagation needs a model with ReLUs: found none at work, so the result would be the "
                    "plain gradient; use integrated gradients"
                )
            (gradient,) = torch.autograd.grad(scores.sum(), points)
            return gradient


class _GuidedReLUs(TorchFunctionMode):
    """Inside this context ReLUs are `_GuidedReLU`: modules and functions call the same, which is replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.found = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        plain = name.strip("_")
        if plain == "relu":
            self.found += 1
            rectified = _GuidedReLU.apply(args[0])
            return args[0].copy_(rectified) if name == "relu_" or kwargs.get("inplace") else rectified
        lower = args[1] if len(args) > 1 else kwargs.get("min")
        # a clamp whose lower bound is 0 is a ReLU, bounded or not; other clamps limit a range
        limits = plain.startswith(("clamp", "clip")) and not (isinstance(lower, int | float) and lower == 0)
        if plain in _OTHER_RECTIFIERS and not limits:
            raise ModelError(
                f"guided backpropagation needs every activation to be a ReLU: found {plain}; replace it by nn.ReLU, "
                "or use integrated gradients"
            )
        return func(*args, **kwargs)


class _GuidedReLU(torch.autograd.Function):
    """ReLU with a derivative that passes on positive gradients only (Springenberg et al. 2015)."""

    @staticmethod
    def forward(ctx: FunctionCtx, features: Tensor) -> Tensor:
        ctx.save_for_backward(features > 0)
        return features.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (is_positive,) = ctx.saved_tensors
        return gradients[0].clamp(min=0) * is_positive
