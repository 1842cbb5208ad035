"""The objective of the paper (Eq. 2-4) as pure functions of images and scores."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vagan.axes import expand_like, norm_along_first_spatial_axis, per_sample_mean, per_sample_norm
from vagan.types import Images, Scalar, Scores

Constraint = Literal["two-sided", "one-sided", "one-axis", "clip"]


def critic_loss(baseline_scores: Scores, generated_scores: Float[Tensor, " generated"]) -> Scalar:
    """Minus Eq. 2, which the critic maximises: ``E[D(x + M(x))] - E[D(x0)]``."""
    return generated_scores.mean() - baseline_scores.mean()


def generator_loss(generated_scores: Scores) -> Scalar:
    """The part of Eq. 2 that depends on M, which M minimises: ``-E[D(x + M(x))]``."""
    return -generated_scores.mean()


def map_size(maps: Images, shares: Scores | None = None) -> Scalar:
    """Eq. 3, as the *mean* over pixels and images of ``|M(x)|``, in units of image intensity.

    The paper writes the sum; the authors' code, to which the published weight of 100 belongs, takes the mean.
    ``shares`` says how much each image counts, 1 if nothing is said.
    """
    sizes = per_sample_mean(maps.abs())
    return (sizes if shares is None else sizes * shares).mean()


def mix(baseline: Images, generated: Images, fractions: Scores) -> Images:
    """Points on the straight lines between baseline and generated images, one fraction per sample."""
    return torch.lerp(generated, baseline, expand_like(fractions, baseline))


def gradient_penalty(
    critic: Callable[[Images], Scores], images: Images, constraint: Constraint
) -> tuple[Scalar, Scalar]:
    """Penalty that keeps the critic's slope at one (Gulrajani et al. 2017, Eq. 3).

    Parameters
    ----------
    critic
        The critic. Samples must not influence each other (no batch norm).
    images
        Where the slope is measured: mixes of baseline and generated images.
    constraint
        ``two-sided``: ``(|g| - 1)^2`` with the norm over the whole image. ``one-sided``: only slopes above one
        are penalised (Petzka et al. 2018). ``one-axis``: the norm over the first image axis alone, averaged over
        the others, as the authors' public code computes it; its critic is steeper by about the square root of
        the number of columns, and the published weight of 100 for the map belongs to that.

    Returns
    -------
    penalty, slope
        The unweighted penalty, and the mean of ``|g|`` over the batch (always the whole-image norm).
    """
    points = images.detach().requires_grad_(True)
    (gradients,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    gradients = gradients.float()  # squares and square roots lose too much in bfloat16
    slopes = per_sample_norm(gradients)
    norms = norm_along_first_spatial_axis(gradients) if constraint == "one-axis" else slopes
    excess = (norms - 1).clamp(min=0) if constraint == "one-sided" else norms - 1
    return excess.square().mean(), slopes.mean().detach()
