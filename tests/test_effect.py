import numpy as np
import pytest
import torch

from shapes import SPACES
from vagan.axes import identity_grid
from vagan.deformation import velocity
from vagan.effect import (
    Pose,
    added_effect,
    baseline_image,
    counterfactual_image,
    deformation,
    deforms,
    difference,
    effect_map,
    is_coarse,
    posed,
    raw_channels,
    velocity_of,
    with_effect,
    without_effect,
)

FORMS = ("add", "warp", "warp+add")
every_form = pytest.mark.parametrize("output", FORMS)


def raw_of(images, output):
    count = raw_channels(output, channels=images.shape[1], num_spatial_dims=images.ndim - 2)
    return torch.zeros(len(images), count, *images.shape[2:])


@every_form
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("space", SPACES)
def test_a_zero_map_leaves_the_image_exactly_as_it_is(output, space, channels, rng):
    images = torch.randn(2, channels, *space, generator=rng)
    assert torch.equal(baseline_image(images, raw_of(images, output), output), images)
    assert torch.equal(with_effect(images, images + 1, raw_of(images, output), output), images)


@every_form
@pytest.mark.parametrize("space", SPACES)
def test_a_map_that_is_zero_can_be_learnt_from(output, space, rng):
    images = torch.randn(2, 1, *space, generator=rng)
    raw = raw_of(images, output).requires_grad_()
    baseline_image(images, raw, output).square().sum().backward()
    assert all(raw.grad[:, channel].any() for channel in range(raw.shape[1]))


@every_form
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("space", SPACES)
def test_a_counterfactual_in_use_stays_in_the_range_of_images(output, space, channels, rng):
    images = torch.rand(2, channels, *space, generator=rng) * 2 - 1
    images[:, :, 0] = -1  # background
    raw = raw_of(images, output)
    raw += torch.randn(raw.shape, generator=rng)
    found, unclipped = counterfactual_image(images, raw, output), baseline_image(images, raw, output)
    assert torch.equal(found, unclipped.clamp(-1, 1))
    assert torch.equal(found, unclipped) == (output == "warp")
    torch.testing.assert_close(without_effect(images, effect_map(images, found)), found, rtol=0, atol=3e-7)


@every_form
@pytest.mark.parametrize("space", SPACES)
def test_pixels_that_are_out_of_range_already_are_no_effect(output, space, rng):
    images = 3 * torch.randn(2, 1, *space, generator=rng)
    assert torch.equal(counterfactual_image(images, raw_of(images, output), output), images)


@pytest.mark.parametrize("space", SPACES)
def test_the_effect_is_minus_the_map_and_positive_where_the_class_is_brighter(space, rng):
    healthy = torch.rand(2, 1, *space, generator=rng)
    disease = torch.zeros_like(healthy)
    disease[..., 2:4] = 0.5
    images, raw_map = healthy + disease, -disease
    effect = effect_map(images, baseline_image(images, raw_map))
    torch.testing.assert_close(effect, disease)
    torch.testing.assert_close(effect, -raw_map)


def test_effects_are_what_the_class_makes_brighter():
    earlier, later = np.array([0.0, 1.0]), np.array([0.5, 0.25])
    assert difference(later, earlier).tolist() == [0.5, -0.75]  # positive where the class made it brighter
    assert np.array_equal(without_effect(later, difference(later, earlier)), earlier)
    images, with_class = torch.zeros(1, 1, 2, 3) + 0.5, torch.zeros(1, 1, 2, 3) + 0.75
    assert torch.equal(added_effect(images, with_class), torch.full((1, 1, 2, 3), 0.25))
    images = torch.ones(1, 1, 2, 3)
    assert baseline_image(images, torch.zeros_like(images), "tanh").max() < 0.77


def bar(start, stop, length=40):
    """A bright bar across a dark image, along its second axis."""
    image = torch.full((1, 1, 6, length), -1.0)
    image[..., start:stop] = 1.0
    return image


