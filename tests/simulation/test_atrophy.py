import numpy as np
import pandas as pd
import pytest

from vagan.data.audit.defects import find_problems
from vagan.geometry import Grid
from vagan.simulation.base import REGIONS, _shading
from vagan.simulation.fields import integrate_velocity, sample, smooth_noise
from vagan.simulation.morphology import REGION_GRID
from vagan.simulation.simulation import Simulation, prepared_grid
from vagan.simulation.study import make_atrophy_cohort, measure, simulate_scan, start_executor
from vagan.simulation.subject import ANATOMY, Subject, Visit, anatomy_velocity, draw_subject

SMALL = Grid.upright((9, 8, 11), 2.0, (5, 8, 30))
COARSE = prepared_grid(5.2)
HEALTHY = dict.fromkeys(REGIONS, 0.0)


@pytest.fixture(scope="module")
def simulation():
    return Simulation.on("mni152", seed=5)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return make_atrophy_cohort(tmp_path_factory.mktemp("atrophy") / "cohort", subjects=20, spacing_mm=8.0, jobs=1)


def jacobian_of(warp):
    """Determinant of the map's derivative at the grid's voxels: positive where space does not fold."""
    rows = [np.stack(np.gradient(part, warp.grid.spacing_mm[0])) for part in warp.displacement_mm]
    return np.linalg.det(np.moveaxis(np.stack(rows), (0, 1), (-2, -1)) + np.eye(3))


def with_disease(**log_volumes):
    """A person of the template's size with this disease."""
    visits = (Visit("ses-01", 70.0, HEALTHY), Visit("ses-02", 72.0, HEALTHY, log_volumes))
    return Subject(1, "F", 1.0, "hippocampal", 1.0, visits)


def test_sampling_is_exact_for_what_is_linear_and_keeps_axes_apart():
    x, y, z = SMALL.coordinates()
    values = np.stack([2 * x - 3 * y + 5 * z, z])
    finer = np.diag([0.7, 0.9, 1.1, 1]) + np.outer([-1, 2, 21, 0], [0, 0, 0, 1])
    at = Grid((5, 6, 7), finer).coordinates()
    sampled = sample(values, SMALL, at)
    np.testing.assert_allclose(sampled, np.stack([2 * at[0] - 3 * at[1] + 5 * at[2], at[2]]), rtol=1e-5)
    far = at + np.float32(1000)
    assert (sample(values, SMALL, far, outside="zeros") == 0).all()
    np.testing.assert_allclose(sample(values, SMALL, far)[1], z.max(), rtol=1e-6)


def test_the_flow_of_a_constant_velocity_is_a_shift_and_of_a_linear_one_an_exponential():
    grid = Grid.spanning((-40, -30, -35), (40, 30, 35), 2.0)
    x, y, z = grid.coordinates()
    constant = np.broadcast_to(np.float32([1.5, -0.5, 0]).reshape(3, 1, 1, 1), (3, *grid.shape))
    shift = integrate_velocity(constant, grid, outside="border")
    np.testing.assert_allclose(shift.displacement_mm[:, 20, 15, 17], [1.5, -0.5, 0], atol=1e-5)
    growth = integrate_velocity(np.stack([0.1 * x, -0.05 * y, 0 * z]), grid, outside="border")
    inside = (slice(8, -8),) * 3
    np.testing.assert_allclose(growth.displacement_mm[0][inside], (np.exp(0.1) - 1) * x[inside], atol=4e-3)
    np.testing.assert_allclose(growth.displacement_mm[1][inside], (np.exp(-0.05) - 1) * y[inside], atol=4e-3)
    np.testing.assert_allclose(jacobian_of(growth)[inside], np.exp(0.05), rtol=1e-3)


