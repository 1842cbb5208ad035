"""Intervals and tests against scipy, loops, theory and hand-worked tables."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from vagan.evaluation.statistics import bootstrap_interval, ratio_entry, summarise
from vagan.seeding import numpy_generator


def score_rows(values, metric="ncc"):
    """Tidy rows from ``{method: [value of each case]}``; two cases for each subject."""
    return pd.DataFrame(
        {"case": f"c{i}", "subject": f"s{i // 2}", "label": 1, "method": method, "metric": metric, "value": value}
        for method, of_method in values.items()
        for i, value in enumerate(of_method)
    )


def loop_bootstrap(values, groups, generator, resamples=2000):
    """Draw whole groups, list all their values, take the mean: slow and obvious."""
    names = sorted(set(groups))
    means = []
    for _ in range(resamples):
        drawn = generator.choice(names, len(names))
        means.append(np.mean([v for name in drawn for v, g in zip(values, groups, strict=True) if g == name]))
    return np.quantile(means, [0.025, 0.975])


class TestBootstrap:
    def test_equals_scipy_draw_for_draw(self):
        values = np.random.default_rng(0).gamma(2, size=37)
        expected = bootstrap(
            (values,), np.mean, n_resamples=2000, method="percentile", rng=numpy_generator(0, "bootstrap"),
        ).confidence_interval  # fmt: skip
        assert bootstrap_interval(values) == pytest.approx((expected.low, expected.high), rel=1e-12)

    def test_groups_of_unequal_size_as_a_loop_draws_them(self):
        generator = np.random.default_rng(0)
        groups = np.repeat(list("abcdefghij"), [1, 5, 2, 2, 7, 1, 3, 1, 4, 2])
        values = generator.normal(size=len(groups)) + np.array([ord(g) for g in groups]) / 3
        found = bootstrap_interval(values, groups=groups, resamples=20000)
        assert found == pytest.approx(loop_bootstrap(values, groups, generator, 5000), abs=0.06)
        independent = bootstrap_interval(values)
        assert found.high - found.low > 1.5 * (independent.high - independent.low)

    def test_repeating_every_case_of_a_subject_adds_no_certainty(self):
        values = np.random.default_rng(0).normal(size=12)
        repeated = bootstrap_interval(np.repeat(values, 10), groups=np.repeat(list("abcdefghijkl"), 10))
        assert repeated == pytest.approx(bootstrap_interval(values))

    @pytest.mark.parametrize(("values", "groups"), [([0.4], None), ([0.4, 0.9], ["one", "one"])])
    def test_one_subject_has_no_interval(self, values, groups):
        assert all(math.isnan(limit) for limit in bootstrap_interval(values, groups=groups))

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            *[
                (lambda v=v: bootstrap_interval(v), "one finite number for each")
                for v in ([], [0.1, np.nan], [[0.1]])
            ],
            (lambda: bootstrap_interval([1, 2], groups=["a"]), "each of the 2 cases must have a group"),
        ],
    )
    def test_refuses_what_is_not_scores(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()


class TestRatio:
    def test_equals_a_loop_and_draws_the_samples_apart(self):
        generator = np.random.default_rng(0)
        above, below = generator.gamma(3, size=25), generator.gamma(9, size=40)
        ratios = [generator.choice(above, 25).mean() / generator.choice(below, 40).mean() for _ in range(20000)]
        found = ratio_entry(above, below, resamples=20000)["ci95"]
        assert found == pytest.approx(np.quantile(ratios, [0.025, 0.975]), abs=0.01)
        # drawn together, x / x would always be 1
        values = np.random.default_rng(0).gamma(2, size=30)
        low, high = ratio_entry(values, values)["ci95"]
        assert low < 0.8
        assert high > 1.2
        generator = np.random.default_rng(0)
        above, below = generator.gamma(3, size=8), generator.gamma(9, size=11)
        repeated = ratio_entry(
            np.repeat(above, 5), np.repeat(below, 3),
            numerator_groups=np.repeat(np.arange(8), 5), denominator_groups=np.repeat(list("abcdefghijk"), 3),
        )  # fmt: skip
        assert repeated["ci95"] == pytest.approx(ratio_entry(above, below)["ci95"])

    @pytest.mark.parametrize("below", [[-1, 1, 2, -1], [0, 0, 0, 1], [3]])
    def test_unbounded_ratios_have_no_interval(self, below):
        assert all(math.isnan(limit) for limit in ratio_entry([1, 2, 3], below)["ci95"])


class TestSummarise:
    def test_hand_worked(self):
        rows = pd.concat(
            [
                score_rows({"vagan": [0.9, 0.7, 0.8, 0.6], "cam": [0.4, 0.4, 0.4, 0.4]}),
                score_rows({"cam": [1, 3]}, "mass"),
            ]
        )
        summary = summarise(rows)
        assert {name: list(scores) for name, scores in summary.items()} == {"vagan": ["ncc"], "cam": ["ncc", "mass"]}
        vagan = summary["vagan"]["ncc"]
        assert vagan["mean"] == pytest.approx(0.75)
        assert vagan["std"] == pytest.approx(np.sqrt((0.15**2 + 0.05**2) / 2))
        assert vagan["n"] == 4
        # two subjects, of means 0.8 and 0.7: a draw has both, or one of them twice in more than 2.5 % of cases
        assert vagan["ci95"] == pytest.approx([0.7, 0.8])
        assert summary["cam"]["ncc"]["std"] == pytest.approx(0)
        assert summary["cam"]["ncc"]["ci95"] == pytest.approx([0.4, 0.4])
        assert summary["cam"]["mass"]["mean"] == 2
        score = summarise(score_rows({"a": np.float32([0.5, 0.25, 0.5])}))["a"]["ncc"]
        assert [type(score[key]) for key in ("mean", "std", "n")] == [float, float, int]
        assert [type(limit) for limit in score["ci95"]] == [float, float]