class TestDeformation:
    """The class has moved a bar by three pixels, or shrunk it; the generator takes that back."""

    def shifted(self):
        raw = torch.zeros(1, 2, 6, 40)
        raw[:, 1] = 3.0  # y shows at p what x has at p + 3
        return bar(13, 20), raw

    def test_the_counterfactual_has_the_bar_where_it_would_be(self):
        images, raw = self.shifted()
        torch.testing.assert_close(baseline_image(images, raw, "warp"), bar(10, 17), rtol=0, atol=1e-5)

    def test_the_displacement_points_where_the_class_moved_it_and_no_volume_changed(self):
        _, raw = self.shifted()
        found = deformation(raw)
        expected = torch.zeros(1, 2, 6, 40)
        expected[:, 1] = 3.0
        torch.testing.assert_close(found.displacement, expected)
        assert not found.log_jacobian.any()

    def test_an_inserted_class_moves_what_is_there(self):
        _, raw = self.shifted()
        found = deformation(raw, insert=True)
        torch.testing.assert_close(found.displacement, -deformation(raw).displacement)  # from 13 to 10
        raw[:, 1] = 0.2 * (torch.arange(40.0) - 19.5)  # the class makes everything smaller
        assert (baseline_image(bar(10, 30), raw, "warp")[0, 0, 3] > 0).sum() in (16, 17)
        log_ratio = deformation(raw, insert=True).log_jacobian[..., 12:28]
        torch.testing.assert_close(log_ratio, torch.full_like(log_ratio, -0.2), rtol=0, atol=5e-3)

    def test_what_the_class_shrank_has_a_negative_log_jacobian(self):
        """Undoing it makes everything about the middle larger: y shows at p what x has nearer to the middle."""
        raw = torch.zeros(1, 2, 6, 40)
        raw[:, 1] = -0.2 * (torch.arange(40.0) - 19.5)
        wider = baseline_image(bar(15, 25), raw, "warp")
        assert (wider[0, 0, 3] > 0).sum() in (12, 13)  # 10 * exp(0.2) = 12.2
        log_ratio = deformation(raw).log_jacobian[..., 12:28]
        torch.testing.assert_close(log_ratio, torch.full_like(log_ratio, -0.2), rtol=0, atol=5e-3)
        # tissue right of the middle was farther from it, and was moved towards it
        assert (deformation(raw).displacement[0, 1, 3, 24:30] < 0).all()

    def test_what_is_added_is_added_after_the_deformation_and_both_are_undone(self):
        images, raw = self.shifted()
        added = torch.zeros_like(images)
        added[..., 2:5] = 0.25
        found = baseline_image(images, torch.cat([raw, added], dim=1), "warp+add")
        torch.testing.assert_close(found, bar(10, 17) + added, rtol=0, atol=1e-5)
        images, raw = self.shifted()
        added = torch.zeros_like(images)
        added[..., 22:25] = 0.25
        both = torch.cat([raw, added], dim=1)
        found = with_effect(bar(20, 30), images, both, "warp+add")
        torch.testing.assert_close(baseline_image(found, both, "warp+add"), bar(20, 30), rtol=0, atol=1e-5)

    def test_an_effect_is_transferred_as_a_movement_of_the_other_images_own_tissue(self):
        images, raw = self.shifted()
        found = with_effect(bar(20, 30), images, raw, "warp")
        torch.testing.assert_close(found, bar(23, 33), rtol=0, atol=1e-5)
        torch.testing.assert_close(baseline_image(found, raw, "warp"), bar(20, 30), rtol=0, atol=1e-5)

    def test_the_effect_of_an_additive_or_bounded_map_is_transferred(self, rng):
        images, others, raw = torch.randn(3, 2, 1, 7, 8, generator=rng)
        torch.testing.assert_close(with_effect(others, images, raw), others - raw)
        others, images, raw = (torch.full((1, 1, 2, 3), value) for value in (0.5, 0.0, 1.0))
        torch.testing.assert_close(with_effect(others, images, raw, "tanh"), others - torch.ones(1, 1, 2, 3).tanh())


def test_images_at_half_the_resolution_of_the_map_move_by_half_the_pixels():
    raw = torch.zeros(1, 2, 12, 80)
    raw[:, 1] = 6.0
    torch.testing.assert_close(baseline_image(bar(13, 20), raw, "warp"), bar(10, 17), rtol=0, atol=1e-5)
    torch.testing.assert_close(with_effect(bar(20, 30), bar(13, 20), raw, "warp"), bar(23, 33), rtol=0, atol=1e-5)


@pytest.mark.parametrize("output", ["warp", "warp+add"])
@pytest.mark.parametrize("space", SPACES)
def test_images_in_a_pose_are_interpolated_once(output, space, rng):
    """Half a pixel back and half a pixel on is no change; by two interpolations it would be a blur."""
    images = torch.rand(2, 1, *space, generator=rng)
    pose = Pose(images, identity_grid(images).repeat(2, *[1] * (len(space) + 1)) - 0.5)
    raw = raw_of(images, output)
    torch.testing.assert_close(baseline_image(posed(pose), raw, output, pose), posed(pose), rtol=0, atol=1e-5)
    raw[:, : len(space)], raw[:, len(space) :] = 0.5, 0.25
    inside = (..., *[slice(1, -1)] * len(space))
    found = baseline_image(posed(pose), raw, output, pose)[inside]
    torch.testing.assert_close(found, images[inside] + (0.25 if output == "warp+add" else 0), rtol=0, atol=1e-5)
    assert (baseline_image(posed(pose), raw, "warp")[inside] - images[inside]).abs().max() > 0.05 or output != "warp"


@pytest.mark.parametrize("output", ["warp", "warp+add"])
@pytest.mark.parametrize("space", SPACES)
def test_images_keep_their_precision_whatever_the_networks(output, space, rng):
    images = torch.rand(2, 1, *space, generator=rng, dtype=torch.double)
    raw = torch.randn(2, raw_of(images, output).shape[1], *space, generator=rng)
    for deformed in (baseline_image(images, raw, output), with_effect(images, images, raw, output)):
        assert deformed.dtype == torch.double


@pytest.mark.parametrize("space", SPACES)
def test_the_velocity_of_a_map_is_that_of_its_first_channels(space, rng):
    raw, added = torch.randn(2, len(space), *space, generator=rng), torch.randn(2, 1, *space, generator=rng)
    both, speed = torch.cat([raw, added], dim=1), velocity(raw)
    assert torch.equal(velocity_of(both), speed)
    assert torch.equal(velocity_of(raw), speed)


def test_which_outputs_deform_and_what_they_need_of_the_network():
    assert [form for form in ("add", "tanh", *FORMS) if deforms(form)] == ["warp", "warp+add"]
    assert raw_channels("add", channels=3, num_spatial_dims=2) == 3
    assert raw_channels("warp", channels=3, num_spatial_dims=2) == 2
    assert raw_channels("warp+add", channels=1, num_spatial_dims=3) == 4
    assert [form for form in ("add", "tanh", *FORMS) if is_coarse(form)] == ["warp"]
