"""Many scans: some of them bad, some of them done before, some of them killed."""

import os
import signal
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from heads import QUICK, save_head
from vagan.data.audit.defects import find_problems
from vagan.data.cohort import Cohort
from vagan.data.volume import read_volume
from vagan.errors import MissingExtraError, PreprocessingError
from vagan.preprocessing.derivatives import DerivativePaths, label, read_record, read_whole
from vagan.preprocessing.pipeline import Pipeline
from vagan.preprocessing.runner import Failures, Job, Outcome, prepare_all, prepare_scan
from vagan.preprocessing.study import is_stale, pack_cohort


def jobs_in(folder, count=4):
    return [Job(save_head(folder / f"s{k}.nii.gz", seed=k), f"s{k}", "m00") for k in range(count)]


def statuses(outcomes):
    return sorted((outcome.job.subject, outcome.status) for outcome in outcomes)


def files_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_scan_becomes_derivatives_with_their_record(tmp_path):
    (job,) = jobs_in(tmp_path, 1)
    outcome = prepare_scan(job, QUICK, tmp_path / "out")
    assert outcome.status == "done", outcome.reason
    place = DerivativePaths.of(tmp_path / "out", QUICK, "s0", "m00")
    name = "sub-s0_ses-m00_space-MNI152NLin2009aSym_res-8_desc-preproc_T1w.nii.gz"
    assert place.image == tmp_path / "out" / "sub-s0" / "ses-m00" / "anat" / name
    volume, mask = read_volume(place.image), read_volume(place.mask)
    assert volume.array.shape == mask.array.shape == QUICK.grid.shape
    np.testing.assert_allclose(volume.affine, QUICK.grid.affine)
    assert set(np.unique(mask.array)) == {0, 1}
    record = read_record(place.record)
    assert record.pipeline_hash == QUICK.key
    assert record.raw_shape == (26, 25, 20)
    assert place.transform.is_file()


def test_the_transform_means_the_same_to_itk(tmp_path):
    import SimpleITK as sitk

    from vagan.preprocessing.derivatives import itk_text
    from vagan.preprocessing.registration import matrix_of

    matrix = np.array([[0.9, 0.1, -0.2, 4], [0.05, 1.1, 0.3, -5], [0.2, -0.1, 0.8, 6], [0, 0, 0, 1]])
    (tmp_path / "x.txt").write_text(itk_text(matrix), encoding="utf-8")
    read = sitk.AffineTransform(sitk.ReadTransform(str(tmp_path / "x.txt")))
    assert matrix_of(read) == pytest.approx(matrix)
    # ITK's points have the first two axes turned around
    assert np.array(read.TransformPoint((-1.0, -2.0, 3.0))) * (-1, -1, 1) == pytest.approx(
        (matrix @ (1, 2, 3, 1))[:3]
    )


CHANGES = {
    "nothing": (lambda job, one, other: None, "kept"),
    "another input": (lambda job, one, other: save_head(job.image, seed=9), "done"),
    "a lost file": (lambda job, one, other: one.mask.unlink(), "done"),
    "an image of another run": (lambda job, one, other: one.image.write_bytes(other.image.read_bytes()), "done"),
    "an input that fails": (lambda job, one, other: job.image.write_bytes(b"no scan"), "failed"),
}


