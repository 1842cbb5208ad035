"""Deformations with answers known beforehand: shifts, scalings, and maps with a matrix exponential."""

import pytest
import torch

from shapes import SPACES
from vagan.deformation import (
    BLOCK,
    displacement_penalty,
    integrate_velocity,
    log_volume_ratio,
    smoothness_penalty,
    velocity,
    warp,
)

EVEN = [(36, 32), (32, 28, 30)]
"""Large enough for an interior that no border reaches."""

every_space = pytest.mark.parametrize("space", SPACES)
every_even_space = pytest.mark.parametrize("space", EVEN)


def places(space):
    return torch.stack(torch.meshgrid(*[torch.arange(extent, dtype=torch.double) for extent in space], indexing="ij"))


def linear(matrix, space):
    """The field ``matrix @ (p - centre)``."""
    centre = (torch.tensor(space).double() - 1).reshape(-1, *[1] * len(space)) / 2
    return torch.einsum("ij,j...->i...", matrix, places(space) - centre)[None]


def inside(field, margin=6):
    return field[(..., *(slice(margin, -margin) for _ in range(field.ndim - 2)))]


def smooth_raw(space, rng, size=1.0):
    coarse = torch.randn(2, len(space), *[4] * len(space), generator=rng) * size
    mode = {2: "bilinear", 3: "trilinear"}[len(space)]
    return torch.nn.functional.interpolate(coarse, space, mode=mode, align_corners=True)


def displacement_of(raw):
    return integrate_velocity(velocity(raw), tuple(raw.shape[2:]))


class TestWarp:
    @every_space
    @pytest.mark.parametrize("channels", [1, 3])
    def test_no_displacement_no_change_not_even_by_rounding(self, space, channels, rng):
        images = torch.randn(2, channels, *space, generator=rng)
        assert torch.equal(warp(images, torch.zeros(2, len(space), *space)), images)

    @every_space
    @pytest.mark.parametrize("axis", [0, -1])
    def test_a_shift_of_whole_pixels_shows_what_lies_there_and_background_beyond(self, space, axis, rng):
        images = torch.rand(2, 1, *space, generator=rng)
        displacement = torch.zeros(2, len(space), *space)
        displacement[:, axis] = 2.0
        expected = torch.full_like(images, -1.0)
        if axis == 0:
            expected[:, :, :-2] = images[:, :, 2:]
        else:
            expected[..., :-2] = images[..., 2:]
        torch.testing.assert_close(warp(images, displacement), expected, rtol=0, atol=1e-5)

    def test_half_a_pixel_is_the_mean_of_two_and_at_the_border_of_the_last_and_the_background(self):
        images = torch.tensor([[[[0.0, 0.4, 1.0], [0.2, 0.2, 0.6]]]])
        displacement = torch.zeros(1, 2, 2, 3)
        displacement[:, 1] = 0.5
        expected = torch.tensor([[[[0.2, 0.7, 0.0], [0.2, 0.4, -0.2]]]])
        torch.testing.assert_close(warp(images, displacement), expected, rtol=0, atol=1e-6)

    @every_space
    def test_derivatives(self, space, rng):
        images = torch.rand(1, 2, *space, generator=rng, dtype=torch.double, requires_grad=True)
        # between the pixels, where linear interpolation has a derivative
        displacement = torch.rand(1, len(space), *space, generator=rng, dtype=torch.double) * 0.8 + 0.1
        assert torch.autograd.gradcheck(warp, (images, displacement.requires_grad_()), fast_mode=True)


