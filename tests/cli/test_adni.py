"""The whole way at the command line on a look-alike: from a download to Table 2."""

import os
import re
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from brains import GRID, prepared, raw_head
from lookalike import Shot, Subject, Visit, subject, write_download
from trainings import TINY
from vagan.data.volume import write_volume

EXAMPLE = Path(__file__).parents[2] / "examples" / "adni.sh"

FIRST = date(2008, 3, 10)
CODES = ("LIP", "RAS", "PSR")


def people():
    """A converter and a stable subject to test on, two to validate on, two to learn from."""
    found = []
    for number, course in enumerate(("MCI AD", "MCI MCI", "MCI", "AD", "MCI", "AD"), start=1):
        name, visits = subject(number, site=2 + number % 3), []
        for year, dx in enumerate(course.split()):
            shot = Shot(1000 + 10 * number + year, field=("1.5", "3")[number % 2])
            visits.append(Visit(name, ("bl", "m12")[year], FIRST + timedelta(days=365 * year), dx, (shot,)))
        found.append(Subject(name, tuple(visits), sex=("Male", "Female")[number % 2], age=70.0 + number / 3))
    return found


def head(person, number, shot):
    ill = float(person.visits[number].dx == "AD")
    seed = int(person.name[-4:])
    return raw_head(seed, ill, CODES[seed % 3], draw=number)


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    root = tmp_path_factory.mktemp("look-alike ü")
    template = prepared(seed=99)
    write_volume(root / "template.nii.gz", (template.image + 1) * 75, GRID.affine)
    names = [person.name for person in people()]
    (root / "test_subjects.txt").write_text("\n".join(names[:2]) + "\n", encoding="utf-8")
    (root / "validation_subjects.txt").write_text("\n".join(names[2:4]) + "\n", encoding="utf-8")
    return write_download(root, people(), head=head)


SMALL = ("--strip", "none", "--spacing", "7", "--size", "20x24x19", "--jobs", "1")


@pytest.mark.long
def test_the_example_goes_the_whole_way_and_again_without_doing_anything_twice(download, tmp_path):
    """As a user runs it, with the classifiers of the other methods, and a report."""
    root = download.tables.parent
    lists = {part: root / f"{part}_subjects.txt" for part in ("test", "validation")}
    for part, path in lists.items():
        shutil.copy(path, tmp_path / f"{part}.txt")  # its folder's name has a space, which options cannot
    more = {
        "IMPORT": f"--test-subjects {tmp_path / 'test.txt'} --validation-subjects {tmp_path / 'validation.txt'}",
        "TRAIN": " ".join([*TINY, "training.batch_size=1", "classifier.updates=2", "classifier.width=2"]),
        "EVALUATE": "--subset 1 --methods vagan cam gradient-magnitude random-map",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    command = [str(EXAMPLE), str(download.images), str(download.tables), str(tmp_path / "out"), *SMALL]
    command += ["--template", str(root / "template.nii.gz")]
    first = subprocess.run(command, env=os.environ | more, capture_output=True, encoding="utf-8", check=False)
    assert first.returncode == 0, first.stderr
    steps = ("import", "preprocess", "check", "train", "train", "train", "evaluate", "report")
    assert re.findall(r"^== (\S+) took \d+ s$", first.stdout, re.M) == list(steps)
    results = tmp_path / "out" / "results"
    assert "| VA-GAN |" in (results / "table2.md").read_text("utf-8")
    assert "figure5.pdf" in {path.name for path in (results / "figures").iterdir()}
    assert "_S_" not in (results / "report.html").read_text("utf-8")
    again = subprocess.run(command, env=os.environ | more, capture_output=True, encoding="utf-8", check=False)
    assert again.returncode == 0, again.stderr
    assert "0 scans prepared, 8 kept from before" in again.stdout