def test_anatomies_do_not_fold_and_the_opposite_flow_leads_back(simulation):
    inner = tuple(slice(6, -6) for _ in range(3))
    for number in (1, 2, 3):
        velocity = anatomy_velocity(number, simulation.brain_weight, seed=5)
        there, back = (integrate_velocity(v, ANATOMY, outside="border") for v in (velocity, -velocity))
        assert jacobian_of(there)[inner].min() > 0.2
        coordinates = ANATOMY.coordinates()
        moved = np.linalg.norm(there(coordinates) - coordinates, axis=0)[inner]
        error = np.linalg.norm(there(back(coordinates)) - coordinates, axis=0)[inner]
        assert moved.mean() > 2
        assert error.max() < 0.05 * moved.max()
        assert error.mean() < 0.02 * moved.mean()
        shift = [np.average(part, weights=simulation.brain_weight) for part in velocity]
        np.testing.assert_allclose(shift, 0, atol=1e-3)  # the brain stays in its place


@pytest.mark.parametrize(
    "wanted",
    [
        {"hippocampus_left": -0.3},
        {"hippocampus_right": -0.4, "ventricle_left": 0.2},
        {"ventricle_left": 0.55, "ventricle_right": 0.3},
        {"temporal_right": -0.18},
        {"ventricle_right": -0.15, "hippocampus_left": 0.06},
    ],
)
def test_regions_change_as_much_as_was_asked_and_the_others_do_not(simulation, wanted):
    coordinates = REGION_GRID.coordinates()
    before = simulation.morphology.volumes_ml(coordinates)
    deformation = simulation.morphology.deformation(wanted)
    change = np.log(simulation.morphology.volumes_ml(deformation(coordinates)) / before)
    np.testing.assert_allclose(change, [wanted.get(name, 0) for name in REGIONS], rtol=0.1, atol=0.02)
    assert jacobian_of(deformation).min() > 0
    assert (deformation.displacement_mm[:, [0, -1]] == 0).all()  # nothing moves at the border of its grid


def test_regions_lie_where_textbooks_have_them(simulation):
    x, y, z = REGION_GRID.coordinates()
    volumes = dict(zip(REGIONS, simulation.morphology.volumes_ml(REGION_GRID.coordinates()), strict=True))
    assert 4 < volumes["hippocampus_left"] < 6  # MNI brains are about a third larger than people's
    assert 6 < volumes["ventricle_left"] < 11
    for name, mask in zip(REGIONS, simulation.morphology.masks, strict=True):
        assert np.sign(np.average(x, weights=mask)) == (1 if name.endswith("right") else -1)
        twin = name.replace("right", "left")
        assert volumes[name] == pytest.approx(volumes[twin], rel=1e-3)  # a symmetric template
    hippocampus = simulation.morphology.masks[0]
    center = [np.average(axis, weights=hippocampus) for axis in (x, y, z)]
    np.testing.assert_allclose(center, (-28, -22, -14), atol=3)  # Harvard-Oxford and JHU atlases


def test_the_effect_is_the_difference_of_two_images_and_zero_where_nothing_moves(simulation):
    subject = with_disease(hippocampus_left=-0.4)
    clean = simulation.clean(subject, subject.visits[1], COARSE.coordinates(), spacing_mm=5.2, gamma=1.0)
    case = simulation.prepared(subject, subject.visits[1], COARSE)
    effect = case.effect[0]
    still = simulation.morphology.deformation({"hippocampus_left": -0.4}).displacement_mm
    region = simulation.morphology.masks[0] > 0.5
    places = REGION_GRID.coordinates()
    far = np.linalg.norm(places[:, ~region] - places[:, region].mean(1)[:, None], axis=0) > 60
    assert (still[:, ~region][:, far] == 0).all()
    assert (clean.present == clean.healthy).mean() > 0.95
    assert 0 < (effect != 0).mean() < 0.05
    seen = case.image[0] - case.counterfactual[0]
    assert (seen[effect == 0] == 0).mean() > 0.999
    assert np.corrcoef(seen.ravel(), effect.ravel())[0, 1] > 0.95
    assert ((case.regions[0] == 0) | (case.regions[0] == np.rint(case.regions[0]))).all()


@pytest.mark.parametrize(("side", "sign"), [("left", -1), ("right", 1)])
def test_left_is_left_in_mm(simulation, side, sign):
    subject = with_disease(**{f"hippocampus_{side}": -0.5})
    case = simulation.prepared(subject, subject.visits[1], COARSE)
    x = COARSE.coordinates()[0]
    strength = np.abs(case.effect[0])
    assert 15 < sign * np.average(x, weights=strength) < 40
    assert strength[sign * x > 0].sum() > 0.99 * strength.sum()
    number = 1 + REGIONS.index(f"hippocampus_{side}")
    assert strength[case.regions[0] == number].sum() > 0.5 * strength.sum()


