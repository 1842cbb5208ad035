"""What every step must keep, and what each one does."""

import dataclasses
from typing import Literal

import numpy as np
import pytest
from pydantic import ValidationError

from heads import ball
from vagan.errors import ImageFileError, PreprocessingError
from vagan.geometry import Grid, resample, transform_points
from vagan.preprocessing.brain import STRIPPERS, StripSkull, find_brain
from vagan.preprocessing.pipeline import STEPS as KNOWN_STEPS
from vagan.preprocessing.pipeline import Pipeline, make_pipeline
from vagan.preprocessing.registration import Register
from vagan.preprocessing.scan import Scan, Step
from vagan.preprocessing.steps import Conform, CorrectBias, CropField, Rescale

BELIEVING = {"brain_ml": (100.0, 5000.0), "second_opinion": False}
STEPS = [
    CropField(margin_mm=7),
    CropField(margin_mm=7, finest_mm=6.5),
    StripSkull(method="none", **BELIEVING),
    CorrectBias(within="head", shrink=2, iterations=(10, 10)),
    Conform(spacing_mm=7.0, shape=(17, 19, 16), center_mm=(0, 0, 0)),
    Rescale(),
]
"""All but registration, which has a file of its own tests."""


@pytest.fixture
def scan():
    """A ball in air that is not quite empty."""
    array, affine = ball()
    noise = np.random.default_rng(1).normal(2, 0.3, array.shape).astype(np.float32)
    return Scan(np.where(array > 0, array, noise.clip(0)), Grid(array.shape, affine))


@pytest.fixture
def brain(scan):
    return dataclasses.replace(scan, mask=scan.image > 50)


def brightness_around(scan, place, radius_mm=13.0):
    """Mean intensity around a place in mm of the scan's grid."""
    places = transform_points(scan.grid.affine, np.moveaxis(np.indices(scan.image.shape), 0, -1))
    return scan.image[np.linalg.norm(places - place, axis=-1) < radius_mm].mean()


class TestEveryStep:
    @pytest.fixture(params=STEPS, ids=lambda step: step.step)
    def step(self, request):
        return request.param

    def test_what_it_does_with_the_brain(self, step, brain):
        before = (brain.image.copy(), brain.mask.copy(), brain.grid.affine.copy())
        after, facts = step.apply(brain)
        for now, then in zip((brain.image, brain.mask, brain.grid.affine), before, strict=True):
            assert np.array_equal(now, then)
        assert after.image.shape == after.grid.shape == after.mask.shape
        assert after.image.dtype == np.float32
        assert np.isfinite(after.image).all()
        assert all(isinstance(value, str | float | int | list) for value in facts.values())
        after, _ = step.apply(brain)
        left = brightness_around(after, (-25, 10, 5))  # where the ball is brighter
        others = [brightness_around(after, place) for place in ((25, 10, 5), (-25, -30, 5), (-25, 10, -35))]
        inside = after.image[after.mask]
        assert left - max(others) > 0.15 * (inside.max() - inside.min())
        center = transform_points(after.grid.affine, np.argwhere(after.mask).mean(axis=0))
        assert center == pytest.approx(np.zeros(3), abs=1)
        assert Pipeline.model_validate(Pipeline(steps=(step,)).model_dump(mode="json")).steps == (step,)

    def test_its_way_back_returns_a_smooth_field(self, step, brain):
        after, _ = step.apply(brain)
        places = transform_points(brain.grid.affine, np.moveaxis(np.indices(brain.image.shape), 0, -1))
        field = np.cos(places / 40).prod(axis=-1).astype(np.float32)
        back = resample(resample(field, brain.grid, after.grid), after.grid, brain.grid)
        inside = brain.mask
        assert np.corrcoef(field[inside], back[inside])[0, 1] > 0.98


class TestCropField:
    def test_it_keeps_the_height_below_the_top_and_the_margin(self, scan):
        cropped, facts = CropField(height_mm=70, margin_mm=7).apply(scan)
        assert 55 <= (scan.grid.affine[2, 3] + 7.0 * (facts["to_voxel"][2] - 1)) <= 55 + 3 * 7
        assert 70 <= cropped.image.shape[2] * 7.0 <= 70 + 4 * 7

    def test_needlessly_fine_voxels_become_larger_and_the_head_stays(self, brain):
        coarser, _ = CropField(margin_mm=7, finest_mm=6.5).apply(brain)
        assert coarser.grid.spacing_mm == pytest.approx([6.5, 6.5, 7.0])
        assert coarser.image.shape == coarser.mask.shape == coarser.grid.shape
        assert coarser.brain_ml == pytest.approx(brain.brain_ml, rel=0.02)
        same, _ = CropField(margin_mm=7, finest_mm=5.0).apply(brain)
        assert same.grid.spacing_mm == pytest.approx([5, 6, 7])


