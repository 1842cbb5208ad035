"""What critic and map generator minimise (Eq. 2-4): weighted sums of named terms, pure functions of a batch.

Each ``*_terms`` function gives the terms of one batch, by the names that they have in ``metrics.csv``; each
``*_weights`` function says how much they count. A term of weight 0 is only recorded.
"""

from collections.abc import Callable, Mapping
from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from vagan.axes import concatenate_batches, expand_like, norm_along_one_axis, per_sample_mean, per_sample_norm
from vagan.deformation import displacement_penalty, smoothness_penalty, squared_velocity
from vagan.effect import RawMap, baseline_image, deforms, velocity_of, with_effect
from vagan.nn.conditioning import conditioned
from vagan.training.config import Constraint, Generator, Loss
from vagan.training.sampling import Batch
from vagan.types import Images, Scalar, Scores

Terms = dict[str, Tensor]
Weights = Mapping[str, float]

TINY = 1e-9
"""Size of a map below which all count alike: a generator begins with maps of zero."""


def critic_terms(critic: nn.Module, generator: nn.Module, batch: Batch, loss: Loss, settings: Generator) -> Terms:
    """Eq. 2 and the penalty on the critic's gradient norm, for a fixed generator."""
    with torch.no_grad():
        raw_map = conditioned(generator, batch.condition)(batch.source)
        generated = baseline_image(batch.source, raw_map, settings.output, batch.pose)
    # one pass for both kinds of image: the critic treats samples independently
    critic_fn = conditioned(critic, batch.target_condition, batch.condition)
    images = concatenate_batches(batch.target, generated).requires_grad_(loss.constraint == "zero-centered")
    scores = critic_fn(images)
    target_scores, generated_scores = scores.split([len(batch.target), len(generated)])
    terms = {"critic/wasserstein": -critic_loss(target_scores, generated_scores)}
    if loss.objective == "relativistic":
        terms["critic/relativistic"] = relativistic_loss(target_scores, generated_scores)
    if loss.constraint == "zero-centered":
        terms["critic/penalty"], terms["critic/slope"] = zero_centered_penalty(scores, images)
    elif loss.constraint != "clip":
        count = ceil(loss.penalty_share * len(batch.fractions))
        points = interpolate(batch.target[:count], generated[:count], batch.fractions[:count])
        between = None
        if batch.condition is not None and batch.target_condition is not None:
            between = interpolate(batch.target_condition, batch.condition, batch.fractions)
        penalty = gradient_penalty(conditioned(critic, between), points, loss.constraint)
        terms["critic/penalty"], terms["critic/slope"] = penalty
    return terms


def critic_weights(loss: Loss) -> Weights:
    """The critic maximises the distance of Eq. 2, or minimises the relativistic loss."""
    return {
        "critic/wasserstein": -1.0 if loss.objective == "wasserstein" else 0.0,
        "critic/relativistic": 1.0,
        "critic/penalty": loss.gradient_penalty,
        "critic/slope": 0.0,
    }


def generator_terms(
    critic: nn.Module,
    generator: nn.Module,
    batch: Batch,
    loss: Loss,
    settings: Generator,
    *,
    teacher: nn.Module | None = None,
) -> Terms:
    """Eq. 4 and its further terms, for a fixed critic.

    A ``teacher``, such as the generator's average, in evaluation mode, gives effects that are transferred, if any.
    """
    transferred = None if teacher is None else transfer_effect(teacher, batch, settings)
    maps = _maps(generator, batch, transferred, loss, settings)
    generated = baseline_image(batch.source, maps["source"], settings.output, batch.pose)
    scores = conditioned(critic, batch.condition)(generated)
    if loss.objective == "relativistic":
        with torch.no_grad():
            target_scores = conditioned(critic, batch.target_condition)(batch.target)
        adversarial = relativistic_loss(scores, target_scores)
    else:
        adversarial = generator_loss(scores)
    terms = {
        "generator/adversarial": adversarial,
        # without a bound this is |M(x)|; with tanh it is what the bound leaves of it, as in the authors' code
        "generator/map": map_size(generated - batch.source, batch.weight),
    }
    if "target" in maps:
        with torch.set_grad_enabled(loss.identity_weight > 0):  # otherwise it is only recorded
            unchanged = baseline_image(batch.target, maps["target"], settings.output)
            terms["generator/baseline_map"] = identity_loss(unchanged - batch.target, batch.weight)
    if transferred is not None:
        recovered = baseline_image(transferred, maps["transfer"], settings.output)
        terms["generator/effect_transfer"] = map_size(recovered - batch.target)
    terms |= _deformation_terms(concatenate_batches(*maps.values()), loss, settings)
    if deforms(settings.output) and loss.baseline_velocity_weight > 0:
        terms["generator/baseline_velocity"] = squared_velocity(velocity_of(maps["target"]))
    if loss.cycle_weight > 0:
        reverse = conditioned(generator, batch.reverse_condition)
        returned = baseline_image(generated, reverse(generated), settings.output)
        terms["generator/cycle"] = map_size(returned - batch.source)
    return terms


