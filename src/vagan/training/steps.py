"""One update of the critic, and one of the map generator: the paper's algorithm, and nothing else."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vagan.axes import concatenate_batches
from vagan.effect import (
    RawMap,
    baseline_image,
    deforms,
    map_displacement_penalty,
    map_smoothness_penalty,
    with_effect,
)
from vagan.errors import DivergenceError
from vagan.nn.batch_statistics import measuring_statistics
from vagan.nn.conditioning import Condition, mixed, told
from vagan.training.config import Generator, Loss
from vagan.training.losses import critic_loss, generator_loss, gradient_penalty, map_size, mix
from vagan.types import Images, Scalar, Scores

Terms = dict[str, Tensor]
Backward = Callable[[Tensor], None]


class TwoClassBatch(NamedTuple):
    """Unpaired images of both classes, and where between them the critic's slope is measured."""

    baseline: Images
    interest: Images
    fractions: Scores
    """One number in [0, 1] per sample."""
    condition: Condition | None = None
    """What the networks are told of each image of the class of interest, and of what the generator makes of it."""
    baseline_condition: Condition | None = None
    """What they are told of each baseline image: the class of the image beside it, and its own covariates."""
    way_back: Condition | None = None
    """What the generator is told of what it made of each image of the class of interest, to undo it."""
    map_shares: Scores | None = None
    """Part of the weights on maps that counts for each image of the class of interest, and for the one beside it."""


def update_critic(
    critic: nn.Module,
    generator: nn.Module,
    optimizer: Optimizer,
    batches: Sequence[TwoClassBatch],
    *,
    loss: Loss,
    settings: Generator,
    backward: Backward,
) -> Terms:
    """Move the critic one step towards the maximum of Eq. 2.

    The gradients of several batches add up to that of their union. Returns the means of the loss's terms.
    """
    optimizer.zero_grad(set_to_none=True)
    if settings.joint_batch_norm:
        generator.eval()  # with the statistics of both classes that the generator's last update left
    means: Terms = {}
    for batch in batches:
        with torch.no_grad():
            generated = baseline_image(
                batch.interest, told(generator, batch.condition)(batch.interest), settings.output
            )
        # one pass for both kinds of image: the critic treats samples independently
        judge = told(critic, batch.baseline_condition, batch.condition)
        scores = judge(concatenate_batches(batch.baseline, generated))
        baseline_scores, generated_scores = scores.split([len(batch.baseline), len(generated)])
        terms = {"critic/wasserstein": -critic_loss(baseline_scores, generated_scores)}
        total = -terms["critic/wasserstein"]
        if loss.constraint != "clip":
            count = ceil(loss.penalty_share * len(batch.fractions))
            points = mix(batch.baseline[:count], generated[:count], batch.fractions[:count])
            between = told(critic, mixed(batch.baseline_condition, batch.condition, batch.fractions))
            penalty, slope = gradient_penalty(between, points, loss.constraint)
            terms |= {"critic/penalty": penalty, "critic/slope": slope}
            total = total + loss.gradient_penalty * penalty
        require_finite(terms, batch[:2])
        backward(total / len(batches))
        _add_to_means(means, terms, len(batches))
    optimizer.step()
    if loss.constraint == "clip":
        with torch.no_grad():
            for weight in critic.parameters():
                weight.clamp_(-loss.clip, loss.clip)
    return means


def update_generator(
    critic: nn.Module,
    generator: nn.Module,
    optimizer: Optimizer,
    batches: Sequence[TwoClassBatch],
    *,
    loss: Loss,
    settings: Generator,
    backward: Backward,
    teacher: nn.Module | None = None,
) -> Terms:
    """Move the map generator one step towards the minimum of Eq. 4.

    ``teacher``, a better copy of the generator such as its average, says which effect to transplant; None for none.
    """
    optimizer.zero_grad(set_to_none=True)
    critic.requires_grad_(False)
    if settings.joint_batch_norm:
        generator.train()
    means: Terms = {}
    for batch in batches:
        judge = told(critic, batch.condition)
        transplant = None if teacher is None else effect_transplant(teacher, batch, settings)
        interest_map, baseline_map, transplant_map = _maps(generator, batch, transplant, loss, settings)
        generated = baseline_image(batch.interest, interest_map, settings.output)
        terms = {
            "generator/adversarial": generator_loss(judge(generated)),
            # without a bound this is |M(x)|; with tanh it is what the bound leaves of it, as in the authors' code
            "generator/map": map_size(generated - batch.interest, batch.map_shares),
        }
        total = terms["generator/adversarial"] + loss.map_weight * terms["generator/map"]
        if baseline_map is not None:
            unchanged = baseline_image(batch.baseline, baseline_map, settings.output)
            terms["generator/baseline_map"] = map_size(unchanged - batch.baseline, batch.map_shares)
            total = total + loss.identity_weight * terms["generator/baseline_map"]
        if transplant is not None and transplant_map is not None:
            freed = baseline_image(transplant.images, transplant_map, settings.output)
            terms["generator/effect_transfer"] = map_size(freed - transplant.origin)
            total = total + loss.effect_transfer_weight * terms["generator/effect_transfer"]
        if deforms(settings.output):
            maps = [found for found in (interest_map, baseline_map, transplant_map) if found is not None]
            total = total + _deformation_cost(concatenate_batches(*maps), terms, loss)
        if loss.cycle_weight > 0:
            returned = baseline_image(generated, told(generator, batch.way_back)(generated), settings.output)
            terms["generator/cycle"] = map_size(returned - batch.interest)
            total = total + loss.cycle_weight * terms["generator/cycle"]
        require_finite(terms, batch[:2])
        backward(total / len(batches))
        _add_to_means(means, terms, len(batches))
    critic.requires_grad_(True)
    optimizer.step()
    if settings.joint_batch_norm:
        # batch norm's statistics for the weights as they are now, of which autocast keeps older copies
        torch.clear_autocast_cache()
        with measuring_statistics(generator):
            for batch in batches:
                map_of = told(generator, batch.condition, batch.baseline_condition)
                map_of(concatenate_batches(batch.interest, batch.baseline))
    return means