class TestMany:
    @pytest.mark.parametrize(("change", "status"), CHANGES.values(), ids=CHANGES)
    def test_finished_scans_are_kept_and_only_changed_ones_done_again(self, change, status, tmp_path):
        jobs = jobs_in(tmp_path, 2)
        list(prepare_all(jobs, QUICK, tmp_path / "out"))
        before = files_in(tmp_path / "out")
        first, second = (DerivativePaths.of(tmp_path / "out", QUICK, f"s{k}", "m00") for k in range(2))
        change(jobs[0], first, second)
        assert statuses(prepare_all(jobs, QUICK, tmp_path / "out")) == [("s0", status), ("s1", "kept")]
        after = files_in(tmp_path / "out")
        assert status != "kept" or after == before
        assert status == "failed" or set(after) == set(before)
        assert read_whole(second, QUICK) is not None
        # what an older input gave does not stand for one that fails
        assert (read_record(first.record) is None) == (status == "failed")

    def test_other_settings_make_all_of_them_stale(self, tmp_path):
        jobs = jobs_in(tmp_path, 2)
        list(prepare_all(jobs, QUICK, tmp_path / "out"))
        other = Pipeline(steps=(*QUICK.steps[:-1], QUICK.steps[-1].model_copy(update={"percentiles": (2, 98)})))
        assert {outcome.status for outcome in prepare_all(jobs, other, tmp_path / "out")} == {"done"}

    def test_a_stop_in_the_middle_of_a_scan_leaves_it_unfinished(self, tmp_path, monkeypatch):
        jobs = jobs_in(tmp_path, 1)
        list(prepare_all(jobs, QUICK, tmp_path / "out"))
        save_head(jobs[0].image, seed=5)

        def stop(*_args):
            raise KeyboardInterrupt

        monkeypatch.setattr("vagan.preprocessing.derivatives.itk_text", stop)
        with pytest.raises(KeyboardInterrupt):
            list(prepare_all(jobs, QUICK, tmp_path / "out"))
        place = DerivativePaths.of(tmp_path / "out", QUICK, "s0", "m00")
        assert read_record(place.record) is None
        assert not list(place.folder.glob(".*"))
        monkeypatch.undo()
        assert [outcome.status for outcome in prepare_all(jobs, QUICK, tmp_path / "out")] == ["done"]

    def test_processes_give_the_same_files(self, tmp_path):
        jobs = jobs_in(tmp_path, 3)
        list(prepare_all(jobs, QUICK, tmp_path / "one"))
        outcomes = list(prepare_all(jobs, QUICK, tmp_path / "two", processes=2))
        assert statuses(outcomes) == [("s0", "done"), ("s1", "done"), ("s2", "done")]
        one, two = files_in(tmp_path / "one"), files_in(tmp_path / "two")
        assert one.keys() == two.keys()
        images = [name for name in one if str(name).endswith("T1w.nii.gz")]
        assert len(images) == 3
        for name in images:
            assert np.array_equal(*(read_volume(tmp_path / folder / name).array for folder in ("one", "two")))

    def test_a_killed_worker_costs_its_scan_one_more_try(self, tmp_path):
        jobs = jobs_in(tmp_path, 3)
        pipeline = KillingOnce(steps=QUICK.steps, mark=str(tmp_path / "killed"))
        outcomes = list(prepare_all(jobs, pipeline, tmp_path / "out", processes=2))
        assert (tmp_path / "killed").exists()
        found = dict(statuses(outcomes))
        assert list(found) == ["s0", "s1", "s2"]
        # a scan that the other worker had just finished when the pool broke is found on disk by its second try
        assert set(found.values()) <= {"done", "kept"}
        assert list(found.values()).count("kept") <= 1

    @pytest.mark.long
    def test_a_scan_that_kills_every_worker_fails_alone(self, tmp_path):
        jobs = jobs_in(tmp_path, 3)
        pipeline = KillingAlways(steps=QUICK.steps, subject="s1.nii.gz")
        outcomes = list(prepare_all(jobs, pipeline, tmp_path / "out", processes=2))
        assert dict(statuses(outcomes))["s1"] == "failed"
        assert "died twice" in next(o.reason for o in outcomes if o.job.subject == "s1")


class KillingOnce(Pipeline):
    """A pipeline that the system kills the first time, as for want of memory."""

    mark: str

    def run(self, raw, **more):
        try:
            os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return super().run(raw, **more)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class KillingAlways(Pipeline):
    """A pipeline that the system kills at one scan."""

    subject: str

    def run(self, raw, **more):
        if raw.path.name == self.subject:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(raw, **more)


class TestFailures:
    def outcome(self, name, status="failed", reason="broken"):
        return Outcome(Job(Path(f"{name}.nii"), name), status, reason)

    def rows(self, folder):
        table = pd.read_csv(folder / "failed.csv")
        return list(zip(table["subject"], table["reason"], strict=True))

    def test_jobs_side_by_side_lose_no_row_and_what_is_mended_leaves_the_table(self, tmp_path):
        one, two = Failures(tmp_path), Failures(tmp_path)
        two.record(self.outcome("b", reason='too, "dark" ü'))
        one.record(self.outcome("a"))
        two.write_table()
        one.write_table()
        assert self.rows(tmp_path) == [("a", "broken"), ("b", 'too, "dark" ü')]
        one.record(self.outcome("a", "done"))
        one.record(self.outcome("c", "kept"))
        one.write_table()
        assert self.rows(tmp_path) == [("b", 'too, "dark" ü')]


