import shutil
from contextlib import nullcontext

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest

from models import save_random_generator
from vagan.data.cohort import Cohort
from vagan.data.fingerprint import fingerprints, from_text, is_among, is_repeated, to_text
from vagan.data.sources.csv import import_csv
from vagan.data.sources.files import ImportOptions
from vagan.errors import LeakageError, RunError
from vagan.evaluation.evaluate import EvaluationOptions, evaluate, evaluate_runs
from vagan.evaluation.runs import RunSelection, require_unseen
from vagan.inference.attributor import Attributor
from vagan.training.config import load_config
from vagan.training.engine.run_folder import RunFolder

COUNT = 24


def study(folder, *, first=0, visits=1, name="table.csv"):
    """A table of pictures, each of a brightness of its own, so that every split has a range of its own."""
    folder.mkdir()
    rows = []
    for number in range(first, first + COUNT):
        for visit in range(visits):
            picture = np.random.default_rng(100 * number + visit).uniform(5, 90 + 6 * (number - first), (24, 20))
            iio.imwrite(folder / f"{number}-{visit}.png", picture.astype(np.uint8))
            split = ("train", "train", "validation", "test")[number // 2 % 4]
            kind = ("control", "ill")[number % 2]
            rows.append((f"{number}-{visit}.png", f"{number}-{visit}", f"s{number}", f"{visit}", kind, split))
    table = pd.DataFrame(rows, columns=["image", "id", "subject", "session", "class", "split"])
    table.to_csv(folder / name, index=False)
    return folder / name


def cohort_of(table, out, change=lambda table: table, **options):
    change(pd.read_csv(table, dtype=str)).to_csv(table, index=False)
    return import_csv(table, out, ImportOptions(**options))


@pytest.fixture
def run(tmp_path):
    """A run on the first visit of each subject."""
    cohort = import_csv(study(tmp_path / "study"), tmp_path / "cohort")
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        folder.begin(load_config(), cohort)
    save_random_generator(folder.model, shape=cohort.shape, classes=("control", "ill"))
    return folder.path


def as_test(table):
    return table.assign(split=table["split"].replace({"test": "train", "train": "test"}))


@pytest.mark.parametrize(
    ("change", "options", "seen"),
    [
        (lambda t: t, {}, 0),
        (lambda t: t.drop(columns="split"), {"seed": 1}, None),
        (as_test, {}, 12),
        (lambda t: as_test(t).drop(columns=["id", "subject"]), {"intensity": "per-image"}, 12),
        (lambda t: as_test(t).assign(id="x" + t["id"], subject="x" + t["id"]), {"intensity_range": (0.0, 255.0)}, 12),
        (lambda t: t.assign(split=t["split"].replace({"test": "validation", "validation": "test"})), {}, 6),
    ],
)  # fmt: skip
def test_images_of_the_training_are_known_whatever_cohort_they_come_in(change, options, seen, run, tmp_path):
    """Another seed, names, subjects, intensities: the pixels are the same."""
    cohort = cohort_of(tmp_path / "study" / "table.csv", tmp_path / "again", change, **options)
    rows = cohort.manifest.indices("test")
    if seen is None:
        was = pd.read_csv(tmp_path / "cohort" / "manifest.csv").set_index("id")["split"]
        seen = int((was[cohort.manifest.table["id"].iloc[rows]] != "test").sum())
        assert seen > 0
    if not seen:
        assert np.array_equal(require_unseen(cohort, rows, [run]), rows)
        return
    for place in (run, run / "model"):
        with pytest.raises(LeakageError, match=f"^{seen} of {len(rows)} images to score"):
            require_unseen(cohort, rows, [place])
    if seen < len(rows):
        assert len(require_unseen(cohort, rows, [run], exclude=True)) == len(rows) - seen
    else:
        with pytest.raises(LeakageError, match="all"):
            require_unseen(cohort, rows, [run], exclude=True)


@pytest.mark.parametrize(
    ("first", "outcome"), [("validation", pytest.raises(LeakageError, match="12 of 12")), ("", nullcontext())]
)
def test_a_later_visit_is_seen_where_other_images_show_that_subjects_are_the_same(
    first, outcome, run, tmp_path, capsys
):
    table = study(tmp_path / "later", visits=2)

    def later(rows):
        return as_test(rows)[rows["session"].eq("1") | rows["split"].eq(first)]

    cohort = cohort_of(table, tmp_path / "again", later)
    with outcome:
        require_unseen(cohort, cohort.manifest.indices("test"), [run])
    assert ("same names" in capsys.readouterr().err) == (not first)


def test_every_way_to_a_score_refuses_them_or_leaves_them_out(run, tmp_path):
    table = study(tmp_path / "more", first=100, name="more.csv")
    both = pd.concat([as_test(pd.read_csv(tmp_path / "study" / "table.csv")), pd.read_csv(table)])
    both["image"] = [f"../{'more' if int(name.split('-')[0]) >= 100 else 'study'}/{name}" for name in both["image"]]
    both.to_csv(tmp_path / "more" / "both.csv", index=False)
    cohort = import_csv(tmp_path / "more" / "both.csv", tmp_path / "both")
    with pytest.raises(LeakageError, match="12 of 18"):
        evaluate([Attributor.load(run)], cohort)
    with pytest.raises(LeakageError, match="12 of 18"):
        evaluate_runs(cohort, [run], tmp_path / "results", selection=RunSelection(methods=["vagan"]))
    selection = RunSelection(methods=["vagan"], exclude_seen=True)
    options = EvaluationOptions(examples=1)
    evaluation = evaluate_runs(cohort, [run], tmp_path / "results", options, selection)
    assert set(evaluation.rows["case"]) <= {f"{number}-0" for number in range(100, 100 + COUNT)}
    assert "12 of 18" in (tmp_path / "results" / "summary.json").read_text(encoding="utf-8")


def test_copies_among_the_images_to_score_are_a_warning(run, tmp_path, capsys):
    table = study(tmp_path / "copies", first=50, name="copies.csv")
    names = pd.read_csv(table)["image"][pd.read_csv(table)["split"] == "test"].tolist()
    shutil.copy(table.parent / names[0], table.parent / names[2])
    cohort = import_csv(table, tmp_path / "again")
    require_unseen(cohort, cohort.manifest.indices("test"), [run])
    assert "1 of 6 images to score are copies" in capsys.readouterr().err


def test_a_damaged_record_is_an_error(run):
    text = RunFolder(run).cohort.read_text(encoding="utf-8")
    RunFolder(run).cohort.write_text(text.replace('"images": "', '"images": "zz'), encoding="utf-8")
    with pytest.raises(RunError, match="cohort.json must describe"):
        RunFolder(run).read_seen()


def test_fingerprints_tell_images_apart(small_cohort: Cohort):
    found = fingerprints(small_cohort, range(len(small_cohort)))
    assert not is_repeated(found).any()
    assert not is_among(found[:40], found[40:]).any()
    assert is_among(found, from_text(to_text(found[::-1]))).all()


def test_images_that_are_not_finite_equal_no_other(small_cohort: Cohort):
    found = fingerprints(small_cohort, range(4))
    found[1] = np.nan
    assert is_among(found, found[[0, 2, 3]]).tolist() == [True, False, True, True]
    assert is_repeated(np.concatenate([found, found])).tolist() == [False] * 4 + [True, False, True, True]
    np.testing.assert_array_equal(from_text(to_text(found)), found[[0, 2, 3]])