@pytest.mark.parametrize(("name", "change"), [("ventricle_left", 0.5), ("hippocampus_right", -0.4)])
def test_atrophy_is_dark_where_fluid_takes_the_place_of_tissue(simulation, name, change):
    subject = with_disease(**{name: change})
    case = simulation.prepared(subject, subject.visits[1], prepared_grid(2.6))
    there = case.effect[0][case.regions[0] == 1 + REGIONS.index(name)]
    assert there.sum() < 0
    assert there.min() < -0.3
    assert there.max() < -0.7 * there.min()


def test_a_healthy_scan_has_no_effect(simulation):
    subject = draw_subject(4, "ventricular", seed=5)
    case = simulation.prepared(subject, subject.visits[0], COARSE)
    assert (case.effect == 0).all()
    assert np.array_equal(case.image, case.counterfactual)
    volumes, without = simulation.volumes_ml(subject, subject.visits[0])
    assert np.array_equal(volumes, without)


def test_ages_are_those_of_both_classes_and_ventricles_grow_with_them():
    groups = ("", "hippocampal", "", "ventricular")
    people = [draw_subject(number, groups[number % 4], seed=1) for number in range(1000)]
    visits = [visit for subject in people for visit in subject.visits]
    ages = {ill: np.array([v.age_years for v in visits if v.ill is ill]) for ill in (False, True)}
    assert ages[True].mean() == pytest.approx(ages[False].mean(), abs=0.8)
    healthy = [v for v in visits if not v.ill]
    slope = np.polyfit([v.age_years for v in healthy], [v.normal["ventricle_left"] for v in healthy], 1)[0]
    assert slope == pytest.approx(0.015, abs=0.002)
    for subject in people:
        assert all(0.4 <= subject.severity <= 1 for _ in subject.visits[1:])
        assert len(subject.visits) == (2 if subject.subtype else 1)
        if subject.subtype:
            first, second = subject.visits
            assert second.age_years > first.age_years
            assert second.normal["hippocampus_left"] < first.normal["hippocampus_left"]


def test_a_follow_up_of_the_healthy_changes_nothing_else():
    groups = ("", "hippocampal", "", "ventricular")
    once, twice = (
        [draw_subject(number, groups[number % 4], seed=1, healthy_follow_up=more) for number in range(400)]
        for more in (False, True)
    )
    for one, other in zip(once, twice, strict=True):
        if one.subtype:
            assert other == one
            continue
        before, after = other.visits
        assert (one.sex, one.size) == (other.sex, other.size)
        assert (after.age_years, after.normal) == (one.visits[0].age_years, one.visits[0].normal)
        assert 1 <= after.age_years - before.age_years <= 4
        assert {before.ill, after.ill} == {False}
        assert (before.session, after.session) == ("ses-01", "ses-02")
    visits = [visit for subject in twice for visit in subject.visits]
    ages = {ill: np.mean([v.age_years for v in visits if v.ill is ill]) for ill in (False, True)}
    assert ages[True] == pytest.approx(ages[False], abs=0.8)


def test_late_stage_is_for_severe_disease_and_twice_the_strength_is_twice_the_disease():
    severe = [draw_subject(number, "hippocampal", seed=2) for number in range(200)]
    late = [any(name.startswith("temporal") for name in s.visits[1].disease) for s in severe]
    assert late == [s.severity > 0.6 for s in severe]
    once, twice = (draw_subject(3, "ventricular", seed=0, strength=strength) for strength in (1.0, 2.0))
    for name, change in once.visits[1].disease.items():
        assert twice.visits[1].disease[name] == pytest.approx(2 * change)
    assert twice.visits[0] == once.visits[0]