def consolidate_generator(
    generator: nn.Module,
    teacher: nn.Module,
    optimizer: Optimizer,
    batches: Sequence[TwoClassBatch],
    *,
    loss: Loss,
    settings: Generator,
    backward: Backward,
) -> Terms:
    """Teach the map generator to find the teacher's effects in baseline images, and none where there is none.

    There is no critic: the teacher, which stays as it is, has learnt from it what an effect is.
    """
    optimizer.zero_grad(set_to_none=True)
    generator.train()
    means: Terms = {}
    for batch in batches:
        transplant = effect_transplant(teacher, batch, settings)
        both = concatenate_batches(transplant.images, batch.baseline)
        maps = told(generator, batch.baseline_condition)(both)
        found = baseline_image(both, maps, settings.output)
        freed, unchanged = found.split([len(transplant.images), len(batch.baseline)])
        terms = {
            "generator/effect_transfer": map_size(freed - transplant.origin),
            "generator/baseline_map": map_size(unchanged - batch.baseline),
        }
        total = loss.effect_transfer_weight * terms["generator/effect_transfer"]
        total = total + loss.identity_weight * terms["generator/baseline_map"]
        if deforms(settings.output):
            total = total + _deformation_cost(maps, terms, loss)
        require_finite(terms, batch[:2])
        backward(total / len(batches))
        _add_to_means(means, terms, len(batches))
    optimizer.step()
    return means


class Transplant(NamedTuple):
    """Baseline images with the effect of another image put in, and without it."""

    images: Images
    origin: Images


def effect_transplant(teacher: nn.Module, batch: TwoClassBatch, settings: Generator) -> Transplant:
    """Put the effect that the teacher finds in each image of the class of interest into a baseline image.

    Where the generator deforms, that image's tissue is moved as the class moved it in the other one.

    What the teacher's map owes to its own image's texture cannot be told from the baseline image's: learning to find
    transplanted effects leaves the part of them that all such maps share, which is the effect.
    """
    with torch.no_grad():
        teacher.eval()
        raw_map = told(teacher, batch.condition)(batch.interest)
        images = with_effect(batch.baseline, batch.interest, raw_map, settings.output)
    # images that stay in the range of images
    return Transplant(images.clamp(-1, 1), batch.baseline)


def _maps(
    generator: nn.Module,
    batch: TwoClassBatch,
    transplant: Transplant | None,
    loss: Loss,
    settings: Generator,
) -> tuple[RawMap, RawMap | None, RawMap | None]:
    """Raw maps of the class of interest, of the baseline class where they cost something, and of transplants."""
    parts, conditions = [batch.interest], [batch.condition]
    if settings.joint_batch_norm or loss.identity_weight > 0:
        parts.append(batch.baseline)
        conditions.append(batch.baseline_condition)
    if transplant is not None:
        parts.append(transplant.images)
        conditions.append(batch.baseline_condition)
    if settings.joint_batch_norm:
        maps = told(generator, *conditions)(concatenate_batches(*parts)).split([len(part) for part in parts])
    else:
        maps = [told(generator, condition)(part) for part, condition in zip(parts, conditions, strict=True)]
    baseline = maps[1] if len(parts) > (1 if transplant is None else 2) else None
    return maps[0], baseline, None if transplant is None else maps[-1]


def _deformation_cost(raw_maps: RawMap, terms: Terms, loss: Loss) -> Scalar:
    """What deformations cost, whatever they do to an image; adds the unweighted terms."""
    terms["generator/smoothness"] = map_smoothness_penalty(raw_maps)
    cost = loss.smoothness_weight * terms["generator/smoothness"]
    if loss.displacement_weight > 0:
        terms["generator/displacement"] = map_displacement_penalty(raw_maps)
        cost = cost + loss.displacement_weight * terms["generator/displacement"]
    return cost


def require_finite(terms: Terms, images: Sequence[Images] = ()) -> None:
    """Raise `DivergenceError` naming the first term that is not finite, and the images if they are to blame."""
    for name, value in terms.items():
        if not torch.isfinite(value).all():
            blame = (
                "an image of the batch holds NaN or infinite values: `vagan check` names it"
                if any(not torch.isfinite(part).all() for part in images)
                else "lower the learning rate"
            )
            raise DivergenceError(f"the loss term {name} must be a finite number, but is {value.item()}; {blame}")


def _add_to_means(means: Terms, terms: Terms, count: int) -> None:
    for name, value in terms.items():
        means[name] = means.get(name, torch.zeros(())) + value.detach() / count
