"""Tables are compared whole: what is printed is what was computed."""

import math

import pytest

from vagan.evaluation.evaluation import markdown_table


def score(mean, std=0.04, low=0.1, high=0.2, n=20):
    return {"mean": mean, "std": std, "ci95": [low, high], "n": n}


@pytest.fixture
def summary():
    return {
        "cam": {"ncc": score(0.481, 0.0449, 0.4749, 0.4901), "dice": score(0.3)},
        "untrained": {"dice": score(0.9)},
        "vagan": {"ncc": score(0.934, 0.0361, 0.92, 0.9449), "dice": score(0.2), "slope": score(-0.001)},
    }


def test_the_best_comes_first_and_the_ceiling_last(summary):
    table = markdown_table(summary, ceiling={"ncc": score(0.972, 0.034, 0.97, 0.974)})
    assert table == (
        "| method | ncc | dice | slope |\n"
        "| --- | --- | --- | --- |\n"
        "| vagan | 0.93 ± 0.04 [0.92, 0.94] | 0.20 ± 0.04 [0.10, 0.20] | 0.00 ± 0.04 [0.10, 0.20] |\n"
        "| cam | 0.48 ± 0.04 [0.47, 0.49] | 0.30 ± 0.04 [0.10, 0.20] | n/a |\n"
        "| untrained | n/a | 0.90 ± 0.04 [0.10, 0.20] | n/a |\n"
        "| exact effect (ceiling) | 0.97 ± 0.03 [0.97, 0.97] | n/a | n/a |\n"
    )
    assert markdown_table(summary, ceiling={}) == markdown_table(summary)


@pytest.mark.parametrize("unknown", [None, math.nan])
def test_unknown_numbers_are_left_out(unknown):
    one = {"a": {"ncc": score(0.5, unknown, unknown, unknown, 1)}, "b": {"ncc": score(unknown)}}
    assert markdown_table(one).splitlines()[2:] == ["| a | 0.50 |", "| b | n/a |"]


def test_names_cannot_break_the_table_and_negative_scores_come_below_zero_ones():
    lines = markdown_table({"a|b": {"ncc": score(-0.5)}, "blind": {"ncc": score(0.0)}}).splitlines()
    assert lines[2].startswith("| blind |")
    assert lines[3].startswith(r"| a\|b | -0.50")
