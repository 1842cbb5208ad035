"""Every door of the command line, with a sample of what can be wrong; all of it in `make torture`."""

from pathlib import Path

import numpy as np
import pytest

from torture.corpus import Workshop, all_defects, try_out

MARK = Path("/tmp/vagan-torture-mark")
OF_EACH_DOOR = 1
DEFECTS = list(all_defects())


def sample():
    rng = np.random.default_rng(0)
    doors = {defect.door: [] for defect in DEFECTS}
    for defect in DEFECTS:
        doors[defect.door].append(defect)
    return [found[place] for found in doors.values() for place in rng.permutation(len(found))[:OF_EACH_DOOR]]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return Workshop(tmp_path_factory.mktemp("workshop"))


def wrong(defects, workshop):
    found = {defect.id: (complaints, answer.lines or answer.error[-500:]) for defect in defects
             for answer, complaints in [try_out(defect, workshop)] if complaints}  # fmt: skip
    assert not MARK.exists()  # what would run code leaves it
    return found


def test_there_are_many_and_each_is_another():
    assert len(DEFECTS) >= 300
    assert len({defect.id for defect in DEFECTS}) == len(DEFECTS)


def test_some_at_every_door_are_answered_in_one_line_and_nothing_changes(workshop):
    assert wrong(sample(), workshop) == {}


@pytest.mark.long
def test_all_are_answered_in_one_line_and_nothing_changes(workshop):
    assert wrong(DEFECTS, workshop) == {}