def distillation_terms(
    generator: nn.Module, teacher: nn.Module, batch: Batch, loss: Loss, settings: Generator
) -> Terms:
    """Find the teacher's effects in target images, and none where there is none.

    There is no critic: the teacher, which stays as it is, has learnt from it what an effect is.
    """
    both = concatenate_batches(transfer_effect(teacher, batch, settings), batch.target)
    maps = conditioned(generator, batch.target_condition)(both)
    recovered, unchanged = baseline_image(both, maps, settings.output).split(len(batch.target))
    return {
        "generator/effect_transfer": map_size(recovered - batch.target),
        "generator/baseline_map": identity_loss(unchanged - batch.target),
    } | _deformation_terms(maps, loss, settings)


def generator_weights(loss: Loss) -> Weights:
    """Of Eq. 4's terms, and of all others, in training against the critic and in distillation."""
    return {
        "generator/adversarial": 1.0,
        "generator/map": loss.map_weight,
        "generator/baseline_map": loss.identity_weight,
        "generator/effect_transfer": loss.effect_transfer_weight,
        "generator/smoothness": loss.smoothness_weight,
        "generator/displacement": loss.displacement_weight,
        "generator/baseline_velocity": loss.baseline_velocity_weight,
        "generator/cycle": loss.cycle_weight,
    }


def transfer_effect(teacher: nn.Module, batch: Batch, settings: Generator) -> Images:
    """Put the effect that the teacher finds in each source (a map or a deformation) into the target image beside it.

    The part of the teacher's map that follows the texture of its own image cannot be predicted from the target's:
    learning to recover transferred effects leaves what all such maps share, which is the effect.
    """
    with torch.no_grad():
        raw_map = conditioned(teacher, batch.condition)(batch.source)
        images = with_effect(batch.target, batch.source, raw_map, settings.output)
    return images.clamp(-1, 1)  # the range of images


def _maps(
    generator: nn.Module, batch: Batch, transferred: Images | None, loss: Loss, settings: Generator
) -> dict[str, RawMap]:
    """Raw maps of ``source``, of ``target`` where they cost something, and of ``transfer`` where there is one."""
    parts = {"source": (batch.source, batch.condition)}
    if settings.joint_batch_norm or loss.identity_weight > 0 or loss.baseline_velocity_weight > 0:
        parts["target"] = (batch.target, batch.target_condition)
    if transferred is not None:
        parts["transfer"] = (transferred, batch.target_condition)
    if not settings.joint_batch_norm:
        return {name: conditioned(generator, condition)(images) for name, (images, condition) in parts.items()}
    images, conditions = zip(*parts.values(), strict=True)
    maps = conditioned(generator, *conditions)(concatenate_batches(*images))
    return dict(zip(parts, maps.split([len(part) for part in images]), strict=True))


def _deformation_terms(raw_maps: RawMap, loss: Loss, settings: Generator) -> Terms:
    """What deformations cost, whatever they do to an image."""
    if not deforms(settings.output):
        return {}
    velocity = velocity_of(raw_maps)
    terms = {"generator/smoothness": smoothness_penalty(velocity)}
    if loss.displacement_weight > 0:
        terms["generator/displacement"] = displacement_penalty(velocity)
    return terms


