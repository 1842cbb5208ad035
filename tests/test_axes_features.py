import math

import pytest
import torch

from shapes import SPACES
from vagan import axes


@pytest.mark.parametrize("space", SPACES)
def test_feature_reductions_equal_loops(space, rng):
    features = torch.randn(3, 2, *space, generator=rng)
    weights = torch.randn(3, 2, generator=rng)
    means = [[feature.mean() for feature in sample] for sample in features]
    torch.testing.assert_close(axes.spatial_mean(features), torch.tensor(means))
    sums = [w[0] * sample[0] + w[1] * sample[1] for w, sample in zip(weights, features, strict=True)]
    torch.testing.assert_close(axes.weighted_channel_sum(features, weights), torch.stack(sums)[:, None])
    torch.testing.assert_close(axes.batch_mean(features), (features[0] + features[1] + features[2])[None] / 3)
    assert axes.num_channels(features) == 2


def test_classes_are_columns():
    logits = torch.tensor([[0.0, math.log(3.0)], [1.0, 1.0]])
    assert axes.class_column(logits, 1).tolist() == [pytest.approx(math.log(3.0)), 1.0]
    torch.testing.assert_close(axes.class_probabilities(logits), torch.tensor([[0.25, 0.75], [0.5, 0.5]]))


@pytest.mark.parametrize("space", SPACES)
def test_forward_differences_of_a_ramp_are_its_slopes(space):
    slopes = [10.0, 1.0, 0.5][: len(space)]
    grids = torch.meshgrid(*(torch.arange(extent).float() for extent in space), indexing="ij")
    ramp = sum(slope * grid for slope, grid in zip(slopes, grids, strict=True))[None, None]
    differences = axes.forward_differences(ramp)
    for axis, (difference, slope) in enumerate(zip(differences, slopes, strict=True)):
        shorter = [extent - (i == axis) for i, extent in enumerate(space)]
        torch.testing.assert_close(difference, torch.full((1, 1, *shorter), slope))


@pytest.mark.parametrize("space", SPACES)
def test_block_means_undo_the_repetition_of_each_pixel_as_a_block(space, rng):
    images = torch.randn(2, 3, *space, generator=rng)
    repeated = axes.repeat_blocks(images, 2)
    assert repeated.shape == (2, 3, *(2 * extent for extent in space))
    last = (..., *[-1] * len(space))
    assert torch.equal(repeated[last], images[last])
    torch.testing.assert_close(axes.block_means(repeated, 2), images)


@pytest.mark.parametrize("space", SPACES)
def test_linear_resizing_keeps_ramps_inside_and_covers_the_same_field_of_view(space):
    ramp = torch.arange(space[0]).float().reshape(1, 1, -1, *[1] * (len(space) - 1)).expand(1, 1, *space)
    doubled = axes.resize_linear(ramp, tuple(2 * extent for extent in space))
    line = doubled.flatten(3).mean(-1)[0, 0]
    expected = ((torch.arange(2 * space[0]) + 0.5) / 2 - 0.5).clamp(0, space[0] - 1)
    torch.testing.assert_close(line, expected)


@pytest.mark.parametrize("space", SPACES)
def test_first_channels_are_the_first(space, rng):
    features = torch.randn(3, 4, *space, generator=rng)
    assert torch.equal(axes.first_channels(features, 2), features[:, :2])
    assert torch.equal(axes.first_channels(features[..., 0], 3), features[:, :3, ..., 0])


@pytest.mark.parametrize("dims", [2, 3])
def test_places_are_turned_and_shifted_one_by_one(dims, rng):
    places = axes.identity_grid(torch.zeros(1, 1, *range(2, 2 + dims)))
    matrix = torch.randn(dims, dims, generator=rng, dtype=torch.float64)
    offset = torch.arange(1, dims + 1, dtype=torch.float64)
    moved = axes.transform_coordinates(places, matrix, offset)
    assert moved.dtype == places.dtype
    for found, place in zip(moved[0].flatten(1).T, places[0].flatten(1).T, strict=True):
        torch.testing.assert_close(found, matrix.float() @ place + offset.float())
