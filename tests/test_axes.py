import itertools
import math

import numpy as np
import pytest
import torch

from shapes import SPACES
from vagan import axes


@pytest.mark.parametrize("space", SPACES)
def test_reductions_and_expansions_equal_a_loop_over_samples(space, rng):
    tensor = torch.randn(3, 2, *space, generator=rng, dtype=torch.float64).float()
    norms = torch.stack([sample.square().sum().sqrt() for sample in tensor])
    torch.testing.assert_close(axes.per_sample_norm(tensor), norms)
    torch.testing.assert_close(axes.per_sample_mean(tensor), torch.stack([sample.mean() for sample in tensor]))
    torch.testing.assert_close(axes.per_sample_sum(tensor), torch.stack([sample.sum() for sample in tensor]))
    tensor = torch.randn(3, 2, *space, generator=rng)
    scores = torch.tensor([1.0, -2.0, 0.0])
    scaled = tensor * axes.expand_like(scores, tensor)
    for sample, score, original in zip(scaled, scores, tensor, strict=True):
        assert torch.equal(sample, original * score)
    features = torch.randn(3, 2, *space, generator=rng)
    weights = torch.randn(3, 2, generator=rng)
    means = [[feature.mean() for feature in sample] for sample in features]
    torch.testing.assert_close(axes.spatial_mean(features), torch.tensor(means))
    sums = [w[0] * sample[0] + w[1] * sample[1] for w, sample in zip(weights, features, strict=True)]
    torch.testing.assert_close(axes.weighted_channel_sum(features, weights), torch.stack(sums)[:, None])
    torch.testing.assert_close(axes.batch_mean(features), (features[0] + features[1] + features[2])[None] / 3)
    assert axes.num_channels(features) == 2


