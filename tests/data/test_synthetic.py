import numpy as np
import pytest
from scipy import ndimage

from vagan.data.cohort import Cohort
from vagan.data.sources.synthetic import effect_of_age, make_case, make_synthetic_cohort, square_regions


def test_an_image_is_the_noise_plus_100_in_the_squares():
    case = make_case(4, subtype="A", intensity="fixed", seed=1)
    difference = (case.image - case.counterfactual) * 300  # the fixed range spans 600 over [-1, 1]
    np.testing.assert_allclose(difference, 100 * case.effect, atol=1e-2)


def test_noise_has_the_papers_spread_and_smoothness():
    noise = np.stack([make_case(i, subtype="", intensity="fixed").image for i in range(20)]) * 300
    assert noise.std() == pytest.approx(50, rel=0.02)
    row = noise - noise.mean()
    lag = 4
    correlation = (row[:, lag:] * row[:, :-lag]).mean() / row.var()
    assert correlation == pytest.approx(np.exp(-(lag**2) / (4 * 2.5**2)), abs=0.05)  # Gaussian blur of white noise


@pytest.mark.parametrize(("subtype", "towards"), [("A", 1), ("B", -1)])
def test_the_second_square_lies_32_pixels_off_within_the_jitter(subtype, towards):
    offsets = []
    for index in range(60):
        labels, count = ndimage.label(make_case(index, subtype=subtype).effect)
        assert count == 2
        assert sorted(np.bincount(labels.ravel())[1:]) == [400, 400]
        centres = ndimage.center_of_mass(np.ones_like(labels), labels, [1, 2])
        distances = [np.abs(np.subtract(centre, 55.5)).max() for centre in centres]
        assert min(distances) == 0
        offsets.append(np.subtract(centres[int(np.argmax(distances))], 55.5))
    offsets = np.array(offsets) - towards * 32
    assert offsets.min() == -5
    assert offsets.max() == 4
    assert abs(np.corrcoef(offsets.T)[0, 1]) < 0.4  # each axis has its own jitter


def test_per_image_scaling_reaches_both_ends_and_costs_the_ceiling_of_the_paper_data():
    cases = [make_case(index, subtype="AB"[index % 2]) for index in range(60)]
    assert all(case.image.min() == -1 and case.image.max() == pytest.approx(1) for case in cases)
    exact = [np.corrcoef((c.image - c.counterfactual).ravel(), c.effect.ravel())[0, 1] for c in cases]
    assert np.mean(exact) == pytest.approx(0.972, abs=0.012)


def test_a_case_depends_on_its_index_and_seed_alone_and_shapes_keep_the_proportions():
    assert np.array_equal(make_case(7, subtype="A").image, make_case(7, subtype="A").image)
    assert not np.array_equal(make_case(7, subtype="A").image, make_case(8, subtype="A").image)
    assert not np.array_equal(make_case(7, subtype="A").image, make_case(7, subtype="A", seed=1).image)
    case = make_case(0, subtype="A", size=(56, 28, 56))
    labels, count = ndimage.label(case.effect)
    assert count == 2
    extents = [np.ptp(np.argwhere(labels == part), axis=0) + 1 for part in (1, 2)]
    assert [list(e) for e in extents] == [[10, 5, 10], [10, 5, 10]]


def test_both_subtypes_occur_in_every_part_in_equal_number(small_cohort):
    table = small_cohort.manifest.table
    counts = table[table["label"] == 1].groupby(["split", "subtype"]).size().unstack()
    assert set(counts.index) == {"train", "validation", "test"}
    assert (counts["A"] == counts["B"]).all()
    assert (table["split"] == "test").mean() == pytest.approx(0.2)
    assert (table["split"] == "validation").mean() == pytest.approx(0.16, abs=0.03)
    assert table.groupby("split")["label"].mean().eq(0.5).all()


def test_a_cohort_holds_the_cases_and_depends_on_its_seed(small_cohort, tmp_path):
    case = make_case(5, subtype="A", size=(24, 20), seed=3)
    assert np.array_equal(Cohort(small_cohort.path).images([5])[0, 0], case.image)
    assert np.array_equal(small_cohort.effects([5])[0, 0], case.effect)
    assert np.array_equal(small_cohort.counterfactuals([5])[0, 0], case.counterfactual)
    again = make_synthetic_cohort(tmp_path / "again", n=80, size=(24, 20), seed=3)
    other = make_synthetic_cohort(tmp_path / "other", n=80, size=(24, 20), seed=4)
    assert again.metadata.content_hash == small_cohort.metadata.content_hash
    assert other.metadata.content_hash != small_cohort.metadata.content_hash


@pytest.mark.parametrize("size", [(112, 112), (40, 56, 48)])
def test_the_regions_are_the_two_squares(size):
    effects = np.stack([make_case(index, subtype="AB"[index % 2], size=size).effect for index in range(4)])[:, None]
    parts = square_regions(effects)
    assert np.array_equal(parts["centre"] + parts["off-centre"], effects)
    assert parts["centre"].sum() == parts["off-centre"].sum() == effects.sum() / 2
    assert (parts["centre"][0] == parts["centre"][1]).all()
    assert (parts["off-centre"][0] != parts["off-centre"][1]).any()


@pytest.mark.parametrize("size", [(40, 30), (17, 20, 24)])
def test_age_makes_a_ring_brighter_and_leaves_the_disease_as_it_is(size):
    kind = {"subtype": "A", "size": size, "intensity": "fixed", "ageing": 40.0}
    old, young = (make_case(3, **kind, age=age) for age in (75.0, 60.0))
    ring = effect_of_age(size, ageing=40.0, years=15.0)
    assert ring.max() == pytest.approx(60, rel=0.01)  # 40 for ten years
    assert abs(ring[tuple(extent // 2 for extent in size)]) < 0.1
    np.testing.assert_allclose((old.image - young.image) * 300, ring, atol=1e-2)
    np.testing.assert_allclose((old.counterfactual - young.counterfactual) * 300, ring, atol=1e-2)
    assert np.array_equal(old.effect, young.effect)
    without = make_case(3, subtype="A", size=size, intensity="fixed")
    assert np.array_equal(make_case(3, **kind).image, without.image)  # at 70


def test_ages_are_in_the_manifest_and_the_class_is_older(tmp_path, small_cohort):
    cohort = make_synthetic_cohort(tmp_path / "aged", n=400, size=(16, 17), ageing=40.0, seed=3)
    ages = cohort.manifest.table["age"].astype(float)
    of_class = ages.groupby(cohort.manifest.table["label"])
    assert of_class.mean().diff()[1] == pytest.approx(8, abs=2.5)
    assert of_class.std().to_numpy() == pytest.approx(8, rel=0.15)
    assert "age" not in small_cohort.manifest.table
