import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from shapes import SPACES
from vagan.axes import spatial_mean
from vagan.errors import ModelError
from vagan.nn.conditioning import FeatureModulation
from vagan.nn.critic import Critic
from vagan.nn.layers import measuring_statistics
from vagan.nn.unet import MapGenerator

ONE, OTHER = torch.eye(2).split(1)


def test_modulation_starts_as_the_identity_and_scales_and_shifts_each_map(rng):
    layer = FeatureModulation(2, 3)
    features = torch.randn(2, 3, 4, 5, generator=rng)
    condition = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert torch.equal(layer(features, condition), features)
    layer.scale.weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.5], [0.0, 0.0]])
    layer.shift.bias.data = torch.tensor([0.0, 0.0, 7.0])
    expected = features.clone()
    expected[0, 0] *= 2  # 1 + 1
    expected[1, 1] *= 2  # 1 + 2 * 0.5
    expected[..., 2, :, :] += 7
    torch.testing.assert_close(layer(features, condition), expected)


@pytest.mark.parametrize("space", SPACES)
def test_a_generator_treats_classes_alike_until_it_learns(space, rng):
    generator = MapGenerator(len(space), width=4, conditions=2, zero_init=False).eval()
    images = torch.randn(1, 1, *space, generator=rng)
    assert torch.equal(generator(images, ONE), generator(images, OTHER))
    nn.init.normal_(generator.modulations[3].scale.weight, generator=rng)
    assert not torch.equal(generator(images, ONE), generator(images, OTHER))


def test_a_generator_needs_the_condition_it_was_made_for():
    images = torch.zeros(1, 1, 16, 16)
    with pytest.raises(ModelError, match="needs a condition"):
        MapGenerator(2, width=4, conditions=2)(images)
    with pytest.raises(ModelError, match="takes no condition"):
        MapGenerator(2, width=4)(images, ONE)


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
@pytest.mark.parametrize("space", [(19, 24), (17, 16, 18)])
def test_the_critics_condition_adds_an_inner_product_with_the_features(space, gradient_checkpointing, rng):
    critic = Critic(len(space), width=2, conditions=2, gradient_checkpointing=gradient_checkpointing)
    images = torch.randn(3, 1, *space, generator=rng)
    scores = [critic(images, condition.expand(3, 2)) for condition in (ONE, OTHER)]
    features = spatial_mean(critic.layers[:-1](images))
    columns = critic.projection.weight
    torch.testing.assert_close(scores[0] - scores[1], features @ (columns[:, 0] - columns[:, 1]))


@pytest.mark.parametrize("space", SPACES)
def test_measured_statistics_are_those_of_update_bn(space, rng):
    batches = [torch.randn(count, 1, *space, generator=rng) for count in (2, 3)]
    ours, theirs = MapGenerator(len(space), width=4).eval(), MapGenerator(len(space), width=4).eval()
    theirs.load_state_dict(ours.state_dict())
    with measuring_statistics(ours):
        for batch in batches:
            assert ours.training
            ours(batch)
    update_bn(batches, theirs)
    assert not ours.training
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[name]), name
    assert {part.momentum for part in ours.modules() if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d)} == {0.01}
