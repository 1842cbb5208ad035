"""Differences between classes that a map would show: worked by hand, and against plain formulas."""

import math

import numpy as np
import pandas as pd
import pytest

import tables
from vagan.data.audit.balance import describe_balance, difference_of_kinds, difference_of_numbers, imbalances
from vagan.data.manifest import Manifest


def table_of(baseline, interest, **columns):
    """Rows of two classes of these sizes, a subject each."""
    return tables.table_of([0] * baseline + [1] * interest, ("MCI", "AD"), **columns)


def test_numbers_by_hand():
    # means 72 and 75, variances 4 and 4
    difference, chance = difference_of_numbers(np.array([70.0, 72, 74]), np.array([73.0, 75, 77]))
    assert difference == pytest.approx(3 / 2)
    assert 0.1 < chance < 0.2
    assert difference_of_numbers(np.array([1.0, 1]), np.array([1.0, 1])) == (0, 1)
    assert difference_of_numbers(np.array([2.0, 2]), np.array([1.0, 1])) == (-math.inf, 0)


def test_kinds_by_hand():
    baseline, interest = ["F"] * 6 + ["M"] * 4, ["F"] * 3 + ["M"] * 7
    by_hand = 0.3 / math.sqrt((0.6 * 0.4 + 0.3 * 0.7) / 2)
    assert difference_of_kinds(baseline, interest)[0] == pytest.approx(by_hand)
    assert difference_of_kinds(interest, baseline)[0] == pytest.approx(by_hand)
    assert difference_of_kinds(["3"] * 5, ["3"] * 4) == (0, 1)
    distance, chance = difference_of_kinds(["3"] * 9, ["1.5"] * 9)
    assert distance == math.inf
    assert chance < 0.001


def test_many_kinds_do_not_depend_on_which_is_left_out():
    rng = np.random.default_rng(0)
    baseline = list(rng.choice(list("abcd"), 50, p=(0.4, 0.3, 0.2, 0.1)))
    interest = list(rng.choice(list("abcd"), 70))
    first = difference_of_kinds(baseline, interest)[0]
    turned = [[{"a": "d", "d": "a"}.get(kind, kind) for kind in part] for part in (baseline, interest)]
    assert difference_of_kinds(*turned)[0] == pytest.approx(first)


def test_the_same_people_twice_count_once_and_tests_do_not_count():
    table = table_of(40, 40, age=[*np.linspace(60, 80, 40), *np.linspace(68, 88, 40)])
    found = imbalances(table)
    assert found["is_large"].tolist() == [True]
    assert found["difference"].tolist() == pytest.approx([8 / np.linspace(60, 80, 40).std(ddof=1)])
    often = pd.concat([table, *[table[:1].assign(id=f"again{n}") for n in range(30)]])
    tests = table.assign(split="test", age=0, id="t" + table["id"], subject="t" + table["subject"])
    assert imbalances(pd.concat([often, tests])).equals(found)


def test_missing_cells_do_not_count_and_many_sites_are_no_imbalance():
    table = table_of(4, 4, sex=["F", "M", "", "F", "M", "M", "F", ""], scanner="")
    (found,) = imbalances(table).to_dict("records")
    assert (found["covariate"], found["baseline"], found["interest"]) == ("sex", "F 67%", "M 67%")
    rng = np.random.default_rng(1)
    table = table_of(200, 200, site=rng.integers(0, 40, 400).astype(str))
    (found,) = imbalances(table).to_dict("records")
    assert found["difference"] > 0.4  # large for its many kinds alone
    assert not found["is_large"]


def test_check_shows_the_table_and_warns():
    table = table_of(40, 40, age=[*np.linspace(60, 80, 40), *np.linspace(68, 88, 40)], sex=["F", "M"] * 40)
    head, age, sex, warning = describe_balance(Manifest(table))
    assert head.split() == ["covariate", "MCI", "against", "difference"]
    assert age.split() == ["age", "70.0", "±", "6.0", "AD", "78.0", "±", "6.0", "+1.33", "!"]
    assert sex.split() == ["sex", "F", "50%", "AD", "F", "50%", "+0.00"]
    assert "AD and MCI differ in age (1.33" in warning
    assert describe_balance(Manifest(table.drop(columns=["age", "sex"]))) == []