class TestStore:
    @pytest.fixture
    def study(self, tmp_path):
        jobs = jobs_in(tmp_path, 6)
        list(prepare_all(jobs, QUICK, tmp_path / "out"))
        names = [f"s{k}" for k in range(6)]
        table = pd.DataFrame({"id": [f"{name}_m00" for name in names], "subject": names, "session": "m00"})
        table["class"], table["age"] = ["CN", "AD"] * 3, "70"
        table["split"] = [part for part in ("train", "validation", "test") for _ in range(2)]
        return tmp_path / "out", jobs, table

    def test_a_cohort_knows_where_it_lies_and_leaves_out_what_failed(self, study):
        out, _, table = study
        cohort = pack_cohort(out, table, QUICK, baseline=None, seed=0)
        assert cohort.shape == QUICK.grid.shape
        assert cohort.metadata.spacing_mm == (8, 8, 8)
        assert np.array(cohort.metadata.affine) == pytest.approx(QUICK.grid.affine)
        assert Pipeline.model_validate(cohort.metadata.pipeline) == QUICK
        assert cohort.manifest.classes == ("CN", "AD")
        assert list(cohort.manifest.table["age"]) == ["70"] * 6
        image = read_volume(DerivativePaths.of(out, QUICK, "s3", "m00").image).array
        assert np.array_equal(cohort.images([3])[0, 0].numpy(), image)
        assert find_problems(out / "cohort") == []
        DerivativePaths.of(out, QUICK, "s5", "m00").record.unlink()
        table = table.assign(split=["train", "train", "validation", "test", "test", "test"])
        assert len(pack_cohort(out, table, QUICK, baseline=None, seed=0).manifest) == 5

    def test_it_is_kept_while_nothing_changed_and_stale_when_a_scan_did(self, study):
        out, jobs, table = study
        cohort = pack_cohort(out, table, QUICK, baseline=None, seed=0)
        made = (out / "cohort" / "manifest.csv").stat().st_mtime_ns
        pack_cohort(out, table, QUICK, baseline=None, seed=0)
        assert (out / "cohort" / "manifest.csv").stat().st_mtime_ns == made
        assert not is_stale(cohort)
        save_head(jobs[2].image, seed=7)
        list(prepare_all(jobs, QUICK, out))
        assert is_stale(Cohort(out / "cohort"))
        renewed = pack_cohort(out, table, QUICK, baseline=None, seed=0)
        assert not is_stale(renewed)
        assert renewed.metadata.content_hash != cohort.metadata.content_hash


@pytest.mark.parametrize(
    ("prefix", "name", "want"),
    [("sub", "ADNI_007", "sub-ADNI007"), ("sub", "sub-01", "sub-01"), ("ses", "", ""), ("ses", "m 06", "ses-m06")],
)
def test_labels_are_letters_and_digits(prefix, name, want):
    assert label(prefix, name) == want
    with pytest.raises(PreprocessingError, match="letters or digits"):
        label(prefix, "_-_")


class TestCluster:
    def test_a_scheduler_that_is_not_there_and_a_missing_extra_are_told(self, tmp_path, monkeypatch):
        distributed = pytest.importorskip("distributed")

        for error in (OSError("timed out"), TypeError("TLS expects an `ssl_context`")):
            monkeypatch.setattr(distributed, "Client", Mock(side_effect=error))
            with pytest.raises(PreprocessingError, match="tcp://127.0.0.1:1"):
                list(prepare_all(jobs_in(tmp_path, 1), QUICK, tmp_path / "out", scheduler="tcp://127.0.0.1:1"))
        monkeypatch.setitem(sys.modules, "distributed", None)
        with pytest.raises(MissingExtraError, match=r"vagan\[cluster\]"):
            list(prepare_all(jobs_in(tmp_path, 1), QUICK, tmp_path / "out", scheduler="tcp://127.0.0.1:1"))

    @pytest.mark.long
    def test_a_real_scheduler_prepares_all_and_a_killed_worker_costs_one_retry(self, tmp_path):
        distributed = pytest.importorskip("distributed")
        jobs = jobs_in(tmp_path, 5)
        jobs[3].image.write_bytes(b"broken")
        pipeline = KillingOnce(steps=QUICK.steps, mark=str(tmp_path / "killed"))
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
        ) as cluster:
            outcomes = list(prepare_all(jobs, pipeline, tmp_path / "out", scheduler=cluster.scheduler_address))
        assert (tmp_path / "killed").exists()
        status = {f"s{k}": "failed" if k == 3 else "done" for k in range(5)}
        assert statuses(outcomes) == list(status.items())