def test_rescaling_hand_worked(brain):
    image = np.zeros_like(brain.image)
    image[brain.mask] = np.linspace(0, 100, brain.mask.sum())
    scaled, facts = Rescale(percentiles=(10, 90)).apply(brain.with_image(image))
    assert (facts["low"], facts["high"]) == pytest.approx((10, 90), abs=0.1)
    assert scaled.image[~brain.mask] == pytest.approx(-1)
    assert scaled.image[brain.mask][brain.mask.sum() // 2] == pytest.approx(0, abs=0.01)
    assert (scaled.image.min(), scaled.image.max()) == (-1, 1)
    _, facts = Rescale(percentiles=(5, 95), within="volume").apply(brain)
    assert facts["low"] == 0
    assert facts["high"] == pytest.approx(np.percentile(np.where(brain.mask, brain.image, 0), 95))


def test_a_known_shading_goes(brain):
    flat = np.where(brain.mask, 100.0, 0).astype(np.float32)
    noise = np.random.default_rng(0).normal(1, 0.02, flat.shape)
    shading = np.exp(np.tensordot((0.004, -0.003, 0.002), brain.grid.coordinates(), 1))
    shaded = (flat * noise * shading).astype(np.float32)
    corrected, facts = CorrectBias(shrink=1, iterations=(50, 50)).apply(brain.with_image(shaded))
    before, after = (np.log(image[brain.mask]).std() for image in (shaded, corrected.image))
    assert after < 0.4 * before
    assert facts["field_sd"] > 0.05


class TestStripSkull:
    def test_a_mask_that_came_with_the_scan_is_kept(self, brain):
        after, facts = StripSkull(method="robex", **BELIEVING).apply(brain)
        assert after.mask is brain.mask
        assert facts["used"] == "given"

    def test_the_other_one_is_asked_where_the_first_is_not_believed(self, scan, monkeypatch):
        everything = lambda image, grid: np.ones(image.shape, bool)  # noqa: E731
        right = lambda image, grid: image > 50  # noqa: E731
        monkeypatch.setitem(STRIPPERS, "robex", everything)
        monkeypatch.setitem(STRIPPERS, "deepbet", right)
        after, facts = StripSkull(method="robex", brain_ml=(500, 1000)).apply(scan)
        assert facts["used"] == "deepbet"
        assert facts["refused"] == "robex"
        assert facts["refused_ml"] > 1000
        assert np.array_equal(after.mask, scan.image > 50)

    def test_what_both_found_is_told_where_neither_is_believed(self, scan, monkeypatch):
        for name in ("deepbet", "robex"):
            monkeypatch.setitem(STRIPPERS, name, lambda image, grid: np.zeros(image.shape, bool))
        with pytest.raises(PreprocessingError, match="deepbet and robex found 0"):
            StripSkull().apply(scan)


class TestCommand:
    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("nosuchprogram {input} {mask}", "not installed"),
            ("true {input}", "name its files"),
            ("true '{input} {mask}", "shell"),
        ],
    )
    def test_a_command_that_cannot_work_is_told_at_once(self, line, words, scan):
        with pytest.raises(PreprocessingError, match=words):
            find_brain(f"command: {line}", scan)

    def test_a_program_that_fails_is_told_with_its_last_words(self, scan):
        with pytest.raises(PreprocessingError, match="code 3 .*too dark"):
            find_brain("command: sh -c 'echo too dark >&2; exit 3' {input} {mask}", scan)


def test_a_registration_that_resembles_too_little_is_told(brain, monkeypatch):
    monkeypatch.setattr("vagan.preprocessing.registration.load_template", lambda *_: None)
    monkeypatch.setattr("vagan.preprocessing.registration.register", lambda *_: (np.eye(4), 0.49))
    with pytest.raises(PreprocessingError, match=r"correlation 0.5 or more\), found 0.49"):
        Register().apply(brain)


@pytest.mark.parametrize(
    ("step", "image", "words"),
    [
        (CropField(), 0.0, "air"),
        (Rescale(), 1.0, "contrast"),
        (StripSkull(method="none", second_opinion=False), None, "800 to 2000 ml"),
        (StripSkull(method="given"), None, "mask is required for each scan"),
        (StripSkull(method="betty"), None, "'betty'"),
        (Register(), None, "strip-skull"),
    ],
)
def test_a_step_that_cannot_work_says_what_is_required(step, image, words, scan):
    unusable = scan if image is None else scan.with_image(np.full_like(scan.image, image))
    with pytest.raises((ImageFileError, PreprocessingError), match=words):
        step.apply(unusable)


class TestPipelines:
    def test_the_key_changes_with_every_setting(self):
        settings = [
            {},
            {"preset": "paper"},
            {"dof": 6},
            {"strip": "robex"},
            {"spacing_mm": 2.6},
            {"shape": (64, 80, 56)},
        ]
        assert len({make_pipeline(**each).key for each in settings}) == len(settings)
        assert make_pipeline().key == make_pipeline().key

    def test_the_papers_tools_and_constants(self):
        steps = {step.step: step for step in make_pipeline("paper").steps}
        assert list(steps) == ["crop-field", "correct-bias", "strip-skull", "register", "conform", "rescale"]
        assert steps["strip-skull"].method == "robex"
        assert steps["register"].dof == 7
        assert steps["conform"].grid.shape == (128, 160, 112)
        assert steps["conform"].grid.spacing_mm == pytest.approx(1.3)
        assert (steps["rescale"].percentiles, steps["rescale"].within) == ((5, 95), "volume")


class Invert(Step):
    """A step of a user's own."""

    step: Literal["invert"] = "invert"
    about: float = 0.0

    def apply(self, scan):
        return scan.with_image(2 * self.about - scan.image), {}


def test_a_step_of_ones_own_is_recorded_and_found_again(scan, monkeypatch):
    pipeline = Pipeline(steps=(Invert(about=3.0), Rescale()))
    assert np.array_equal(pipeline.steps[0].apply(scan)[0].image, 6 - scan.image)
    record = pipeline.model_dump(mode="json")
    assert record["steps"][0] == {"step": "invert", "about": 3.0}
    with pytest.raises(ValidationError, match="invert"):
        Pipeline.model_validate(record)
    monkeypatch.setitem(KNOWN_STEPS, "invert", Invert)
    assert Pipeline.model_validate(record) == pipeline
    assert Pipeline.model_validate(record).key == pipeline.key
