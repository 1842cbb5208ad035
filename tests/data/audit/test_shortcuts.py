"""Shortcuts that were planted are found, and none where there are none."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tables import table_of, write_made_up
from vagan.data.audit import shortcuts as module
from vagan.data.audit.shortcuts import border, coarse, confounder_table, corners, find_confounders, frequencies
from vagan.data.schema import CohortCase
from vagan.errors import CohortError


def tag(image, rng):
    image[..., :3, -3:] = 0.9


def small_tag(image, rng):
    image[..., -1, 0] = 0.6


def shift(image, rng):
    image += 0.15


def stripe(image, rng):
    image[..., rng.integers(image.shape[-2]), :] += 0.3


def grating(image, rng):
    image += 0.1 * np.cos(np.arange(image.shape[-2]) * 2.2 + rng.uniform(0, 6))[:, None]


def lesion(image, rng):
    middle = tuple(slice(extent // 2 - 2, extent // 2 + 3) for extent in image.shape[1:])
    image[(..., *middle)] += 0.5


def noise_cohort(path, space=(24, 20), *, plant=None, count=120, seed=0, per_subject=1, **columns):
    """Smooth noise in two classes that do not differ but for what is planted in nine of ten of the second."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.permutation(np.arange(count // per_subject) % 2), per_subject)
    images = rng.normal(size=(count, 1, *space))
    images = np.stack([[gaussian_filter(image[0], 1.5)] for image in images])
    images = (0.25 * images / images.std()).clip(-0.7, 0.7).astype(np.float32)
    for row in np.flatnonzero(labels):
        if plant is not None and rng.random() < 0.9:
            plant(images[row], rng)
    columns = {name: make(labels, rng) for name, make in columns.items()}
    table = table_of(labels, subject=[f"s{n // per_subject}" for n in range(count)], **columns)
    return write_made_up(path, table, lambda row: CohortCase(images[row].clip(-1, 1)))


def found(cohort):
    return {entry.probe.name for entry in find_confounders(cohort) if entry.is_found}


@pytest.mark.parametrize(
    ("plant", "where"),
    [
        (tag, {"corners", "border"}),
        (small_tag, {"corners"}),
        (shift, {"border", "brightness", "coarse image"}),
        (stripe, {"frequencies"}),
        (grating, {"frequencies"}),
    ],
)
def test_what_was_planted_is_found(plant, where, tmp_path):
    assert where <= found(noise_cohort(tmp_path / "c", plant=plant))


def test_an_effect_in_the_middle_is_no_certain_confounder(tmp_path):
    findings = find_confounders(noise_cohort(tmp_path / "c", plant=lesion))
    seen = {entry.probe.name for entry in findings if entry.is_found}
    assert "brightness" in seen
    assert not {entry.probe.name for entry in findings if entry.is_found and not entry.probe.may_be_the_class}
    lines = confounder_table(findings, "healthy")
    assert not [line for line in lines if line.startswith("warning")]
    assert any("unless the class" in line for line in lines if line.startswith("perhaps: brightness"))


def test_false_alarms_are_as_rare_as_promised(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHUFFLES", 119)
    alarms = [bool(found(noise_cohort(tmp_path / f"{n}", count=80, seed=n))) for n in range(20)]
    assert sum(alarms) <= 3


def test_many_images_of_few_subjects_are_no_evidence(tmp_path):
    """Subjects differ; twenty images of each must not make ten of them a difference of classes."""

    rng = np.random.default_rng(0)
    features = np.repeat(rng.uniform(60, 80, 10), 20)[:, None]
    labels, subjects = np.repeat([0, 1] * 5, 20), np.repeat(np.arange(10).astype(str).astype(object), 20)
    auc, chance, p_value = module._separability(features, labels, subjects, tests=1, seed=0)
    assert p_value > module.CHANCE or auc <= module.LARGE
    assert chance > 0.7  # of two hundred independent images it would be 0.57


def test_volumes_with_something_in_the_background(tmp_path):
    plain = noise_cohort(tmp_path / "c", (18, 16, 17), count=60)
    images, labels = plain.images(np.arange(60)).numpy(), plain.manifest.table["label"]
    outside = np.ones(images.shape[1:], bool)
    outside[:, 6:12, 5:11, 5:12] = False
    images[:, outside] = -1
    images[labels == 1, :, 2:4, 1:3, 1:4] = -0.7
    cohort = write_made_up(tmp_path / "masked", plain.manifest.table, lambda row: CohortCase(images[row]))
    findings = {entry.probe.name: entry for entry in find_confounders(cohort)}
    assert findings["outside"].is_found
    assert not findings["corners"].is_found


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(CohortError, match="at least 20 training images of each class .*'healthy' has 15"):
        find_confounders(noise_cohort(tmp_path / "c", count=30))


class TestParts:
    def test_corners_border_and_coarse_image_by_hand(self):
        image = np.zeros((1, 1, 16, 24), np.float32)
        image[0, 0, 14:, 21:] = [[1, 1, 1], [1, 1, 7]]
        assert corners(image).shape == (1, 16)
        assert corners(image)[0, :12].tolist() == [0] * 12
        assert corners(image)[0, 12:] == pytest.approx([2, np.std([1, 1, 1, 1, 1, 7]), 1, 7])
        image = np.zeros((1, 1, 32, 7), np.float32)
        image[0, 0, -2:] = 3
        of_sides = border(image).reshape(4, 4)
        assert of_sides[0].tolist() == [0, 0, 0, 0]
        assert of_sides[1].tolist() == [3, 0, 3, 3]
        assert of_sides[2, 0] == of_sides[3, 0] == pytest.approx(3 * 2 / 32)
        images = np.random.default_rng(0).normal(size=(2, 3, 16, 24)).astype(np.float32)
        np.testing.assert_allclose(coarse(images).mean(axis=1), images.mean((1, 2, 3)), atol=1e-6)
        assert coarse(images[..., None][..., [0] * 8]).shape == (2, 64)

    def test_a_stripe_shows_along_its_own_axis_alone(self):
        waves = np.cos(2 * np.pi * 6 / 24 * np.arange(24))
        image = np.tile(waves[:, None], (1, 20))[None, None].astype(np.float32)
        of_rings, first, second = np.split(frequencies(image)[0], 3)
        assert first.argmax() == of_rings.argmax() == 4  # a quarter of a pixel's frequency, in bands of a sixteenth
        assert first.max() == pytest.approx(np.log(2 * (24 * 20 / 2) ** 2), rel=1e-4)
        assert second.max() < 0


def test_check_tells_it(tmp_path, capsys):
    from vagan.cli.check import check

    noise_cohort(tmp_path / "c", plant=tag)
    check(tmp_path / "c", confounders=True)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[0] == "probe" for line in lines)
    assert any(line.startswith("warning: corners") for line in lines)
    assert lines[-1].startswith("no file is defective")
