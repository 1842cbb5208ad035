"""Figures 5 and 6, means and regions of follow-up scans."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from brains import COARSE, Oracle, patients, write_brains
from vagan.data.volume import read_volume, write_volume
from vagan.errors import RunError
from vagan.evaluation import runs
from vagan.evaluation.ground_truth import CEILING
from vagan.evaluation.longitudinal.evaluate import evaluate_longitudinal
from vagan.evaluation.runs import RunSelection
from vagan.geometry import Grid
from vagan.reporting.longitudinal import (
    effects_by_region,
    figure5,
    figure6,
    group_means,
    read_followed,
    write_group_means,
)
from vagan.reporting.report import build_report


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Three converters with maps of a VA-GAN that knows the truth, and of a random map."""
    folder = tmp_path_factory.mktemp("figures ü")
    cohort = write_brains(folder / "cohort", patients(stable=1))
    with pytest.MonkeyPatch.context() as patch:
        made, selection = runs._control, RunSelection(methods=["group-mean", "random"])
        oracle = {"group-mean": Oracle(cohort, "VA-GAN")}
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
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert [title.split("\n")[0] for title in titles] == ["follow-up scan", "observed effect", "VA-GAN", "random map"]
    assert "ADAS13" in figure.axes[0].get_ylabel()
    assert "sub-c2" in figure.axes[0].get_ylabel()
    told = figure.axes[4 + 2].get_xlabel()
    score, ceiling = (followed.scores[name, followed.names[0]] for name in ("VA-GAN", CEILING))
    assert told == f"NCC {score:.2f} of {ceiling:.2f}"
    assert [axes.texts[0].get_text() for axes in (figure.axes[3], figure.axes[7])] == ["R", "A"]


def test_figure_6_draws_the_same_contours_in_all_three(followed):
    figure = figure6(followed, "VA-GAN")
    line = figure.axes[:3]
    drawn = [axes.collections[0].get_paths()[0].vertices for axes in line]
    assert np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn[0], drawn[2])
    scans = [axes.images[0].get_array() for axes in line]
    # what was generated looks more like the baseline scan than the follow-up does
    assert np.abs(scans[2] - scans[0]).mean() < np.abs(scans[1] - scans[0]).mean()


def test_means_are_over_the_subjects_and_lie_beside_the_maps(results, followed):
    write_group_means(results, followed)
    for folder, name in (("observed", "observed effect"), ("maps/VA-GAN", "VA-GAN")):
        written = read_volume(results / folder / "group-mean_stat-effect_statmap.nii.gz")
        single = sorted((results / folder).glob("sub-c*_statmap.nii.gz"))
        by_hand = np.mean([read_volume(path).array for path in single], axis=0)
        np.testing.assert_allclose(written.array, by_hand, atol=1e-6)
        np.testing.assert_allclose(group_means(followed)[name], by_hand, atol=1e-6)
        np.testing.assert_allclose(written.affine, COARSE.affine)


def test_regions_of_an_atlas_on_another_grid(followed, tmp_path):
    fine = Grid.upright((81, 97, 77), (1.75, 1.75, 1.75), COARSE.center_mm)
    labels = np.zeros(fine.shape, np.float32)
    labels[:40] = 3  # left
    labels[41:] = 8
    write_volume(tmp_path / "atlas.nii.gz", labels, fine.affine)
    (tmp_path / "names.tsv").write_text("index\tname\n3\tleft\n", encoding="utf-8")
    table = effects_by_region(followed, tmp_path / "atlas.nii.gz", tmp_path / "names.tsv")
    assert set(table["region"]) == {"left", "8"}
    row = table.query("region == 'left' and method == 'observed effect' and case == @followed.names[1]").iloc[0]
    half = followed.observed[1][:10]  # of 20 voxels the right half begins at the tenth
    assert row["mean_effect"] == pytest.approx(half.mean(), rel=1e-4)
    assert row["mean_size"] == pytest.approx(np.abs(half).mean(), rel=1e-4)
    assert row["ml"] == pytest.approx(half.size * 0.343)
    assert len(table) == 2 * 3 * 3
    write_volume(tmp_path / "empty.nii.gz", labels * 0, fine.affine)
    with pytest.raises(RunError, match="is it in the template's space"):
        effects_by_region(followed, tmp_path / "empty.nii.gz")


def test_the_change_of_a_regions_volume_is_that_of_its_tissue(followed, tmp_path):
    """Left, half of the voxels had twice and half had half of their volume; right, nothing is known to have moved."""
    labels = np.zeros(COARSE.shape, np.float32)
    labels[:10], labels[10:] = 1, 2
    write_volume(tmp_path / "atlas.nii.gz", labels, COARSE.affine)
    log_volume = np.zeros(COARSE.shape, np.float32)
    log_volume[:5], log_volume[5:10] = np.log(0.5), np.log(2.0)
    moved = replace(followed, log_volumes={"VA-GAN": {0: log_volume}})
    table = effects_by_region(moved, tmp_path / "atlas.nii.gz").set_index(["method", "case", "region"])
    change = table["volume_change_percent"]
    assert change["VA-GAN", followed.names[0], "1"] == pytest.approx(100 * (1 / 1.25 - 1))
    assert change["VA-GAN", followed.names[0], "2"] == pytest.approx(0, abs=1e-9)
    assert change.isna().sum() == len(table) - 2


def test_the_page_shows_them_and_names_nobody_when_asked(results, tmp_path):
    shutil.copytree(results, tmp_path / "results")
    page = build_report(tmp_path / "results", hide_ids=True).read_text(encoding="utf-8")
    assert "Follow-up scans" in page
    drawn = {path.name for path in (tmp_path / "results/figures").iterdir()}
    assert {"figure5.pdf", "figure6.png", "group-means.svg"} <= drawn
    assert (tmp_path / "results/observed/group-mean_stat-effect_statmap.nii.gz").is_file()
    drawn = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "results/figures").glob("*.svg"))
    assert "sub-c" not in page + drawn
    assert "participant-level derivatives" in page


def test_regions_need_follow_up_scans(tmp_path, results):
    shutil.copytree(results, tmp_path / "results")
    (tmp_path / "results" / "pairs.csv").unlink()
    assert read_followed(tmp_path / "results") is None
    with pytest.raises(RunError, match="evaluate with --longitudinal"):
        build_report(tmp_path / "results", atlas=tmp_path / "atlas.nii.gz")


def test_a_damaged_folder_is_told(tmp_path, results):
    shutil.copytree(results, tmp_path / "results")
    pd.DataFrame({"subject": ["c0"]}).to_csv(tmp_path / "results" / "pairs.csv")
    with pytest.raises(RunError, match="run `vagan evaluate --longitudinal` again"):
        read_followed(tmp_path / "results")
