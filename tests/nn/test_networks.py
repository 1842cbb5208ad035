import pytest
import torch
from torch import nn

from shapes import NETWORK_SPACES
from vagan.axes import binomial_filter, block_means, crop_to, repeat_blocks
from vagan.nn.classifier import CAMClassifier, Classifier
from vagan.nn.critic import Critic
from vagan.nn.layers import GlobalContext
from vagan.nn.unet import MapGenerator


def convolutions(network):
    kinds = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    return [module for module in network.modules() if isinstance(module, kinds)]


@pytest.mark.parametrize("dims", [2, 3])
def test_the_critic_is_the_papers_and_one_of_patches_begins_at_the_second_level(dims):
    layers = convolutions(Critic(dims))
    assert [layer.out_channels for layer in layers] == [16, 32, 64, 64, 128, 128, 256, 256, 256, 1]
    assert {layer.kernel_size[0] for layer in layers[:-1]} == {3}
    assert layers[-1].kernel_size == (1,) * dims
    assert not any("Norm" in type(module).__name__ for module in Critic(dims).modules())
    layers = convolutions(Critic(dims, patch_size=2, max_width=64))
    assert [layer.out_channels for layer in layers] == [16, 32, 32, 64, 64, 64, 64, 64, 1]
    assert layers[0].in_channels == 2**dims


@pytest.mark.parametrize("dims", [2, 3])
def test_the_generator_is_the_papers(dims):
    generator = MapGenerator(dims)
    layers = convolutions(generator)
    down = [(layer.in_channels, layer.out_channels) for layer in layers if "Transpose" not in type(layer).__name__]
    assert down == [
        (1, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128),
        (80, 64), (64, 64), (48, 32), (32, 32), (32, 16), (16, 1),
    ]  # fmt: skip
    up = [layer for layer in layers if "Transpose" in type(layer).__name__]
    assert [(layer.in_channels, layer.out_channels) for layer in up] == [(128, 16), (64, 16), (32, 16)]
    assert {layer.kernel_size[0] for layer in up} == {4}
    norms = [module for module in generator.modules() if "BatchNorm" in type(module).__name__]
    assert len(norms) == len(layers) - 1
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


@pytest.mark.parametrize("space", NETWORK_SPACES)
@pytest.mark.parametrize("conditions", [0, 2])
def test_a_coarse_map_has_one_value_for_each_block_and_the_shape_of_the_images(space, conditions, rng):
    options = {"outputs": 3, "width": 2, "zero_init": False, "coarse": True, "conditions": conditions}
    images = torch.randn(2, 1, *space, generator=rng)
    for checkpointing in (False, True):
        generator = MapGenerator(len(space), gradient_checkpointing=checkpointing, **options)
        maps = generator(images, torch.eye(2) if conditions else None)
        assert maps.shape == (2, 3, *space)
        torch.testing.assert_close(crop_to(repeat_blocks(block_means(maps, 2), 2), space), maps)
        maps.square().sum().backward()
        assert all(weight.grad.any() for weight in generator.parameters() if weight.ndim > 1)


@pytest.mark.parametrize("space", NETWORK_SPACES)
@pytest.mark.parametrize("patch_size", [1, 2])
def test_trained_on_blocks_it_maps_images_at_their_full_resolution(space, patch_size, rng):
    """A velocity of one pixel in training is one of two pixels of the image."""
    options = {"outputs": len(space), "width": 2, "zero_init": False, "coarse": True, "patch_size": patch_size}
    in_training, in_use = (
        MapGenerator(len(space), downsampling=2, downsampled=one, **options).eval() for one in (True, False)
    )
    plain = MapGenerator(len(space), **options | {"coarse": False}).eval()
    for network in (in_use, plain):
        network.load_state_dict(in_training.state_dict())
    images = torch.randn(2, 1, *space, generator=rng)
    blocks = block_means(images, 2)
    maps = in_use(images)
    assert maps.shape == (2, len(space), *space)
    torch.testing.assert_close(maps, crop_to(in_training(blocks), space))
    torch.testing.assert_close(in_training(blocks), 2 * repeat_blocks(plain(blocks), 2))


