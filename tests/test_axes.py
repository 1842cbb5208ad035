import pytest
import torch

from shapes import SPACES
from vagan import axes


@pytest.mark.parametrize("space", SPACES)
def test_reductions_equal_a_loop_over_samples(space, rng):
    tensor = torch.randn(3, 2, *space, generator=rng, dtype=torch.float64).float()
    norms = torch.stack([sample.square().sum().sqrt() for sample in tensor])
    torch.testing.assert_close(axes.per_sample_norm(tensor), norms)
    torch.testing.assert_close(axes.per_sample_mean(tensor), torch.stack([sample.mean() for sample in tensor]))
    torch.testing.assert_close(axes.per_sample_sum(tensor), torch.stack([sample.sum() for sample in tensor]))


@pytest.mark.parametrize("space", SPACES)
def test_expanded_scores_scale_each_sample_by_its_own(space, rng):
    tensor = torch.randn(3, 2, *space, generator=rng)
    scores = torch.tensor([1.0, -2.0, 0.0])
    scaled = tensor * axes.expand_like(scores, tensor)
    for sample, score, original in zip(scaled, scores, tensor, strict=True):
        assert torch.equal(sample, original * score)


def test_norm_along_first_spatial_axis_is_that_of_columns():
    tensor = torch.zeros(1, 1, 2, 3)
    tensor[0, 0, :, 1] = torch.tensor([3.0, 4.0])
    assert axes.norm_along_first_spatial_axis(tensor).tolist() == [[[0.0, 5.0, 0.0]]]


@pytest.mark.parametrize("space", SPACES)
def test_padding_reaches_the_multiple_and_cropping_undoes_it(space, rng):
    tensor = torch.randn(2, 1, *space, generator=rng)
    padded = axes.pad_to_multiple(tensor, 4)
    assert axes.spatial_shape(padded) == tuple(-(-extent // 4) * 4 for extent in space)
    assert torch.equal(axes.crop_to(padded, space), tensor)
    assert torch.equal(padded[..., -1], padded[..., space[-1] - 1])  # the border is repeated


def test_an_image_that_fits_is_not_copied():
    tensor = torch.zeros(1, 1, 8, 16)
    assert axes.pad_to_multiple(tensor, 8) is tensor


@pytest.mark.parametrize("space", SPACES)
def test_channels_and_batches_join_along_their_own_axes(space):
    ones, twos = torch.ones(2, 1, *space), torch.full((2, 1, *space), 2.0)
    assert axes.concatenate_channels(ones, twos).shape == (2, 2, *space)
    assert axes.concatenate_batches(ones, twos).shape == (4, 1, *space)
    assert axes.num_spatial_dims(ones) == len(space)
