from pathlib import Path

import pandas as pd
import pytest

from vagan.data.covariates import Covariate
from vagan.errors import CohortError, ConfigError
from vagan.inference.covariates import covariate_table, parse_covariates, rows_of

PATHS = [Path("new/a.nii.gz"), Path("new/b.png")]
AGE, SEX = (
    Covariate(name="age", mean=70, std=8, baseline_range=(50, 90)),
    Covariate(name="sex", categories=("F", "M")),
)


def test_a_mapping_is_of_all_images_and_a_table_of_each():
    table = covariate_table({"sex": "F", "age": 70.5}, [AGE, SEX], 2)
    assert table.to_dict("records") == [{"age": 70.5, "sex": "F"}] * 2
    table = pd.DataFrame({"image": ["elsewhere/b.png", "a.nii.gz"], "age": ["61", "62"]})
    assert rows_of(PATHS, table)["age"].tolist() == ["62", "61"]
    table = pd.DataFrame({"id": ["ill/a", "b", "c"], "age": ["63", "64", "65"]})
    assert rows_of(PATHS, table)["age"].tolist() == ["63", "64"]
    assert covariate_table(None, [], 2) is None
    assert covariate_table(pd.DataFrame({"age": [70, 71]}), [], 2) is None  # a manifest has more columns
    with pytest.raises(ConfigError, match="trained without any"):
        covariate_table({"age": 70}, [], 2)


def test_a_text_is_parsed_and_never_names_a_file(tmp_path):
    assert parse_covariates("sex=F, age=70.5") == {"sex": "F", "age": "70.5"}
    assert parse_covariates(" ") == {}
    (tmp_path / "secret.csv").write_text("id,age\na,63\n", encoding="utf-8")
    for text in (str(tmp_path / "secret.csv"), "=70", "age"):
        with pytest.raises(ConfigError, match="must read like age=70,sex=F"):
            parse_covariates(text)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (None, ConfigError, "missing covariates: .*age, sex"),
        ({"age": 70}, ConfigError, "must be age, sex: found age"),
        ({"age": 70, "sex": "F", "apoe": 1}, ConfigError, "must be age, sex"),
        (pd.DataFrame({"age": [1, 2, 3], "sex": ["F"] * 3}), ConfigError, "3 rows for 2 images"),
        (pd.DataFrame({"age": [1, 2]}), CohortError, "sex is required"),
    ],
)
def test_missing_and_wrong_covariates_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        covariate_table(given, [AGE, SEX], 2)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"id": ["a"]}, "one row for b.png, found 0"),
        ({"id": ["a", "b", "b"]}, "one row for b.png, found 2"),
        ({"name": ["a"]}, "needs a column image or id"),
    ],
)
def test_a_table_without_the_image_is_refused(table, message):
    with pytest.raises(ConfigError, match=message):
        rows_of(PATHS, pd.DataFrame(table))