class TestFollow:
    @every_space
    def test_a_uniform_velocity_moves_everything_by_itself_and_rest_nothing(self, space):
        """Also in images whose extent is odd, and at their border."""
        speed = torch.arange(1.0, 1 + len(space)).reshape(1, -1, *[1] * len(space)).expand(1, len(space), *space)
        torch.testing.assert_close(displacement_of(speed), speed)
        assert not displacement_of(torch.zeros(1, len(space), *space)).any()

    @every_even_space
    def test_a_linear_velocity_gives_the_matrix_exponential(self, space):
        # a rotation, a shear, a shrinkage
        matrix = torch.tensor([[0.0, -0.2, 0.1], [0.2, -0.1, 0.0], [0.0, 0.0, -0.2]]).double()
        matrix = matrix[: len(space), : len(space)]
        found = displacement_of(linear(matrix, space))
        expected = linear(torch.linalg.matrix_exp(matrix) - torch.eye(len(space)), space)
        torch.testing.assert_close(inside(found), inside(expected), rtol=0, atol=2e-2)
        # to first order the answer would be another
        assert (inside(found) - inside(linear(matrix, space))).abs().max() > 0.1

    @every_even_space
    def test_backwards_is_the_inverse(self, space, rng):
        coarse = velocity(smooth_raw(space, rng))
        forth, back = integrate_velocity(coarse, space), integrate_velocity(-coarse, space)
        there_and_back = forth + warp(back + 1, forth) - 1  # p -> p + back(p), then forth; +1: background is 0
        assert inside(there_and_back).abs().mean() < 0.05 * inside(forth).abs().mean()
        assert inside(there_and_back).abs().max() < 0.2
        assert inside(forth).abs().max() > 1

    @every_even_space
    def test_space_never_folds_where_the_same_field_as_displacement_would(self, space, rng):
        raw = smooth_raw(space, rng, size=6.0)
        slopes = torch.stack([c.movedim(1, -1) for c in torch.gradient(raw, dim=list(range(2, raw.ndim)))], dim=-1)
        assert torch.linalg.det(slopes + torch.eye(len(space))).min() < 0
        assert log_volume_ratio(displacement_of(raw)).min() > -6.9

    @every_space
    def test_derivatives(self, space, rng):
        raw = torch.randn(1, len(space), *space, generator=rng, dtype=torch.double, requires_grad=True)
        assert torch.autograd.gradcheck(displacement_of, (raw,), fast_mode=True)


class TestVolume:
    @every_space
    def test_of_an_affine_map_it_is_the_log_determinant_everywhere(self, space):
        torch.manual_seed(2)
        matrix = torch.rand(len(space), len(space)).double() * 0.3
        found = log_volume_ratio(linear(matrix, space))
        expected = torch.linalg.det(matrix + torch.eye(len(space))).log()
        torch.testing.assert_close(found, expected.expand_as(found))

    def test_hand_worked(self):
        """Twice as long along the second axis, half along the third."""
        matrix = torch.diag(torch.tensor([0.0, 1.0, -0.5])).double()
        torch.testing.assert_close(log_volume_ratio(linear(matrix, (4, 5, 6))).abs().max().item(), 0.0)
        matrix[2, 2] = 0.0
        found = log_volume_ratio(linear(matrix, (4, 5, 6)))
        torch.testing.assert_close(found, torch.full_like(found, 2.0).log())
        folded = linear(torch.diag(torch.tensor([-2.0, 0.0])).double(), (5, 6))
        torch.testing.assert_close(log_volume_ratio(folded).max().exp().item(), 1e-3)

    @every_even_space
    def test_following_a_linear_velocity_changes_it_by_the_trace(self, space):
        matrix = torch.diag(torch.tensor([0.1, -0.25, 0.05])[: len(space)]).double()
        found = log_volume_ratio(displacement_of(linear(matrix, space)))
        torch.testing.assert_close(inside(found), matrix.trace().expand_as(inside(found)), rtol=0, atol=1e-2)


class TestRoughness:
    @every_space
    def test_a_shift_costs_movement_and_no_roughness(self, space):
        assert smoothness_penalty(velocity(torch.full((1, len(space), *space), 3.0))) == 0
        shift = torch.zeros(1, len(space), *space)
        shift[:, 1] = -3.0
        torch.testing.assert_close(displacement_penalty(velocity(shift)).item(), 3.0 / len(space))

    def test_hand_worked(self):
        """A shear of 0.5 pixels a pixel: one of four slopes."""
        raw = linear(torch.tensor([[0.0, 0.5], [0.0, 0.0]]).double(), (8, 6))
        torch.testing.assert_close(smoothness_penalty(velocity(raw)).item(), 0.5**2 / 4)

    @every_space
    def test_one_vector_stands_for_a_block(self, space, rng):
        raw = torch.randn(1, len(space), *space, generator=rng)
        coarse = velocity(raw)
        assert coarse.shape[2:] == tuple(-(-extent // BLOCK) for extent in space)
        first = raw[(..., *[slice(0, BLOCK)] * len(space))]
        torch.testing.assert_close(coarse[(..., *[0] * len(space))], first.flatten(2).mean(-1))
