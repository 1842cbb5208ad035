"""Methods from gradients: integrated gradients and guided backpropagation."""

import warnings
from collections import Counter
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar, Literal

import captum.attr
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vagan.attribution.method import Convention, Covariates, Unit, class_scores, differentiating, preserving
from vagan.axes import concatenate_batches, expand_like, per_sample_mean, per_sample_sum
from vagan.errors import ConfigError, ModelError
from vagan.types import Images, Maps, Scores

Reference = Literal["background", "zero", "mean"] | float | Tensor
"""Image without evidence of the class: a constant intensity, or one image for all, ``(channel, *space)``."""

Rule = Literal["gauss-legendre", "left"]

_INTENSITY = {"background": -1.0, "zero": 0.0}
_CAPTUM_RULE = {"gauss-legendre": "gausslegendre", "left": "riemann_left"}


def reference_images(reference: Reference, images: Images) -> Images:
    """One reference image for each image.

    ``background`` is -1 everywhere, an empty image after preparation; ``zero`` mid-grey, an implicit default of many
    implementations; ``mean`` each image's own mean. Numbers and images are in prepared intensity.
    """
    if isinstance(reference, str) and reference == "mean":
        return expand_like(per_sample_mean(images), images).expand_as(images)
    if isinstance(reference, str) and reference not in _INTENSITY:
        raise ConfigError(
            f"reference must be 'background', 'zero', 'mean', a number or an image: found {reference!r}"
        )
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
        Points of the quadrature, at least 1, or 2 for ``left``.
    rule
        ``gauss-legendre``, or ``left`` as in the authors' code (with 100 steps).
    internal_batch_size
        Points times images in one forward and backward pass; bounds the memory, changes nothing else.

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
    rule: Rule = "gauss-legendre"
    internal_batch_size: int = 16

    name = "integrated gradients"
    unit: ClassVar[Unit] = "class score"
    cost = 50
    convention: ClassVar[Convention] = "absolute"

    def __post_init__(self) -> None:
        fewest = 2 if self.rule == "left" else 1
        if self.steps < fewest or self.internal_batch_size < 1:
            raise ConfigError(
                f"the rule {self.rule} needs at least {fewest} steps, and internal_batch_size must be at least 1: "
                f"found {self.steps} and {self.internal_batch_size}"
            )

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Share of each pixel in the class score."""
        count = self.internal_batch_size
        with differentiating(self.model, images) as points:
            references = reference_images(self.reference, points)
            parts = zip(points.split(count), references.split(count), strict=True)
            return concatenate_batches(*(self._integrate(part, start) for part, start in parts)).detach()

    def completeness_error(self, images: Images) -> Scores:
        """How far, in units of the score, a map's sum is from its gain over the reference; 0 is exact."""
        sums = per_sample_sum(self.attribute(images))
        with preserving(self.model), torch.no_grad():
            gains = self._scores(images) - self._scores(reference_images(self.reference, images))
        return (sums - gains).abs()

    def _integrate(self, images: Images, references: Images) -> Maps:
        return captum.attr.IntegratedGradients(self._scores).attribute(
            images.detach(),
            references,
            n_steps=self.steps,
            method=_CAPTUM_RULE[self.rule],
            internal_batch_size=self.internal_batch_size,
        )

    def _scores(self, images: Images) -> Scores:
        return class_scores(self.model, images, self.target)


# Every operation that cuts or squashes one side of its input. Sigmoid and tanh are not among them: as gates and
# bounds they go along with ReLU, and guided backpropagation has always sent the plain gradient through them.
_RECTIFIERS = frozenset(
    {"relu", "leaky_relu", "prelu", "_prelu_kernel", "rrelu", "rrelu_with_noise", "relu6", "hardtanh", "threshold"}
    | {"elu", "celu", "selu", "gelu", "silu", "mish", "hardswish", "softplus", "clamp", "clamp_min"}
)


@dataclass(frozen=True, eq=False)
class GuidedBackpropagation:
    """Gradient of the class score in which every ReLU passes on positive gradients only.

    Units are score (logit) per intensity; only the magnitude is meaningful.

    Parameters
    ----------
    model
        Classifier with logits ``(batch, class)`` whose activations are ``torch.nn.ReLU`` modules.
    target
        Class of interest.

    Notes
    -----
    Captum changes the gradient of ``nn.ReLU`` modules only: for ``F.relu``, leaky or bounded ReLUs, ELU, GELU and so
    on it silently returns the plain gradient. `attribute` therefore inspects one forward pass and rejects models with
    any such activation, or without a ReLU module.
    """

    model: nn.Module = field(repr=False)
    target: int = 1

    name = "guided backprop"
    unit: ClassVar[Unit] = "class score per intensity"
    cost = 1
    convention: ClassVar[Convention] = "absolute"

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Guided gradient at each pixel."""
        scores = _Scores(self.model, self.target)
        with differentiating(self.model, images) as points:
            _require_relu_modules(scores, points.split(1)[0])
            with warnings.catch_warnings():
                # it announces that it sets hooks and removes them again, as it should
                warnings.filterwarnings("ignore", "Setting backward hooks on ReLU activations", UserWarning)
                return captum.attr.GuidedBackprop(scores).attribute(points)


class _Scores(nn.Module):
    """The classifier with its target bound, as a module because Captum looks for ReLUs in it."""

    def __init__(self, model: nn.Module, target: int) -> None:
        super().__init__()
        self.model, self.target = model, target

    def forward(self, images: Images) -> Scores:
        return class_scores(self.model, images, self.target)


class _Rectifications(TorchDispatchMode):
    """Count rectifying operations, those inside ``nn.ReLU`` modules apart from all others.

    It sees what reaches the kernels, so a ReLU cannot hide behind a method, a function or another module.
    """

    def __init__(self) -> None:
        super().__init__()
        self.in_modules = 0
        self.elsewhere: Counter[str] = Counter()
        self._depth = 0

    def watch(self, model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                module.register_forward_pre_hook(self._enter)
                module.register_forward_hook(self._leave)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__.rstrip("_")
        if name == "relu" and self._depth:
            self.in_modules += 1
        elif name in _RECTIFIERS and _cuts_below(name, args, kwargs or {}):
            self.elsewhere[name] += 1
        return func(*args, **(kwargs or {}))

    def _enter(self, _module: nn.Module, _arguments: Any) -> None:
        self._depth += 1

    def _leave(self, _module: nn.Module, _arguments: Any, _output: Any) -> None:
        self._depth -= 1


def _cuts_below(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a clamp is a ReLU, bounded or not: its lower bound is 0. Other clamps limit a range."""
    if name not in {"clamp", "clamp_min"}:
        return True
    lower = args[1] if len(args) > 1 else kwargs.get("min")
    return isinstance(lower, int | float) and lower == 0


def _require_relu_modules(scores: nn.Module, image: Images) -> None:
    # with gradients enabled: without, torch takes fused kernels for some modules, in which nothing can be seen
    found = _Rectifications()
    with preserving(scores):
        found.watch(scores)
        with found:
            scores(image)
    if found.elsewhere:
        names = ", ".join(f"{name} ({calls}x)" for name, calls in sorted(found.elsewhere.items()))
        raise ModelError(
            f"guided backpropagation needs every activation to be a torch.nn.ReLU module: found {names} outside of "
            "such modules; replace them by nn.ReLU modules, or use integrated gradients"
        )
    if not found.in_modules:
        raise ModelError(
            "guided backpropagation needs a model with torch.nn.ReLU modules: found none at work, so the result "
            "would be the plain gradient; use integrated gradients"
        )
