"""What is written is what is read, and damage is named."""

import shutil

import numpy as np
import pandas as pd
import pytest

from vagan.errors import OutputError, RunError
from vagan.evaluation.evaluation import Evaluation, Examples
from vagan.evaluation.results import ResultsFolder


@pytest.fixture
def evaluation(small_cohort):
    rows = [
        {"case": case, "subject": case, "label": 1, "method": method, "metric": metric, "value": value}
        for case, value in (("a", 0.25), ("b", 0.75))
        for method in ("one", "other")
        for metric in ("flip_rate", "ncc")
    ]
    entry = {"mean": 0.5, "std": 0.25, "ci95": [np.nan, np.nan], "n": 2}
    images = small_cohort.images([0, 1]).numpy()
    return Evaluation(
        pd.DataFrame(rows),
        {"one": {"flip_rate": entry, "ncc": entry}, "other": {"ncc": {**entry, "mean": 0.75}}},
        {"ncc": {**entry, "mean": 0.9}},
        Examples(
            ("a", "b"),
            images,
            None,
            {"one": 0 * images, "other": images},
            roles=("best", "random"),
            effects_name="observed effect",
        ),
        thresholds={"one": 0.125},
        units={"one": "intensity", "other": "none"},
    )


def test_everything_that_is_written_is_read(evaluation, small_cohort, tmp_path):
    folder = ResultsFolder(tmp_path / "results")
    folder.write(evaluation, small_cohort, rules={"selection": "none"})
    found = folder.read()
    assert found.summary.metrics == ["ncc", "flip_rate"]
    assert {name: scores["ncc"].mean for name, scores in found.summary.methods.items()} == {"one": 0.5, "other": 0.75}
    assert np.isnan(found.summary.methods["one"]["ncc"].ci95[0])
    assert found.summary.ceiling["ncc"].mean == 0.9
    assert found.values == {("a", "one"): 0.25, ("a", "other"): 0.25, ("b", "one"): 0.75, ("b", "other"): 0.75}
    assert found.summary.units == {"one": "intensity", "other": "none"}
    assert found.examples.ids == ("a", "b")
    assert found.examples.effects_name == "observed effect"
    np.testing.assert_array_equal(found.examples.maps["other"], evaluation.examples.images)
    assert found.examples.random().ids == ("b",)
    assert folder.threshold("one") == 0.125
    assert folder.table.read_text(encoding="utf-8") == evaluation.to_markdown()
    with pytest.raises(RunError, match="threshold for 'other'"):
        folder.threshold("other")


@pytest.mark.parametrize("name", ["scores.csv", "table.md", "examples.npz", "left_out.csv"])
def test_files_of_two_evaluations_are_not_read_as_one(evaluation, small_cohort, tmp_path, name):
    for folder in ("one", "other"):
        evaluation.rows["value"] += 0.125
        evaluation.summary["one"]["ncc"]["mean"] += 0.125
        evaluation.examples.images[:] *= 0.5
        ResultsFolder(tmp_path / folder).write(evaluation, small_cohort)
    (tmp_path / "one" / "left_out.csv").write_text("image,reason\na,b\n", encoding="utf-8")
    shutil.copy(tmp_path / "one" / name, tmp_path / "other" / name)
    with pytest.raises(RunError, match=f"{name} is not the one that summary.json describes"):
        ResultsFolder(tmp_path / "other").read()


@pytest.mark.parametrize(
    ("name", "beside_ours"),
    [
        *((name, False) for name in ("summary.json", "scores.csv", "table.md")),
        ("pairs.csv", True),
        ("table2.md", True),
    ],
)
def test_a_users_file_of_the_same_name_is_not_replaced(evaluation, small_cohort, tmp_path, name, beside_ours):
    if beside_ours:
        ResultsFolder(tmp_path).write(evaluation, small_cohort)
    (tmp_path / name).write_text('{"methods": "mine"}', encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match=f"{name} is not of"):
        ResultsFolder(tmp_path).write(evaluation, small_cohort)
    assert sorted(tmp_path.iterdir()) == before


def test_examples_that_would_fill_the_memory_are_refused(evaluation, small_cohort, tmp_path, monkeypatch):
    ResultsFolder(tmp_path).write(evaluation, small_cohort)
    monkeypatch.setattr("vagan.evaluation.results.MAX_EXAMPLE_BYTES", 1000)
    with pytest.raises(RunError, match="must not decompress to more"):
        ResultsFolder(tmp_path).read()
