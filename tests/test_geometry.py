import numpy as np
import pytest
from scipy.linalg import polar
from scipy.ndimage import map_coordinates

from heads import rotation
from vagan.geometry import Grid, bounds_of, largest_piece, nearest_rigid, resample, transform_points

GRID = Grid((7, 8, 9), np.array([[2.0, 0, 0, -5], [0, 1.5, 0, 3], [0, 0, 3, 7], [0, 0, 0, 1]]))


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32)


def test_a_grid_knows_its_spacing_center_and_voxel():
    assert GRID.spacing_mm == pytest.approx([2, 1.5, 3])
    assert GRID.center_mm == pytest.approx([1, 8.25, 19])
    assert GRID.voxel_ml == pytest.approx(0.009)
    assert Grid.upright(GRID.shape, GRID.spacing_mm, GRID.center_mm).affine == pytest.approx(GRID.affine)
    spanned = Grid.spanning((-4, 0, 1), (4, 5, 7), 2.0)
    assert repr(spanned.shape) == "(5, 4, 4)"
    assert spanned.affine == pytest.approx(np.array([[2, 0, 0, -4], [0, 2, 0, 0], [0, 0, 2, 1], [0, 0, 0, 1]]))
    oblique = np.array([[0, 2.0, 0, 5], [-1, 0, 0.5, 6], [0, 0, 3, 7], [0, 0, 0, 1]])
    assert Grid((4, 5, 6), oblique).coordinates()[:, 3, 1, 5] == pytest.approx((oblique @ [3, 1, 5, 1])[:3])
    mirrored = Grid(GRID.shape, GRID.affine @ np.diag([-1.0, 1, 1, 1]))
    assert mirrored.voxel_ml == pytest.approx(GRID.voxel_ml)
    part = mirrored.box((1, 2, 3), (4, 8, 5))
    assert part.shape == (3, 6, 2)
    assert transform_points(part.affine, (0, 0, 0)) == pytest.approx(transform_points(mirrored.affine, (1, 2, 3)))
    assert part.spacing_mm == pytest.approx(mirrored.spacing_mm)
    mask = np.zeros((5, 6, 7), bool)
    mask[1, 2, 3] = mask[3, 2, 5] = True
    low, high = bounds_of(mask)
    assert low.tolist() == [1, 2, 3]
    assert high.tolist() == [4, 3, 6]


def test_crops_pads_flips_and_permutations_are_exact(values):
    wide = GRID.box((-2, -1, -3), (9, 8, 13))
    padded = resample(values, GRID, wide, outside=-7.0)
    assert padded.shape == (11, 9, 16)
    assert np.array_equal(padded[2:9, 1:, 3:12], values)
    assert (padded[:2] == -7).all()
    assert np.array_equal(resample(padded, wide, GRID), values)
    # Places that miss a voxel by the last digit would mix in its neighbours, or lie outside.
    grid = Grid.upright(GRID.shape, (0.7, 1.1, 0.9), (-31.7, 17.3, 45.1))
    part, wide = grid.box((1, 2, 0), (7, 8, 9)), grid.box((-2, -1, -3), (9, 8, 13))
    assert np.array_equal(resample(values, grid, part, outside=-7.0), values[1:, 2:])
    assert np.array_equal(resample(values, grid, wide, outside=-7.0)[2:9, 1:, 3:12], values)
    turned = Grid((9, 7, 8), GRID.affine @ np.array([[0, -1, 0, 6], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]]))
    there = resample(values, GRID, turned)
    assert np.array_equal(there, np.transpose(values[::-1], (2, 0, 1)))
    assert np.array_equal(resample(there, turned, GRID), values)


def test_interpolation_is_that_of_an_independent_one_and_keeps_linear_functions(values):
    pose = rotation((10, -7, 20))
    onto = Grid.upright((5, 6, 4), (1.7, 2.1, 2.9), (0, 8, 18))
    got = resample(values, GRID, onto, pose)
    places = np.moveaxis(np.indices(onto.shape), 0, -1)
    voxels = transform_points(
        np.linalg.inv(GRID.affine), transform_points(pose, transform_points(onto.affine, places))
    )
    want = map_coordinates(values, np.moveaxis(voxels, -1, 0), order=1, mode="constant")
    assert got == pytest.approx(want, abs=1e-5)
    places = transform_points(GRID.affine, np.moveaxis(np.indices(GRID.shape), 0, -1))
    ramp = (places @ (0.3, -0.2, 0.1)).astype(np.float32)
    onto = Grid.upright((3, 4, 3), (1.1, 0.9, 2.2), GRID.center_mm)
    inner = transform_points(onto.affine, np.moveaxis(np.indices(onto.shape), 0, -1))
    assert resample(ramp, GRID, onto) == pytest.approx(inner @ (0.3, -0.2, 0.1), abs=1e-4)


