"""Guided backpropagation (Springenberg et al. 2015), computed by Captum."""

import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar

import captum.attr
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from vagan.attribution.method import Convention, Covariates, Unit, class_scores, differentiating, preserving
from vagan.errors import ModelError
from vagan.types import Images, Maps, Scores

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