@pytest.mark.parametrize(("spacing", "shape"), [(1.3, (128, 160, 112)), (2.6, (64, 80, 56)), (2.0, (88, 104, 80))])
def test_the_grid_is_that_of_the_preprocessing(spacing, shape):
    from vagan.preprocessing.steps import Conform

    grid = prepared_grid(spacing)
    assert grid.shape == shape
    np.testing.assert_allclose(grid.affine, Conform(spacing_mm=spacing, shape=shape).grid.affine)


def test_the_cohort_is_sound_and_its_volumes_are_those_of_the_disease(cohort):
    assert find_problems(cohort.path) == []
    assert cohort.shape == (24, 32, 24)
    assert cohort.metadata.spacing_mm == (8, 8, 8)
    table = cohort.manifest.table
    assert len(table) == 30
    ill = table[table["label"] == 1]
    counts = ill.groupby(["split", "subtype"]).size().unstack()
    assert (counts["hippocampal"] == counts["ventricular"]).all()
    assert list(counts.loc[["train", "validation", "test"], "hippocampal"]) == [3, 1, 1]
    for _, later in ill.iterrows():
        before = table[(table["subject"] == later["subject"]) & (table["label"] == 0)]
        assert list(before["split"]) == [later["split"]]
        assert list(before["session"]) == ["ses-01"]
    names = ["label", "severity", *(name for name in table if name.endswith("_ml"))]
    number = {name: pd.to_numeric(table[name]) for name in names}
    ill = number["label"] == 1
    for name in REGIONS:
        change = number[f"{name}_change_ml"]
        assert (change[~ill] == 0).all()
        assert set(np.sign(change[change.abs() > 0.05])) == {1 if name.startswith("ventricle") else -1}
    lost = -np.log(1 - number["hippocampus_left_change_ml"] / number["hippocampus_left_ml"])[ill]
    wanted = number["severity"][ill] * table["subtype"][ill].map({"hippocampal": -0.4, "ventricular": -0.15})
    assert np.corrcoef(lost, wanted)[0, 1] > 0.9
    assert number["brain_ml"].between(900, 2000).all()
    assert number["hippocampus_left_ml"].between(1.5, 6).all()
    rows = cohort.manifest.indices("test", 1)
    regions = cohort.regions(rows)
    assert tuple(regions) == REGIONS
    effects = np.abs(cohort.effects(rows).numpy())
    covered = sum(effects[mask].sum() for mask in regions.values())
    assert covered > 0.7 * effects.sum()
    assert (np.sum(list(regions.values()), axis=0) <= 1).all()


def test_same_seed_same_bits_whatever_the_number_of_processes(simulation):
    people = [draw_subject(1, "hippocampal", seed=5)]
    grid = prepared_grid(8.0)
    with start_executor(simulation, 2) as executor:
        row, shared = executor.submit(simulate_scan, people[0], 1, grid, None, 1.0).result()
    alone = simulation.prepared(people[0], people[0].visits[1], grid)
    assert np.array_equal(shared.image, alone.image)
    assert np.array_equal(shared.effect, alone.effect)
    assert row == measure(simulation, people[0], people[0].visits[1])
    other = Simulation(simulation.base, simulation.morphology, seed=6)
    assert not np.array_equal(other.prepared(people[0], people[0].visits[1], grid).image, alone.image)


def test_a_heads_own_shading_is_taken_out_within_the_brain_and_fades_outside():
    coordinates = np.stack(np.meshgrid(*(np.linspace(-1, 1, extent) for extent in (100, 72, 64)), indexing="ij"))
    brain = (coordinates**2).sum(axis=0) < 0.4
    white = smooth_noise(np.random.default_rng(3), brain.shape, 3.0) > 0
    shading = np.exp(0.4 * coordinates[0] - 0.2 * coordinates[2] ** 2)
    head = (np.where(brain, np.where(white, 1.0, 0.6), 1.5) * shading).astype(np.float32)
    found = _shading(head, brain)
    even = head / found
    assert np.log(head[brain & white]).std() > 0.1
    assert np.log(even[brain & white]).std() < 0.04
    assert even[brain & white].mean() == pytest.approx(1, abs=0.1)
    beside, far = found[:, 36, 32][[83, -1]]
    assert beside == pytest.approx(found[brain].max(), rel=0.1)
    assert far == pytest.approx(np.median(found[brain]), rel=0.15)