def critic_loss(target_scores: Scores, generated_scores: Float[Tensor, " generated"]) -> Scalar:
    """Minus Eq. 2, which the critic maximises: ``E[D(x + M(x))] - E[D(x0)]``."""
    return generated_scores.mean() - target_scores.mean()


def generator_loss(generated_scores: Scores) -> Scalar:
    """The part of Eq. 2 that depends on M, which M minimises: ``-E[D(x + M(x))]``."""
    return -generated_scores.mean()


def relativistic_loss(higher: Scores, lower: Scores) -> Scalar:
    """Negative log-likelihood that images score higher than those beside them (Jolicoeur-Martineau, ICLR 2019).

    The critic's with target images as the ``higher``, the generator's with generated ones. Equal scores cost ``log
    2``; unlike Eq. 2 it hardly rewards a larger distance between images that are separated already.
    """
    return softplus(lower - higher).mean()


def map_size(maps: Images, weight: Scores | None = None) -> Scalar:
    """Eq. 3, as the *mean* over pixels and images of ``|M(x)|``, in units of image intensity.

    The paper writes the sum; the authors' code, to which the published weight of 100 belongs, takes the mean.
    ``weight`` is that of each image; default: 1.
    """
    sizes = per_sample_mean(maps.abs())
    return (sizes if weight is None else sizes * weight).mean()


def identity_loss(maps: Images, weight: Scores | None = None) -> Scalar:
    """Size of maps of baseline images, where there should be none: ``sum(s^2) / sum(s)`` with ``s`` the mean ``|M|``.

    The mean of ``s`` in which each image counts in proportion to the size of its map, also in the gradient: the
    proportions are constants. A plain mean is kept small by many small maps, however large those of a few images are
    that resemble the class of interest. ``weight`` is another factor for each image; default: 1.
    """
    sizes = per_sample_mean(maps.abs())
    shares = sizes.detach() + TINY
    return ((sizes if weight is None else sizes * weight) * shares).sum() / shares.sum()


def interpolate(target: Images, generated: Images, fractions: Scores) -> Images:
    """Points on the straight lines between target and generated images or conditions, one fraction per sample."""
    return torch.lerp(generated, target, expand_like(fractions, target))


def zero_centered_penalty(scores: Scores, images: Images) -> tuple[Scalar, Scalar]:
    """Mean squared gradient norm of the critic at target and generated images (R1 and R2), and the mean norm.

    With it a relativistic critic converges (Huang et al., NeurIPS 2024; their gamma is the weight of this term).
    """
    slopes = per_sample_norm(_gradients(scores, images))
    return slopes.square().mean(), slopes.mean().detach()


def gradient_penalty(critic: Callable[[Images], Scores], at: Images, constraint: Constraint) -> tuple[Scalar, Scalar]:
    """Penalty that keeps the critic's gradient norm at one (Gulrajani et al. 2017, Eq. 3), and the mean norm.

    In the critic samples must not influence each other (no batch norm). Its slope ``g`` is measured ``at`` images
    between target and generated ones. ``two-sided``: ``(|g| - 1)^2`` with the norm over the whole image, which is
    also that of the mean. ``one-sided``: only slopes above one are penalised (Petzka et al. 2018). ``one-axis``: the
    norm over the first image axis alone, averaged over the others, as in the authors' public code; its critic is
    steeper by about the square root of the number of columns, to which the published weight of 100 for maps belongs.
    """
    points = at.detach().requires_grad_(True)
    gradients = _gradients(critic(points), points)
    slopes = per_sample_norm(gradients)
    norms = norm_along_one_axis(gradients) if constraint == "one-axis" else slopes
    excess = (norms - 1).clamp(min=0) if constraint == "one-sided" else norms - 1
    return excess.square().mean(), slopes.mean().detach()


def _gradients(scores: Scores, images: Images) -> Images:
    (gradients,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradients.float()  # squares and square roots lose too much in bfloat16
