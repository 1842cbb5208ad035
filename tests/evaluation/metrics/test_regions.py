"""Regions of maps whose answer is known."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from models import Known
from tables import table_of, write_made_up
from vagan.data.schema import CohortCase
from vagan.errors import ConfigError
from vagan.evaluation.evaluate import EvaluationOptions, evaluate
from vagan.evaluation.metrics.regions import recall, regional
from vagan.evaluation.statistics import correlation_entry

SPACE = (5, 6, 4)
NUMBERS = np.zeros((1, *SPACE), np.float32)
NUMBERS[0, :2], NUMBERS[0, 3:] = 1, 2


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Volumes of two regions; the effect acts on the front as severity says, on the back of every other one."""
    rng = np.random.default_rng(0)
    labels = [0, 1] * 20
    severity = [round(float(rng.uniform(0.3, 1)), 3) if label else "" for label in labels]
    split = ["train"] * 10 + ["validation"] * 10 + ["test"] * 20
    table = table_of(labels, split=split, subject=[f"s{n // 2}" for n in range(40)], severity=severity)
    effects = np.zeros((40, 1, *SPACE), np.float32)
    for row in np.flatnonzero(table["label"]):
        effects[row, 0, 0, 1:4, 1] = -severity[row]
        effects[row, 0, 4, 2:4, :2] = 0.5 * severity[row] * (row % 4 == 1)
    healthy = rng.uniform(-0.5, 0, effects.shape).astype(np.float32)
    return write_made_up(
        tmp_path_factory.mktemp("regions") / "c",
        table,
        lambda row: CohortCase(healthy[row] + effects[row], effects[row], healthy[row], NUMBERS),
        regions=("front", "back"),
    )


@pytest.fixture
def exact(cohort):
    """A method that knows the effects."""
    return Known(cohort, lambda row: cohort.effects([row])[0])


def test_a_map_of_one_region_finds_that_and_no_other(cohort, exact):
    only_front = Known(cohort, lambda row: cohort.effects([row])[0] * (torch.arange(5) < 2)[:, None, None])
    evaluation = evaluate({"front": only_front, "exact": exact}, cohort, EvaluationOptions(severity="severity"))
    summary = evaluation.summary
    assert summary["front"]["recall/front"]["mean"] == 1
    assert summary["front"]["recall/back"]["mean"] < 0.2  # what is left of the area falls on the back by chance
    assert summary["exact"]["recall/back"]["mean"] == evaluation.ceiling["recall/back"]["mean"] == 1
    assert summary["exact"]["recall/front"]["n"] == 10
    assert summary["exact"]["recall/back"]["n"] == 5  # the others have no effect there
    for region in ("front", "back"):
        assert summary["exact"][f"regional/{region}"]["mean"] == pytest.approx(1)
    assert np.isnan(summary["front"]["regional/back"]["mean"])  # a constant does not correlate
    # the front alone is as large as the severity says; with the back of some it is not in order
    assert summary["front"]["severity_correlation"]["mean"] == pytest.approx(1)
    assert 0 < summary["exact"]["severity_correlation"]["mean"] < 1


def test_recall_weighs_by_the_squared_effect(cohort):
    effect = np.zeros((1, 1, *SPACE), np.float32)
    effect[0, 0, 0, :2, 0] = 3, 1
    effect[0, 0, 4, :2, 0] = 2, 1
    map_ = np.zeros_like(effect)
    map_[0, 0, 0, 0, 0], map_[0, 0, 4, 1, 0] = 5, 4
    map_[0, 0, 2, :2, 0] = 3  # K is four; two fall between the regions
    found = recall(map_, effect, lambda _, whole: {name: whole * mask for name, mask in cohort.regions([1]).items()})
    assert found["front"] == pytest.approx([9 / 10])
    assert found["back"] == pytest.approx([1 / 5])


def test_means_over_regions_are_compared_by_rank():
    masks = {"front": np.arange(5) < 2, "back": np.arange(5) > 2}
    masks = {name: np.broadcast_to(mask[:, None, None], (1, 1, *SPACE)) for name, mask in masks.items()}
    weights = np.arange(120, dtype=np.float32).reshape(1, 1, *SPACE)
    predicted, true = np.float32([1, 4, 2, 3]), np.float32([2, 5, 9, 7])
    maps, effects = (values.reshape(4, 1, 1, 1, 1) * weights for values in (predicted, true))
    found = regional(maps, effects, lambda case: masks, np.array(list("abcd")))
    assert list(found) == ["front", "back"]
    assert found["front"]["mean"] == pytest.approx(1 - 6 * (0 + 4 + 4 + 0) / (4 * 15))


@pytest.mark.parametrize(
    ("severity", "told"), [("severty", "did you mean 'severity'"), ("class", "severity"), ("label", "'label'")]
)
def test_what_is_no_severity_is_refused(cohort, exact, severity, told):
    with pytest.raises(ConfigError, match=told):
        evaluate({"exact": exact}, cohort, EvaluationOptions(severity=severity))


def test_correlation_is_scipys_and_its_interval_draws_subjects():
    rng = np.random.default_rng(1)
    values = rng.normal(size=30)
    others = values + rng.normal(size=30)
    found = correlation_entry(values, others, groups=np.arange(30))
    (low, high), (four, four_others) = found["ci95"], (np.tile(values, 4), np.tile(others, 4))
    assert found["mean"] == pytest.approx(spearmanr(values, others).statistic)
    assert low < found["mean"] < high
    # every subject four times over is no new information
    again = correlation_entry(four, four_others, groups=np.tile(np.arange(30), 4))
    assert again["mean"] == pytest.approx(found["mean"])
    assert again["ci95"][1] - again["ci95"][0] == pytest.approx(high - low, rel=0.15)
    assert correlation_entry(four, four_others, groups=np.arange(120))["ci95"][0] > low
    assert np.isnan(correlation_entry([1, 2], [3, 4], groups=[0, 1])["mean"])
    assert np.isnan(correlation_entry([1, 1, 1], [3, 4, 5], groups=[0, 1, 2])["mean"])
    assert np.isnan(correlation_entry([1, 2, 3], [3, 4, 5], groups=["a"] * 3)["ci95"][0])
    assert correlation_entry([1, np.nan, 2, 5], [4, 1, 5, np.nan], groups=list("abcd"))["n"] == 2
    assert correlation_entry([np.nan], [1], groups=["a"])["n"] == 0