@pytest.mark.parametrize("space", SPACES)
def test_padding_reaches_the_multiple_and_cropping_undoes_it(space, rng):
    tensor = torch.randn(2, 1, *space, generator=rng)
    padded = axes.pad_to_multiple(tensor, 4)
    assert axes.spatial_shape(padded) == tuple(-(-extent // 4) * 4 for extent in space)
    assert torch.equal(axes.crop_to(padded, space), tensor)
    assert torch.equal(padded[..., -1], padded[..., space[-1] - 1])  # the border is repeated
    tensor = torch.zeros(1, 1, 8, 16)
    assert axes.pad_to_multiple(tensor, 8) is tensor
    padded = axes.pad_to_multiple(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 2)
    assert padded.tolist() == [[[[1.0, 2.0, 3.0, 3.0], [1.0, 2.0, 3.0, 3.0]]]]


@pytest.mark.parametrize("space", SPACES)
def test_only_the_chosen_images_are_mirrored_along_the_axis_and_twice_is_not_at_all(space, rng):
    images = torch.randn(3, 2, *space, generator=rng)
    before, chosen = images.clone(), np.array([True, False, True])
    mirrored = axes.mirrored(images, chosen, 1)
    for image, original, flip in zip(mirrored, before, chosen, strict=True):
        first_line, last_line = original[:, :, 0], original[:, :, -1]  # across the second spatial axis
        assert torch.equal(image[:, :, 0], last_line if flip else first_line)
    assert torch.equal(images, before)
    assert torch.equal(axes.mirrored(mirrored, chosen, 1), before)


@pytest.mark.parametrize("space", SPACES)
def test_mean_and_spread_are_over_members_and_the_spread_is_that_of_a_sample(space):
    members = axes.stack_members(*(torch.full((2, 1, *space), value) for value in (1.0, 2.0, 6.0)))
    assert members.shape == (3, 2, 1, *space)
    assert torch.equal(axes.member_mean(members), torch.full((2, 1, *space), 3.0))
    # ((1 - 3)^2 + (2 - 3)^2 + (6 - 3)^2) / (3 - 1) = 7
    torch.testing.assert_close(axes.member_std(members), torch.full((2, 1, *space), 7**0.5))


@pytest.mark.parametrize("space", SPACES)
def test_with_channels_last_the_channels_of_a_pixel_are_neighbours_in_memory(space):
    images = torch.zeros(2, 3, *space).contiguous(memory_format=axes.channels_last(len(space)))
    assert images.stride()[1] == 1


@pytest.mark.parametrize("space", SPACES)
def test_matrices_take_the_unit_vectors_to_the_columns(space, rng):
    columns = [torch.randn(2, len(space), *space, generator=rng) for _ in space]
    matrices = axes.matrices_of(columns)
    for unit, column in zip(torch.eye(len(space)), columns, strict=True):
        torch.testing.assert_close(matrices @ unit, column.movedim(1, -1))


@pytest.mark.parametrize("space", SPACES)
def test_channels_and_batches_join_and_split_along_their_own_axes(space, rng):
    one, two = torch.randn(2, 1, *space, generator=rng), torch.randn(2, 2, *space, generator=rng)
    first, second = axes.split_channels(axes.concatenate_channels(one, two), 1, 2)
    assert torch.equal(first, one)
    assert torch.equal(second, two)
    assert torch.equal(axes.as_channel(one[:, 0]), one)
    ones, twos = torch.ones(2, 1, *space), torch.full((2, 1, *space), 2.0)
    assert axes.concatenate_channels(ones, twos).shape == (2, 2, *space)
    assert axes.concatenate_batches(ones, twos).shape == (4, 1, *space)
    assert axes.num_spatial_dims(ones) == len(space)
    features = torch.randn(3, 4, *space, generator=rng)
    assert torch.equal(axes.first_channels(features, 2), features[:, :2])
    assert torch.equal(axes.first_channels(features[..., 0], 3), features[:, :3, ..., 0])


@pytest.mark.parametrize("space", SPACES)
def test_at_their_own_places_images_are_themselves_and_beyond_the_border_zero_or_the_nearest(space, rng):
    images = torch.randn(2, 3, *space, generator=rng)
    places = axes.identity_grid(images)
    assert [places[(0, axis, *range(1, 1 + len(space)))].item() for axis in range(len(space))] == [
        *range(1, 1 + len(space))
    ]
    torch.testing.assert_close(axes.sample_linear(images, places, outside="zeros"), images)
    beyond = places + torch.tensor([100.0] + [0.0] * (len(space) - 1)).reshape(1, -1, *[1] * len(space))
    assert not axes.sample_linear(images, beyond, outside="zeros").any()
    nearest = axes.sample_linear(images, beyond, outside="border")
    torch.testing.assert_close(nearest, images[:, :, -1:].expand_as(images))


@pytest.mark.parametrize("space", SPACES)
def test_what_is_made_anew_is_made_on_the_images_device(space):
    """The device that only keeps shapes refuses to mix with the processor's memory."""
    from vagan.deformation import integrate_velocity, log_volume_ratio, velocity, warp

    raw = torch.empty(2, len(space), *space, device="meta")
    moved = integrate_velocity(velocity(raw), space)
    assert {tensor.device.type for tensor in (moved, warp(raw, moved), log_volume_ratio(moved))} == {"meta"}


def test_classes_are_columns_and_norms_along_the_first_axis_those_of_columns():
    logits = torch.tensor([[0.0, math.log(3.0)], [1.0, 1.0]])
    assert axes.class_column(logits, 1).tolist() == [pytest.approx(math.log(3.0)), 1.0]
    torch.testing.assert_close(axes.class_probabilities(logits), torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    tensor = torch.zeros(1, 1, 2, 3)
    tensor[0, 0, :, 1] = torch.tensor([3.0, 4.0])
    assert axes.norm_along_one_axis(tensor).tolist() == [[[0.0, 5.0, 0.0]]]


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
    torch.testing.assert_close(line, ((torch.arange(2 * space[0]) + 0.5) / 2 - 0.5).clamp(0, space[0] - 1))


@pytest.mark.parametrize("dims", [2, 3])
def test_places_are_turned_and_shifted_one_by_one(dims, rng):
    places = axes.identity_grid(torch.zeros(1, 1, *range(2, 2 + dims)))
    matrix = torch.randn(dims, dims, generator=rng, dtype=torch.float64)
    offset = torch.arange(1, dims + 1, dtype=torch.float64)
    moved = axes.transform_coordinates(places, matrix, offset)
    assert moved.dtype == places.dtype
    for found, place in zip(moved[0].flatten(1).T, places[0].flatten(1).T, strict=True):
        torch.testing.assert_close(found, matrix.float() @ place + offset.float())


@pytest.mark.parametrize("space", [(4, 6), (4, 6, 8)])
def test_space_to_depth_takes_each_block_as_channels(space):
    images = torch.arange(2 * 3 * math.prod(space)).reshape(2, 3, *space).float()
    blocks = axes.space_to_depth(images, 2)
    assert blocks.shape == (2, 3 * 2 ** len(space), *(extent // 2 for extent in space))
    offsets = list(itertools.product(range(2), repeat=len(space)))
    for channel, index in itertools.product(range(3), range(len(offsets))):
        every_other = (slice(None), channel, *(slice(start, None, 2) for start in offsets[index]))
        assert torch.equal(blocks[:, channel * len(offsets) + index], images[every_other])
    assert axes.space_to_depth(images, 1).equal(images)


@pytest.mark.parametrize("space", [(4, 6), (4, 6, 2)])
def test_depth_to_space_undoes_space_to_depth(space, rng):
    images = torch.rand(2, 3, *space, generator=rng)
    assert torch.equal(axes.depth_to_space(axes.space_to_depth(images, 2), 2), images)


@pytest.mark.parametrize("space", SPACES)
def test_a_binomial_filter_spreads_a_pixel_by_products_of_a_quarter_and_a_half_and_keeps_ramps(space):
    image = torch.zeros(1, 2, *space)
    image[(0, 0, *[3] * len(space))] = 1
    found = axes.binomial_filter(image)
    weights = torch.tensor([0.25, 0.5, 0.25])
    expected = weights[:, None] * weights if len(space) == 2 else weights[:, None, None] * weights[:, None] * weights
    torch.testing.assert_close(found[(0, 0, *[slice(2, 5)] * len(space))], expected)
    assert found.sum().item() == pytest.approx(1)
    ramp = axes.identity_grid(image)
    inside = (..., *[slice(1, -1)] * len(space))
    torch.testing.assert_close(axes.binomial_filter(ramp)[inside], ramp[inside])
    assert axes.binomial_filter(ramp)[(0, 0, *[0] * len(space))].item() == pytest.approx(0.25)  # (0 + 0 + 0 + 1) / 4


def test_of_a_volume_the_slice_with_most_evidence_is_shown_and_images_are_shown_whole(rng):
    images, evidence = torch.rand(2, 1, 2, 3, 4, generator=rng), torch.zeros(2, 1, 2, 3, 4)
    evidence[0, 0, 0, 0, 0], evidence[0, 0, 1, 2, 3], evidence[1, 0, :, 0, 1] = 3, -5, 2
    shown = axes.largest_axial_slice(images, evidence)
    for found, volumes in zip(shown, (images, evidence), strict=True):
        assert torch.equal(found, torch.stack([volumes[0, ..., 3:], volumes[1, ..., 1:2]]))
    assert torch.equal(axes.largest_axial_slice(images[..., 0], evidence[..., 0])[0], images[..., 0])
