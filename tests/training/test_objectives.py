import math

import pytest
import torch

from reference import one_axis_penalty_by_column, penalty_by_sample
from shapes import SPACES
from vagan.nn.critic import Critic
from vagan.training.objectives import (
    critic_loss,
    generator_loss,
    gradient_penalty,
    identity_loss,
    interpolate,
    map_size,
    relativistic_loss,
    zero_centered_penalty,
)


def linear_critic(weights):
    return lambda images: (images * weights).flatten(1).sum(1)


def test_terms_hand_worked():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 0.0, 4.0])
    assert critic_loss(real, fake).item() == pytest.approx(1.0 - 2.0)
    assert generator_loss(fake).item() == pytest.approx(-1.0)
    baseline, generated = torch.ones(3, 1, 2, 3), torch.zeros(3, 1, 2, 3)
    mixed = interpolate(baseline, generated, torch.tensor([0.0, 0.25, 1.0]))
    assert mixed[:, 0, 0, 0].tolist() == [0.0, 0.25, 1.0]
    weights = torch.zeros(1, 1, 2, 3)
    weights[0, 0, 0, 0] = 0.5
    images = torch.zeros(2, 1, 2, 3)
    assert gradient_penalty(linear_critic(weights), images, "one-sided")[0].item() == 0.0
    penalty, _ = gradient_penalty(linear_critic(weights.requires_grad_()), images, "two-sided")
    assert penalty.item() == pytest.approx(0.25)
    penalty.backward()
    assert weights.grad[0, 0, 0, 0].item() == pytest.approx(2 * (0.5 - 1))


def test_a_relativistic_loss_is_the_mean_log_likelihood_of_pairs():
    higher, lower = torch.tensor([0.0, 3.0]), torch.tensor([0.0, 1.0])
    expected = (math.log(2) + math.log(1 + math.exp(-2))) / 2
    assert relativistic_loss(higher, lower).item() == pytest.approx(expected)
    assert relativistic_loss(higher + 5, lower + 5).item() == pytest.approx(expected)  # differences alone count
    assert relativistic_loss(lower, higher).item() > math.log(2)


@pytest.mark.parametrize("space", SPACES)
def test_a_zero_centered_penalty_is_the_mean_squared_norm_at_the_images_themselves(space, rng):
    """Of ``D(x) = sum(w x^2) / 2`` the gradient is ``w x``."""
    weights = torch.rand(1, 1, *space, generator=rng).requires_grad_()
    images = torch.randn(3, 1, *space, generator=rng).requires_grad_()
    scores = (weights * images.square()).flatten(1).sum(1) / 2
    penalty, slope = zero_centered_penalty(scores, images)
    norms = (weights * images).flatten(1).norm(dim=1)
    assert penalty.item() == pytest.approx(norms.square().mean().item(), rel=1e-5)
    assert slope.item() == pytest.approx(norms.mean().item(), rel=1e-5)
    penalty.backward()
    expected = 2 * (weights * images.square()).mean(0, keepdim=True)
    torch.testing.assert_close(weights.grad, expected.detach())


@pytest.mark.parametrize("space", SPACES)
def test_map_size_is_a_mean_so_it_does_not_grow_with_the_image(space):
    assert map_size(torch.full((2, 1, *space), -0.25)).item() == pytest.approx(0.25)


@pytest.mark.parametrize("space", SPACES)
def test_large_maps_of_baseline_images_count_in_proportion_to_their_size(space):
    sizes = torch.tensor([0.1, -0.3])
    maps = sizes.reshape(2, 1, *[1] * len(space)).expand(2, 1, *space).clone().requires_grad_()
    loss = identity_loss(maps)
    assert loss.item() == pytest.approx((0.01 + 0.09) / 0.4)
    loss.backward()
    assert maps.grad.flatten(1).sum(1).tolist() == pytest.approx([0.25, -0.75])
    weighted = identity_loss(maps, torch.tensor([2.0, 0.5]))
    assert weighted.item() == pytest.approx((2 * 0.01 + 0.5 * 0.09) / 0.4)


def test_maps_of_zero_have_no_identity_loss_and_a_finite_gradient():
    maps = torch.zeros(4, 1, 5, 6, requires_grad=True)
    loss = identity_loss(maps)
    loss.backward()
    assert loss.item() == 0
    assert maps.grad.isfinite().all()
    assert identity_loss(torch.full((4, 1, 5, 6), 1e-12)).item() == pytest.approx(1e-12, rel=0.01)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("constraint", ["two-sided", "one-sided", "one-axis"])
def test_a_linear_critic_of_known_slope(space, constraint):
    weights = torch.zeros(1, 1, *space)
    weights[0, 0, 0].fill_(1.0)  # one plane across the first axis: every line along it has slope 1
    plane = weights.sum().item()
    penalty, slope = gradient_penalty(linear_critic(weights), torch.zeros(2, 1, *space), constraint)
    assert slope.item() == pytest.approx(plane**0.5)
    expected = 0.0 if constraint == "one-axis" else (plane**0.5 - 1) ** 2
    assert penalty.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("space", [(16, 18), (16, 18, 17)])
def test_the_batched_penalty_equals_one_backward_pass_per_image(space, rng):
    critic = Critic(len(space), width=2)
    images = torch.randn(3, 1, *space, generator=rng) * torch.tensor([1.0, 3.0, 0.1]).reshape(
        3, *[1] * (len(space) + 1)
    )
    for constraint, expected in [
        ("two-sided", penalty_by_sample(critic, images)),
        ("one-sided", penalty_by_sample(critic, images, one_sided=True)),
        ("one-axis", one_axis_penalty_by_column(critic, images)),
    ]:
        assert gradient_penalty(critic, images, constraint)[0].item() == pytest.approx(expected, rel=1e-4)


def test_the_penalty_squares_slopes_in_single_precision_whatever_the_critics():
    """256 slopes of 0.0625 have the norm 1; bfloat16 could not tell 1 from 1.003."""
    weights = torch.full((1, 1, 16, 16), 0.0625, dtype=torch.bfloat16) * 1.0625
    images = torch.zeros(1, 1, 16, 16, dtype=torch.bfloat16)
    penalty, slope = gradient_penalty(linear_critic(weights), images, "two-sided")
    assert penalty.dtype == slope.dtype == torch.float32
    assert penalty.item() == pytest.approx(0.0625**2, rel=1e-5)