@pytest.mark.parametrize("space", NETWORK_SPACES)
def test_a_network_of_patches_sees_each_pixel_and_gives_each_a_value_of_its_own(space, rng):
    generator = MapGenerator(len(space), width=2, patch_size=2, zero_init=False).eval()
    images = torch.randn(1, 1, *space, generator=rng).requires_grad_()
    maps = generator(images)
    assert maps.shape == images.shape
    maps.square().sum().backward()
    assert (images.grad != 0).double().mean() > 0.9
    assert (maps.diff(dim=-1) != 0).double().mean() > 0.9


@pytest.mark.parametrize("space", NETWORK_SPACES)
def test_a_smoothing_critic_scores_filtered_images(space, rng):
    critic, smoothing = Critic(len(space), width=2), Critic(len(space), width=2, smoothing=True)
    smoothing.load_state_dict(critic.state_dict())
    images = torch.randn(2, 1, *space, generator=rng)
    torch.testing.assert_close(smoothing(images), critic(binomial_filter(images)))


@pytest.mark.parametrize("space", NETWORK_SPACES)
def test_a_classifier_of_blocks_classifies_images_at_their_full_resolution(space, rng):
    in_training, in_use = (
        CAMClassifier(len(space), width=2, downsampling=2, downsampled=one).eval() for one in (True, False)
    )
    in_use.load_state_dict(in_training.state_dict())
    images = torch.randn(2, 1, *space, generator=rng)
    torch.testing.assert_close(in_use(images), in_training(block_means(images, 2)))


@pytest.mark.parametrize("space", NETWORK_SPACES)
@pytest.mark.parametrize("channels", [1, 3])
def test_maps_have_the_shape_of_the_images_and_are_zero_at_first(space, channels, rng):
    images = torch.randn(2, channels, *space, generator=rng)
    for zero in (True, False):
        maps = MapGenerator(len(space), channels=channels, width=2, zero_init=zero)(images)
        assert maps.shape == images.shape
        assert maps.any() != zero


@pytest.mark.parametrize("space", NETWORK_SPACES)
def test_an_odd_size_gives_the_map_of_the_image_padded_by_its_border(space, rng):
    generator = MapGenerator(len(space), width=2, zero_init=False).eval()
    images = torch.randn(1, 1, *space, generator=rng)
    padding = [amount for extent in reversed(space) for amount in (0, -extent % 8)]
    whole = generator(nn.functional.pad(images, padding, mode="replicate"))
    torch.testing.assert_close(generator(images), whole[(..., *(slice(extent) for extent in space))])


@pytest.mark.parametrize("patch_size", [1, 2])
@pytest.mark.parametrize("space", NETWORK_SPACES)
def test_critic_scores_each_image_by_itself(space, patch_size, rng):
    critic = Critic(len(space), width=2, patch_size=patch_size)
    images = torch.randn(3, 1, *space, generator=rng)
    together = critic(images)
    torch.testing.assert_close(together, torch.cat([critic(image[None]) for image in images]), rtol=1e-4, atol=1e-6)


def test_initial_weights_are_he_normal():
    for layer, fan_in in ((convolutions(Critic(2))[5], 128 * 9), (Classifier(2, shape=(32, 32)).dense[1], 512 * 4)):
        assert layer.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.02)
    assert not convolutions(Critic(2))[5].bias.any()


@pytest.mark.parametrize(("context", "seen"), [(True, True), (False, False)])
def test_global_context_connects_opposite_corners(context, seen):
    torch.manual_seed(0)
    # not in training, in which batch norm looks at the whole image too
    generator = MapGenerator(2, width=2, global_context=context, zero_init=False).eval()
    images = torch.randn(1, 1, 160, 168).requires_grad_()
    generator(images)[..., :8, :8].square().sum().backward()
    assert images.grad[..., -8:, -8:].any() == seen


@pytest.mark.parametrize("space", NETWORK_SPACES)
def test_context_adds_one_number_to_each_feature_map(space, rng):
    context = GlobalContext(3)
    features = torch.randn(2, 3, *space, generator=rng)
    added = context(features) - features
    numbers = torch.stack([context.dense(feature.flatten(1).mean(1)) for feature in features])
    torch.testing.assert_close(added.flatten(2), numbers[..., None].expand(2, 3, features[0, 0].numel()))
