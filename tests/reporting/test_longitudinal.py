"""Figure 5 of follow-up scans."""

import shutil
from urllib.parse import unquote

import pandas as pd
import pytest

from brains import COARSE, Oracle, patients, write_brains
from vagan.errors import RunError
from vagan.evaluation import runs
from vagan.evaluation.ground_truth import CEILING
from vagan.evaluation.longitudinal.evaluate import evaluate_longitudinal
from vagan.evaluation.runs import RunSelection
from vagan.reporting.figures import DARK_INK, as_data_uri, on_dark
from vagan.reporting.longitudinal import figure5, read_followed
from vagan.reporting.report import build_report


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Three converters with maps of a VA-GAN that knows the truth, and of a random map."""
    folder = tmp_path_factory.mktemp("figures ü")
    cohort = write_brains(folder / "cohort", patients(stable=1))
    with pytest.MonkeyPatch.context() as patch:
        made, selection = runs._control, RunSelection(methods=["group-mean-difference", "random-map"])
        oracle = {"group-mean-difference": Oracle(cohort, "VA-GAN")}
        patch.setattr(runs, "_control", lambda slug, *args: oracle.get(slug) or made(slug, *args))
        evaluate_longitudinal(cohort, [], folder / "results", selection=selection)
    return folder / "results"


@pytest.fixture(scope="module")
def followed(results):
    return read_followed(results)


def test_subjects_are_ordered_by_adas13(followed):
    assert [float(score) for score in followed.adas13] == sorted(float(score) for score in followed.adas13)
    assert followed.names == [f"sub-c{n}_ses-m24_from-bl" for n in (2, 1, 0)]
    assert followed.observed.shape == followed.images.shape == (3, *COARSE.shape)


def test_figure_5_has_two_views_of_each_subject_and_prints_score_and_id(followed):
    figure = figure5(followed)
    assert len(figure.axes) == 2 * 3 * 4  # views, subjects, columns
    assert DARK_INK in unquote(on_dark(as_data_uri(figure)))
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert [title.split("\n")[0] for title in titles] == ["follow-up scan", "observed effect", "VA-GAN", "random map"]
    assert "ADAS13" in figure.axes[0].get_ylabel()
    assert "sub-c2" in figure.axes[0].get_ylabel()
    told = figure.axes[4 + 2].get_xlabel()
    score, ceiling = (followed.scores[name, followed.names[0]] for name in ("VA-GAN", CEILING))
    assert told == f"NCC {score:.2f} of {ceiling:.2f}"
    assert [axes.texts[0].get_text() for axes in (figure.axes[3], figure.axes[7])] == ["R", "A"]


def test_the_page_shows_them_and_names_nobody_when_asked(results, tmp_path):
    shutil.copytree(results, tmp_path / "results")
    page = build_report(tmp_path / "results", hide_ids=True).read_text(encoding="utf-8")
    assert "Follow-up scans" in page
    assert (tmp_path / "results" / "figures" / "figure5.pdf").is_file()
    drawn = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "results/figures").glob("*.svg"))
    assert "sub-c" not in page + drawn
    assert "participant-level derivatives" in page


def test_a_folder_without_pairs_has_no_follow_up_scans_and_damaged_ones_are_told(tmp_path, results):
    shutil.copytree(results, tmp_path / "results")
    (tmp_path / "results" / "pairs.csv").unlink()
    assert read_followed(tmp_path / "results") is None
    pd.DataFrame({"subject": ["c0"]}).to_csv(tmp_path / "results" / "pairs.csv")
    with pytest.raises(RunError, match="run `vagan evaluate --longitudinal` again"):
        read_followed(tmp_path / "results")
