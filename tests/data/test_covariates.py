import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from vagan.data.covariates import Covariate, encode_covariates, fit_covariates, match_covariates
from vagan.errors import CohortError, ConfigError
from vagan.inference.covariates import covariate_table


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "id": list("abcd"),
            "label": [0, 0, 1, 1],
            "age": ["60", "70", "80", "90.0"],
            "sex": ["F", "M", "M", "F"],
            "site": ["x", "x", "x", "x"],
        }
    )


def test_numbers_are_in_standard_deviations_and_kinds_one_hot(table):
    age, sex = fit_covariates(["age", "sex"], table)
    spread = np.sqrt((15**2 + 5**2 + 5**2 + 15**2) / 4)
    expected = [[-15 / spread, 1, 0], [-5 / spread, 0, 1], [5 / spread, 0, 1], [15 / spread, 1, 0]]
    np.testing.assert_allclose(encode_covariates([age, sex], table), expected, rtol=1e-6)
    assert encode_covariates([], table).shape == (4, 0)
    # what is told of one does not depend on who else is asked about
    np.testing.assert_allclose(encode_covariates([sex, age], table[2:3]), [[0, 1, 5 / spread]], rtol=1e-6)


def test_beyond_the_baseline_images_is_an_extrapolation(table):
    age, sex = fit_covariates(["age", "sex"], table)
    assert age.baseline_range == (60, 70)
    assert age.is_extrapolated(table).tolist() == [False, False, True, True]
    assert not sex.is_extrapolated(table).any()


@pytest.mark.parametrize(
    ("change", "names", "error", "message"),
    [
        ({}, ["agee"], ConfigError, "'agee' must be a column of the manifest; did you mean 'age'"),
        ({}, ["site"], ConfigError, "site is 'x' for all training images"),
        ({"age": ["60", "", "n/a", "70"]}, ["age"], CohortError, "age .* 2 of 4 .*'b'"),
        ({"sex": ["F", "F", "M", "F"]}, ["sex"], CohortError, "sex .*baseline class.*M"),
    ],
)
def test_what_cannot_be_encoded_is_refused(table, change, names, error, message):
    with pytest.raises(error, match=message):
        fit_covariates(names, table.assign(**change))


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([f"n{row}" for row in range(24)], "found 24 different texts in 24 .*identifier"),
        ([f"n{row}" for row in range(8)], "found 8 different texts in 8 .*identifier"),
        ([f"{row % 22} kg" for row in range(48)], "found 22 .*categories"),
        ([f"{row}.5" for row in range(23)] + ["62,5"], "'62,5' is no number, while 23 of 24 values are; .*comma"),
    ],
)
def test_a_text_of_nearly_every_image_is_refused_with_the_likely_cause(table, cells, words):
    many = pd.concat([table] * (len(cells) // 4)).assign(name=cells)
    with pytest.raises(ConfigError, match=f"name must be numbers or at most 20 categories .*{words}"):
        fit_covariates(["name"], many)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": "seventy"}, "age must be a number, as in training: found 'seventy'"),
        ({"sex": "f"}, "sex must be .*found 'f'"),
        ({"sex": ""}, "sex is required"),
    ],
)
def test_new_images_need_the_covariates_of_the_training(table, change, message):
    covariates = fit_covariates(["age", "sex"], table)
    with pytest.raises(CohortError, match=message):
        encode_covariates(covariates, table[:1].assign(**change))
    with pytest.raises(CohortError, match="age is required"):
        encode_covariates(covariates, table[["id", "sex"]])


def test_those_matched_are_distributed_as_those_wanted():
    rng = np.random.default_rng(0)
    offered, wanted = rng.normal(0, 1, (4000, 1)), rng.normal(1, 1, (1000, 1))
    places = match_covariates(wanted, offered, rng, neighbours=3)
    assert places.shape == (3000,)
    assert ks_2samp(offered[:, 0], wanted[:, 0]).statistic > 0.3
    assert ks_2samp(offered[places, 0], wanted[:, 0]).statistic < 0.03
    assert np.abs(offered[places, 0].reshape(-1, 3).mean(axis=1) - wanted[:, 0]).mean() < 0.02


def test_kinds_come_first_and_equally_near_ones_are_drawn_alike(table):
    age, sex = fit_covariates(["age", "sex"], table)
    offered = encode_covariates([age, sex], table, category_distance=10.0)
    # a man of 60: the man of 80 is nearer than the woman of 60, for all the years between
    wanted = encode_covariates([age, sex], table[:1].assign(sex="M", age="65"), category_distance=10.0)
    assert match_covariates(wanted, offered, np.random.default_rng(0), neighbours=2).tolist() == [1, 2]
    places = match_covariates(np.zeros((3000, 3)), np.zeros((200, 3)), np.random.default_rng(0), neighbours=2)
    counts = np.bincount(places, minlength=200)
    assert counts.min() > 0
    assert counts.max() < 6 * counts.mean()


@pytest.mark.parametrize(("value", "accepted"), [(149.0, True), (151.0, False), (-11.0, False), (1e300, False)])
def test_numbers_far_from_the_training_images_are_refused(value, accepted):
    age = Covariate(name="age", mean=70, std=8, baseline_range=(55.0, 85.0))
    table = pd.DataFrame({"age": [70.0, value]})
    if accepted:
        assert age.is_extrapolated(table).tolist() == [False, True]
        age.require_near(table)
    else:
        with pytest.raises(CohortError, match="10 standard deviations"):
            covariate_table(table, [age], 2)