def test_fine_stripes_vanish_on_a_coarse_grid_instead_of_turning_into_wide_ones():
    grid = Grid.upright((48, 48, 48), 1.0, (0, 0, 0))
    stripes = np.broadcast_to((np.arange(48) % 2)[:, None, None], grid.shape).astype(np.float32)
    coarse = resample(stripes, grid, Grid.upright((9, 9, 9), 4.0, (0.3, 0, 0)))
    assert coarse == pytest.approx(np.full((9, 9, 9), 0.5), abs=0.01)


def test_before_a_coarser_grid_resolution_is_lowered_along_that_axis_alone(values):
    """Widths at half height add as squares: 4 mm from 1 mm needs sqrt(4^2 - 1^2) mm. The border is repeated."""
    grid = Grid((40, 7, 8), np.eye(4))
    long = np.random.default_rng(1).normal(size=grid.shape).astype(np.float32)
    onto = Grid((10, 7, 8), np.diag([4.0, 1.0, 1.0, 1.0]))
    sigma = np.sqrt(4**2 - 1**2) / (2 * np.sqrt(2 * np.log(2)))
    reach = round(4 * sigma)
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    padded = np.pad(long, [(reach, reach), (0, 0), (0, 0)], mode="edge")
    smooth = np.apply_along_axis(np.convolve, 0, padded, weights / weights.sum(), "valid")
    assert resample(long, grid, onto) == pytest.approx(smooth[::4], abs=1e-5)


def test_up_to_one_and_a_half_times_the_spacing_nothing_is_smoothed(values):
    grid = Grid(GRID.shape, np.eye(4))
    onto = Grid((5, 8, 9), np.diag([1.5, 1.0, 1.0, 1.0]))
    assert resample(values, grid, onto)[::2] == pytest.approx(values[::3], abs=1e-6)


def test_the_nearest_voxels_values_are_none_but_those_that_were_there(values):
    onto = Grid.upright((3, 2, 5), 4.3, GRID.center_mm)
    nearest = resample(values, GRID, onto, order=0)
    assert np.isin(nearest, values).all()
    mask = values > 0
    assert np.array_equal(resample(mask, GRID, onto, order=0), nearest > 0)


def test_cubic_interpolation_finds_a_parabola_between_the_voxels_where_linear_does_not():
    grid = Grid((41, 3, 4), np.eye(4))
    parabola = np.broadcast_to(np.arange(41.0)[:, None, None] ** 2, grid.shape).astype(np.float32)
    onto = Grid((3, 3, 4), np.array([[1.0, 0, 0, 19.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    assert resample(parabola, grid, onto, order=3)[:, 1, 1] == pytest.approx([19.5**2, 20.5**2, 21.5**2], abs=1e-2)
    assert resample(parabola, grid, onto)[:, 1, 1] == pytest.approx([380.5, 420.5, 462.5])


def test_the_nearest_rigid_map():
    sheared = rotation((10, 20, -30))
    sheared[:3, :3] = sheared[:3, :3] @ [[1.1, 0.2, 0], [0, 0.8, -0.1], [0.05, 0, 1.3]]
    assert nearest_rigid(sheared, (1, 2, 3))[:3, :3] == pytest.approx(polar(sheared[:3, :3])[0])
    rigid = rotation((10, 20, -30))
    rigid[:3, 3] = (4, 5, 6)
    assert nearest_rigid(rigid, (1, 2, 3)) == pytest.approx(rigid)
    similarity = rotation((10, 20, -30))
    similarity[:3, :3] *= 1.3
    similarity[:3, 3] = (4, 5, 6)
    rigid = nearest_rigid(similarity, (1, 2, 3))
    assert rigid[:3, :3] == pytest.approx(similarity[:3, :3] / 1.3)
    assert transform_points(rigid, (1, 2, 3)) == pytest.approx(transform_points(similarity, (1, 2, 3)))


def test_the_largest_piece_of_a_mask():
    mask = np.array([[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1]], bool)
    for given, piece in ((mask, mask & (np.arange(3)[:, None] > 0)), (mask & ~mask, mask & ~mask)):
        assert np.array_equal(largest_piece(given), piece)
