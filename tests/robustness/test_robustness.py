"""A small share of the robustness tests, so that they are not forgotten; all of them with ``make robustness``."""

import pytest

from robustness.__main__ import CHAPTERS, run

SHARES = dict.fromkeys(CHAPTERS, 0.02) | {"long training": 0.05}


@pytest.mark.long
@pytest.mark.parametrize("name", CHAPTERS)
def test_nothing_is_lost(name, tmp_path):
    assert run(name, tmp_path, SHARES[name])["failures"] == []
