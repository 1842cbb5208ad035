"""One update of the critic, one of the map generator: zero the gradients, accumulate them, step."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vagan.errors import DivergenceError
from vagan.training import objectives
from vagan.training.bn_recalibration import measure_statistics
from vagan.training.config import Generator, Loss
from vagan.training.objectives import Terms, Weights
from vagan.training.sampling import Batch

Backward = Callable[[Tensor], None]
AnyBatch = TypeVar("AnyBatch", bound=tuple[Any, ...])
"""Images first."""


def step(
    optimizer: Optimizer,
    batches: Sequence[AnyBatch],
    terms_of: Callable[[AnyBatch], Terms],
    weights: Weights,
    backward: Backward,
) -> Terms:
    """Move an optimiser's weights one step down the weighted sum of the terms; returns their unweighted means.

    Each term has a weight. The gradients of several batches add up to that of their union, apart from what is
    relative to a batch: batch norm, and the share of each image in the identity loss. Raises `DivergenceError` if a
    term is not finite; nothing has moved then.
    """
    optimizer.zero_grad(set_to_none=True)
    means: Terms = {}
    for batch in batches:
        terms = terms_of(batch)
        require_finite(terms, batch[:2])
        total = sum((weights[name] * value for name, value in terms.items()), torch.zeros(()))
        backward(total / len(batches))
        for name, value in terms.items():
            means[name] = means.get(name, torch.zeros(())) + value.detach() / len(batches)
    optimizer.step()
    return means


def update_critic(
    critic: nn.Module,
    generator: nn.Module,
    optimizer: Optimizer,
    batches: Sequence[Batch],
    *,
    loss: Loss,
    settings: Generator,
    backward: Backward,
) -> Terms:
    """Move the critic one step towards the maximum of Eq. 2.

    With ``settings.joint_batch_norm`` it sees images of the generator as in use, with the statistics of source and
    target images that are measured after each generator update; otherwise with those of the batch.
    """
    if settings.joint_batch_norm:
        generator.eval()
    terms_of = partial(objectives.critic_terms, critic, generator, loss=loss, settings=settings)
    means = step(optimizer, batches, terms_of, objectives.critic_weights(loss), backward)
    if loss.constraint == "clip":
        with torch.no_grad():
            for weight in critic.parameters():
                weight.clamp_(-loss.clip, loss.clip)
    return means


def update_generator(
    critic: nn.Module,
    generator: nn.Module,
    optimizer: Optimizer,
    batches: Sequence[Batch],
    *,
    loss: Loss,
    settings: Generator,
    backward: Backward,
    teacher: nn.Module | None = None,
) -> Terms:
    """Move the map generator one step towards the minimum of Eq. 4; see `objectives.generator_terms`."""
    if settings.joint_batch_norm:
        generator.train()
    critic.requires_grad_(False)
    terms_of = partial(objectives.generator_terms, critic, generator, loss=loss, settings=settings, teacher=teacher)
    means = step(optimizer, batches, terms_of, objectives.generator_weights(loss), backward)
    critic.requires_grad_(True)
    if settings.joint_batch_norm:
        measure_statistics(generator, batches)
    return means


def distil_generator(
    generator: nn.Module,
    teacher: nn.Module,
    optimizer: Optimizer,
    batches: Sequence[Batch],
    *,
    loss: Loss,
    settings: Generator,
    backward: Backward,
) -> Terms:
    """Teach the map generator the effects that the teacher finds; see `distillation_terms`."""
    generator.train()
    terms_of = partial(objectives.distillation_terms, generator, teacher, loss=loss, settings=settings)
    return step(optimizer, batches, terms_of, objectives.generator_weights(loss), backward)


def require_finite(terms: Terms, images: Sequence[Tensor]) -> None:
    """Raise `DivergenceError` naming the first term that is not finite, and the images if they are to blame."""
    for name, value in terms.items():
        if not torch.isfinite(value).all():
            blame = "lower the learning rate"
            if any(not torch.isfinite(part).all() for part in images):
                blame = "an image of the batch holds NaN or infinite values: `vagan check` names it"
            raise DivergenceError(f"the loss term {name} must be a finite number, but is {value.item()}; {blame}")
