"""Integrated gradients (Sundararajan et al. 2017), computed by Captum."""

from typing import Literal

import captum.attr
import torch
from torch import Tensor, nn

from vagan.attribution.method import Convention, Covariates, Unit, class_scores, differentiating, preserving
from vagan.axes import concatenate_batches, expand_like, per_sample_mean, per_sample_sum
from vagan.errors import ConfigError, ModelError
from vagan.types import Images, Maps, Scores

Reference = Literal["background", "zero", "mean"] | float | Tensor
"""Image in which the class is absent: a constant intensity, or one image for all, ``(channel, *space)``."""

Rule = Literal["gauss-legendre", "left"]

_INTENSITY = {"background": -1.0, "zero": 0.0}
_CAPTUM_RULE = {"gauss-legendre": "gausslegendre", "left": "riemann_left"}


def reference_images(reference: Reference, images: Images) -> Images:
    """One reference image for each image.

    Parameters
    ----------
    reference
        ``background``: -1 everywhere, an empty image after preparation. ``zero``: mid-grey; what most codes take
        without saying so. ``mean``: each image's own mean intensity. A number, or an image, in prepared intensity.
    images
        Give the shape.
    """
    if isinstance(reference, str) and reference == "mean":
        return expand_like(per_sample_mean(images), images).expand_as(images)
    if isinstance(reference, str) and reference not in _INTENSITY:
        raise ConfigError(
            f"the baseline must be 'background', 'zero', 'mean', a number or an image: found {reference!r}"
        )
    value = _INTENSITY[reference] if isinstance(reference, str) else reference
    try:
        return torch.as_tensor(value, dtype=images.dtype, device=images.device).expand_as(images)
    except RuntimeError as error:
        found = tuple(value.shape) if isinstance(value, Tensor) else value
        raise ModelError(
            f"a baseline image must have the images' channels and space, {tuple(images.shape)}: found {found}"
        ) from error


class IntegratedGradients:
    """Gradients of the class score, averaged along the straight line from a baseline image, times the difference.

    A pixel's value is its share, in units of the score (logit), of what the score gains from the baseline to the
    image: the values add up to it. Brightness that speaks for the class is positive where the image is brighter
    than the baseline; the paper scores absolute values.

    Parameters
    ----------
    model
        Classifier with logits ``(batch, class)``.
    target
        Class of interest.
    baseline
        Where the line starts. ``background`` (-1) by default; the authors' code starts from ``zero``, which in
        images scaled to [-1, 1] is not empty but grey.
    steps
        Points of the quadrature, at least 1, or 2 for ``left``.
    rule
        ``gauss-legendre``, or ``left`` as in the authors' code (with 100 steps).
    evaluations_at_once
        Points times images in one forward and backward pass; bounds the memory, changes nothing else.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2))
    >>> method = IntegratedGradients(model, baseline=0.0, steps=2)
    >>> method.attribute(torch.ones(1, 1, 2, 3)).shape
    torch.Size([1, 1, 2, 3])
    """

    name = "integrated gradients"
    unit: Unit = "class score"
    cost = 50
    convention: Convention = "absolute"

    def __init__(
        self,
        model: nn.Module,
        target: int = 1,
        *,
        baseline: Reference = "background",
        steps: int = 50,
        rule: Rule = "gauss-legendre",
        evaluations_at_once: int = 16,
    ) -> None:
        fewest = 2 if rule == "left" else 1
        if steps < fewest or evaluations_at_once < 1:
            raise ConfigError(
                f"the rule {rule} needs at least {fewest} steps, and evaluations_at_once must be at least 1: "
                f"found {steps} and {evaluations_at_once}"
            )
        self._model, self._target, self._baseline = model, target, baseline
        self._steps, self._rule, self._at_once = steps, rule, evaluations_at_once

    def __repr__(self) -> str:
        return f"IntegratedGradients({type(self._model).__name__}, target={self._target}, steps={self._steps})"

    def attribute(self, images: Images, covariates: Covariates = None) -> Maps:
        """Share of each pixel in the class score."""
        with differentiating(self._model, images) as points:
            baselines = reference_images(self._baseline, points)
            parts = zip(points.split(self._at_once), baselines.split(self._at_once), strict=True)
            return concatenate_batches(*(self._integrate(part, start) for part, start in parts)).detach()

    def completeness_error(self, images: Images) -> Scores:
        """How far, in units of the score, a map's sum is from the score's gain over the baseline; 0 is exact."""
        sums = per_sample_sum(self.attribute(images))
        with preserving(self._model), torch.no_grad():
            gains = self._scores(images) - self._scores(reference_images(self._baseline, images))
        return (sums - gains).abs()

    def _integrate(self, images: Images, baselines: Images) -> Maps:
        return captum.attr.IntegratedGradients(self._scores).attribute(
            images.detach(),
            baselines,
            n_steps=self._steps,
            method=_CAPTUM_RULE[self._rule],
            internal_batch_size=self._at_once,
        )

    def _scores(self, images: Images) -> Scores:
        return class_scores(self._model, images, self._target)
