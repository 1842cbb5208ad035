import numpy as np
import pytest
import torch

from vagan.axes import identity_grid
from vagan.effect import Pose, posed
from vagan.training.augmentation import changes_images, random_pose
from vagan.training.config import Augmentation, Config
from vagan.training.image_cache import ImageCache, ShuffledImages

SHAPES = [(40, 52), (20, 26, 23)]


def deformed(image, variation, random):
    return posed(Pose(image, random_pose(tuple(image.shape[2:]), variation, random)))


def places_of(variation, shape, seed):
    """Where each pixel comes from, read off images that show their own places; the middle half alone."""
    ramps = identity_grid(torch.zeros(1, 1, *shape))[0]
    middle = tuple(slice(extent // 4, -(extent // 4)) for extent in shape)
    found = [deformed(ramp[None, None], variation, np.random.default_rng(seed))[0, 0][middle] for ramp in ramps]
    return torch.stack(found).double(), torch.stack([ramp[middle] for ramp in ramps]).double()


def affine_of(variation, shape, seed):
    """Least-squares matrix and offset of the places, and what is left."""
    found, own = (places.flatten(1).T.numpy() for places in places_of(variation, shape, seed))
    middle = (np.array(shape) - 1) / 2
    design = np.column_stack([own - middle, np.ones(len(own))])
    solution, *_ = np.linalg.lstsq(design, found - middle, rcond=None)
    return solution[:-1].T, solution[-1], np.abs(design @ solution - (found - middle)).max()


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_changed_by_default_and_the_border_goes_on_beyond_the_image(shape):
    image, flat = torch.rand(1, 2, *shape), torch.full((1, 1, *shape), -0.7)
    assert not changes_images(Augmentation())
    assert torch.allclose(deformed(image, Augmentation(), np.random.default_rng(0)), image, atol=1e-5)
    much = Augmentation(rotation_degrees=20.0, translation=9.0, scale=0.2, elastic=3.0)
    assert torch.allclose(deformed(flat, much, np.random.default_rng(1)), flat)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_rotation_keeps_lengths_and_the_middle(shape):
    found = [affine_of(Augmentation(rotation_degrees=5.0), shape, seed) for seed in range(60)]
    for matrix, offset, rest in found:
        assert np.allclose(matrix @ matrix.T, np.eye(len(shape)), atol=1e-4)
        assert np.linalg.det(matrix) > 0
        assert np.allclose(offset, 0, atol=1e-4)
        assert rest < 1e-3
    angles = np.rad2deg([np.arcsin((matrix[0, 1] - matrix[1, 0]) / 2) for matrix, _, _ in found])
    assert 3.5 < angles.std() < 6.5


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stretch_acts_along_each_axis_alone_and_a_shift_moves_the_whole_image(shape):
    found = [affine_of(Augmentation(scale=0.05), shape, seed)[0] for seed in range(60)]
    sizes = np.log([np.diag(matrix) for matrix in found])
    assert np.allclose([matrix - np.diag(np.diag(matrix)) for matrix in found], 0, atol=1e-4)
    assert np.allclose(sizes.std(0), 0.05, rtol=0.3)
    assert abs(np.corrcoef(sizes.T)[0, 1]) < 0.4
    found = [affine_of(Augmentation(translation=1.5), shape, seed) for seed in range(60)]
    assert np.allclose([matrix for matrix, _, _ in found], np.eye(len(shape)), atol=1e-4)
    assert np.allclose(np.std([offset for _, offset, _ in found], axis=0), 1.5, rtol=0.3)


@pytest.mark.parametrize("shape", SHAPES)
def test_bends_have_their_size_and_are_smooth(shape):
    moves = []
    for seed in range(60):
        found, own = places_of(Augmentation(elastic=0.8), shape, seed)
        moves.append((found - own).numpy())
    assert np.allclose(np.std(moves, axis=0).mean(), 0.8, rtol=0.15)
    assert np.diff(np.stack(moves), axis=-1).std() < 0.08  # a wave of thirty pixels would have 0.17


def test_a_stream_varies_each_image_anew_and_can_be_entered_anywhere(small_cohort):
    rows = small_cohort.manifest.indices("train")[:3]
    bank = ImageCache(small_cohort, rows, memory_bytes=2**30)
    stream = ShuffledImages(bank, rows, Config(augmentation=Augmentation(translation=2.0)), purpose="x")
    drawn = stream.draw(0, 12).images
    assert len({image.numpy().tobytes() for image in drawn}) == 12
    assert torch.equal(stream.draw(5, 4).images, drawn[5:9])
