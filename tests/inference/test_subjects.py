from pathlib import Path

import pytest

from vagan.data.covariates import Covariate
from vagan.errors import CohortError, ConfigError, ManifestError
from vagan.inference.subjects import subjects_of

PATHS = [Path("new/a.nii.gz"), Path("new/b.png")]
AGE, SEX = Covariate(name="age", mean=70, spread=8, seen=(50, 90)), Covariate(name="sex", kinds=("F", "M"))


def test_one_text_tells_of_all_images():
    for row in subjects_of(PATHS, "sex=F, age=70.5", [AGE, SEX]):
        assert row.to_dict("records") == [{"sex": "F", "age": "70.5"}]


def test_a_table_tells_of_each_by_its_file_or_id(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("image,age\nelsewhere/b.png,61\na.nii.gz,62\n", encoding="utf-8")
    assert [row["age"].tolist() for row in subjects_of(PATHS, str(table), [AGE])] == [["62"], ["61"]]
    table.write_text("id,age\nill/a,63\nb,64\nc,65\n", encoding="utf-8")
    assert [row["age"].tolist() for row in subjects_of(PATHS, str(table), [AGE])] == [["63"], ["64"]]


@pytest.mark.parametrize(
    ("told", "error", "message"),
    [
        ("", ConfigError, "must know age and sex of each image; say it with --covariates age=70,sex=F"),
        ("age=70", ConfigError, "must know age and sex, found 'age=70'"),
        ("age=70,sex=F,apoe=1", ConfigError, "must know age and sex"),
        ("age=70,sex=X", CohortError, "sex must be a kind that training images had: found 'X'"),
        ("age=,sex=F", CohortError, "age must be known"),
        ("nowhere.csv", ManifestError, "nowhere.csv does not"),
    ],
)
def test_what_is_not_known_is_refused(told, error, message):
    with pytest.raises(error, match=message):
        subjects_of(PATHS, told, [AGE, SEX])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,age\na,63\n", r"one row for b.png, found 0"),
        ("id,age\na,63\nb,1\nb,2\n", r"one row for b.png, found 2"),
        ("name,age\na,63\n", "must have a column image or id"),
    ],
)
def test_a_table_without_the_image_is_refused(tmp_path, text, message):
    (tmp_path / "table.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        subjects_of(PATHS, str(tmp_path / "table.csv"), [AGE])


def test_a_model_that_need_not_know_is_not_told():
    assert len(subjects_of(PATHS, "", [])) == 2
    with pytest.raises(ConfigError, match="trained without covariates"):
        subjects_of(PATHS, "age=70", [])
