"""The way that convolutions go on GPUs, tried on the CPU."""

import copy

import pytest
import torch

from shapes import NETWORK_SPACES, SPACES
from vagan.nn import fast_double_backward as convolution
from vagan.nn.critic import Critic
from vagan.nn.layers import conv
from vagan.training.objectives import gradient_penalty


@pytest.fixture
def on_a_detour(monkeypatch):
    monkeypatch.setattr(convolution, "detours", lambda images: True)


every_space = pytest.mark.parametrize("space", SPACES, ids=["2-D", "3-D"])


@every_space
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_derivatives_are_pytorchs(space, kernel, bias, rng, monkeypatch):
    layer = conv(len(space), 2, 3, kernel=kernel, bias=bias).double()
    images = torch.randn(2, 2, *space, generator=rng, dtype=torch.float64, requires_grad=True)

    def found():
        features = layer(images)
        (slope,) = torch.autograd.grad(features.square().sum(), images, create_graph=True)
        return features, slope, *torch.autograd.grad(slope.square().sum(), [images, layer.weight])

    plain = found()
    monkeypatch.setattr(convolution, "detours", lambda images: True)
    for one, other in zip(found(), plain, strict=True):
        torch.testing.assert_close(one, other)


@every_space
def test_second_derivatives_are_those_of_differences(space, rng, on_a_detour):
    layer = conv(len(space), 1, 2).double()
    images = torch.randn(1, 1, *(extent // 2 for extent in space), generator=rng, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(layer, images.requires_grad_())


@pytest.mark.parametrize("space", NETWORK_SPACES, ids=["2-D", "3-D"])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_the_penalty_pulls_at_the_critics_weights_as_ever(space, half, gradient_checkpointing, rng, monkeypatch):
    torch.manual_seed(0)
    critic = Critic(len(space), width=4, gradient_checkpointing=gradient_checkpointing)
    images = torch.randn(2, 1, *space, generator=rng)

    def pull(of):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            penalty, _ = gradient_penalty(of, images, "two-sided")
        penalty.backward()
        return torch.cat([weights.grad.flatten() for weights in of.parameters() if weights.grad is not None])

    plain = pull(copy.deepcopy(critic))
    monkeypatch.setattr(convolution, "detours", lambda images: True)
    found = pull(copy.deepcopy(critic))
    assert found.dtype == plain.dtype
    assert (found - plain).norm() < (0.05 if half else 1e-5) * plain.norm()
