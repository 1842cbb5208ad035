import math

import numpy as np
import pytest
import torch

from shapes import SPACES
from vagan.attribution.controls import GradientMagnitude, GroupMeanDifference, RandomSmoothMap
from vagan.errors import ModelError


def interior(maps):
    return maps[(..., *(slice(1, -1) for _ in maps.shape[2:]))]


@pytest.mark.parametrize("space", SPACES)
def test_the_gradient_of_a_ramp_is_its_slope(space):
    slopes = [0.3, 0.4, 1.2][: len(space)]
    grids = torch.meshgrid(*(torch.arange(extent).float() for extent in space), indexing="ij")
    ramp = sum(slope * grid for slope, grid in zip(slopes, grids, strict=True))
    images = torch.stack([ramp, 2 * ramp, torch.ones(space)]).unsqueeze(1)
    found = interior(GradientMagnitude().attribute(images))
    length = math.sqrt(sum(slope**2 for slope in slopes))
    torch.testing.assert_close(found[0], torch.full_like(found[0], length))
    torch.testing.assert_close(found[1], torch.full_like(found[1], 2 * length))
    assert not found[2].any()


def test_edges_by_hand_and_channels_and_images_apart(rng):
    # Sobel over columns 1 | 3: differences over two pixels of 2, so a slope of 1 on both sides of the edge
    image = torch.tensor([1.0, 1.0, 3.0, 3.0]).expand(1, 1, 5, 4)
    assert GradientMagnitude().attribute(image)[0, 0, 2].tolist() == [0.0, 1.0, 1.0, 0.0]
    images = torch.randn(2, 3, 7, 8, generator=rng)
    found = GradientMagnitude().attribute(images)
    for image, maps in zip(images, found, strict=True):
        for plane, expected in zip(image, maps, strict=True):
            assert torch.equal(GradientMagnitude().attribute(plane[None, None])[0, 0], expected)


@pytest.mark.parametrize("space", SPACES)
def test_random_maps_belong_to_the_image_not_to_its_place(space, rng):
    images = torch.randn(3, 1, *space, generator=rng)
    method = RandomSmoothMap(5)
    together = method.attribute(images)
    assert torch.equal(method.attribute(images.flip(0)).flip(0), together)
    assert torch.equal(RandomSmoothMap(5).attribute(images[1:2]), together[1:2])
    assert not torch.allclose(RandomSmoothMap(6).attribute(images), together)
    changed = images.clone()
    changed[0].view(-1)[0] += 1e-3
    assert not torch.allclose(method.attribute(changed)[0], together[0])
    assert torch.equal(method.attribute(changed)[1:], together[1:])


def test_random_maps_have_unit_deviation_are_smooth_and_say_nothing_about_the_image(rng):
    images = torch.randn(2, 1, 64, 60, generator=rng)
    maps = RandomSmoothMap().attribute(images)
    for one in maps:
        assert one.std(correction=0).item() == pytest.approx(1, rel=1e-5)
    # noise smoothed with s has correlation exp(-1 / (4 s^2)) between neighbours
    neighbours = np.corrcoef(maps[..., 1:].flatten(), maps[..., :-1].flatten())[0, 1]
    assert neighbours == pytest.approx(math.exp(-1 / (4 * 2.5**2)), abs=0.01)
    images = torch.randn(40, 1, 32, 30, generator=rng)
    maps = RandomSmoothMap().attribute(images)
    correlations = [np.corrcoef(x.flatten(), m.flatten())[0, 1] for x, m in zip(images, maps, strict=True)]
    assert abs(np.mean(correlations)) < 0.03


@pytest.mark.parametrize("space", SPACES)
def test_group_mean_difference_is_brighter_where_the_class_is(space):
    baseline = torch.stack([torch.zeros(1, *space), torch.full((1, *space), 0.5)])
    interest = torch.full((3, 1, *space), 0.25)
    place = (slice(None), 0, *(1 for _ in space))
    interest[place] = torch.tensor([1.0, 2.0, 3.0])
    maps = GroupMeanDifference(baseline, interest).attribute(torch.zeros(4, 1, *space))
    assert maps[place].tolist() == [1.75] * 4
    maps[place] = 0  # and zero everywhere else
    assert not maps.any()


def test_mistakes_are_clear_errors():
    images = torch.zeros(2, 1, 7, 8)
    with pytest.raises(ModelError, match=r"\(1, 1, 7, 8\): found \(2, 3, 7, 8\)"):
        GroupMeanDifference(images, images).attribute(torch.zeros(2, 3, 7, 8))
