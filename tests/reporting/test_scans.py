"""A study through the preprocessing, its pages, and maps of raw scans."""

import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from heads import QUICK, ball, save_head
from vagan.data.volume import write_volume
from vagan.errors import OutputError, PreprocessingError
from vagan.model_folder import ModelFacts, build_network, save_model
from vagan.preprocessing.derivatives import Place
from vagan.preprocessing.scan import read_scan
from vagan.reporting.maps import attribute_files
from vagan.reporting.preprocess import prepare_study
from vagan.reporting.scan_pages import GROUP_PAGE, outliers


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Ten scans of two classes, one of them broken, one twice."""
    root = tmp_path_factory.mktemp("study")
    rows = []
    for number in range(10):
        path = save_head(root / "raw" / f"s{number}.nii.gz", seed=number)
        rows.append(f"raw/{path.name},s{number},{['CN', 'AD'][number % 2]}")
    (root / "raw" / "s3.nii.gz").write_bytes(b"broken")
    rows.append("raw/s0.nii.gz,s0,CN")
    (root / "table.csv").write_text("image,subject,class\n" + "\n".join(rows) + "\n", encoding="utf-8")
    told = prepare_study(root / "table.csv", root / "out", QUICK, processes=1)
    return root, told


class TestStudy:
    def test_it_says_what_was_done_and_what_is_next(self, study):
        root, told = study
        assert "9 scans prepared, 0 kept from before, 2 failed" in told
        assert f"vagan train {root / 'out' / 'cohort'} RUN" in told

    def test_every_failure_has_its_reason(self, study):
        failed = pd.read_csv(study[0] / "out" / "failed.csv").set_index("subject")["reason"]
        assert "cannot be read as NIfTI" in failed["s3"]
        assert "same subject and session" in failed["s0"]

    def test_a_mended_scan_leaves_the_list_of_failures(self, study, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "b.nii.gz").write_bytes(b"broken")
        save_head(tmp_path / "in" / "a.nii.gz")
        prepare_study(tmp_path / "in", tmp_path / "out", QUICK, processes=1)
        assert list(pd.read_csv(tmp_path / "out" / "failed.csv")["subject"]) == ["b"]
        save_head(tmp_path / "in" / "b.nii.gz", seed=1)
        told = prepare_study(tmp_path / "in", tmp_path / "out", QUICK, processes=1)
        assert "1 scans prepared, 1 kept" in told
        assert pd.read_csv(tmp_path / "out" / "failed.csv").empty

    def test_a_page_that_a_kill_prevented_is_made_up_for(self, tmp_path):
        scan = save_head(tmp_path / "a.nii.gz")
        prepare_study(scan, tmp_path / "out", QUICK, processes=1)
        (tmp_path / "out" / "sub-a.html").unlink()
        assert "1 kept" in prepare_study(scan, tmp_path / "out", QUICK, processes=1)
        assert (tmp_path / "out" / "sub-a.html").is_file()

    def test_it_is_a_bids_derivative(self, study):
        about = json.loads((study[0] / "out" / "dataset_description.json").read_text(encoding="utf-8"))
        assert about["DatasetType"] == "derivative"
        assert about["GeneratedBy"][0]["Name"] == "vagan"

    def test_the_levels_of_a_bids_app(self, study, tmp_path):
        table = study[0] / "table.csv"
        for number in (0, 1, 2, 4, 5, 6, 7, 8, 9):
            prepare_study(table, tmp_path, QUICK, level="participant", participants=[f"sub-s{number}"], processes=1)
        assert not (tmp_path / "cohort").exists()
        assert "cohort of 9 scans" in prepare_study(table, tmp_path, QUICK, level="group")

    def test_nothing_but_failures_is_an_error(self, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "b.nii.gz").write_bytes(b"broken")
        with pytest.raises(PreprocessingError, match="no scan could be prepared"):
            prepare_study(tmp_path / "in", tmp_path / "out", QUICK, processes=1)

    def test_an_output_that_is_a_file_is_told(self, tmp_path):
        (tmp_path / "out").write_text("mine", encoding="utf-8")
        with pytest.raises(OutputError):
            prepare_study(save_head(tmp_path / "a.nii.gz"), tmp_path / "out", QUICK)
        assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


class TestPages:
    def test_a_scans_page_shows_every_step_and_loads_nothing(self, study):
        page = (study[0] / "out" / "sub-s1.html").read_text(encoding="utf-8")
        assert page.count("data:image/png") == len(QUICK.steps) + 1
        assert "data:image/svg" in page
        assert not re.search(r"(src|href)=\"(https?:)?//", page)
        assert "brain ml" in page

    def test_the_group_page_lists_every_prepared_scan(self, study):
        page = (study[0] / "out" / GROUP_PAGE).read_text(encoding="utf-8")
        assert all(f"sub-s{number}.html" in page for number in (0, 1, 2, 4, 5, 6, 7, 8, 9))
        assert "sub-s3.html" not in page
        assert "2 that could not be prepared" in page
        assert "s3.nii.gz cannot be read as NIfTI" in page

    def test_outliers_hand_worked(self):
        assert outliers([10.0, 11.0, 12.0, 13.0, 14.0, 30.0, float("nan")]) == [5]
        assert outliers([1.0] * 6) == []
        assert outliers([1.0, 2.0, 100.0]) == []
        assert outliers([1.0, 1.0, 1.0, 1.0, 4.0, 5.0], least_spread=1.0) == [5]
        assert outliers([-20.0, 1.0, 2.0, 3.0, 4.0, 30.0], suspect="low") == [0]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A generator of random weights that knows how its scans were prepared."""
    torch.manual_seed(3)
    facts = ModelFacts(
        kind="map-generator",
        num_spatial_dims=3,
        channels=1,
        shape=QUICK.grid.shape,
        width=2,
        normalisation="none",
        classes=("CN", "AD"),
        preparation={"low": -1.0, "high": 1.0},
        pipeline=QUICK.model_dump(mode="json"),
        rule="made up",
    )
    network = build_network(facts)
    torch.nn.init.normal_(network.last.weight, std=0.1)
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, network, facts)
    return folder, network.eval()


class TestMapsOfRawScans:
    @pytest.mark.parametrize("codes", ["RAS", "PIL"])
    def test_a_map_lies_on_the_scans_own_grid_and_in_the_templates_space(self, codes, model, tmp_path):
        folder, network = model
        scan = save_head(tmp_path / "my scan.nii.gz", seed=4, codes=codes)
        (path,) = attribute_files(folder, [scan], tmp_path / "out")
        written, own = nib.load(path), nib.load(scan)
        assert written.shape == own.shape
        np.testing.assert_allclose(written.affine, own.affine)
        in_template = nib.load(tmp_path / "out" / "my scan_space-template_effect.nii.gz")
        np.testing.assert_allclose(in_template.affine, QUICK.grid.affine)
        prepared = QUICK.run(read_scan(scan))
        want = -network(torch.from_numpy(prepared.scan.image)[None, None])[0, 0].detach().numpy()
        assert in_template.get_fdata() == pytest.approx(want, abs=1e-5)
        assert read_scan(path).scan.image == pytest.approx(prepared.to_raw(want), abs=1e-5)
        about = json.loads((tmp_path / "out" / "my scan_effect.json").read_text(encoding="utf-8"))
        assert about["class_of_interest"] == "AD"
        assert [step["step"] for step in about["preprocessing"]] == ["read", "strip-skull", "conform", "rescale"]
        assert (tmp_path / "out" / "my scan_overlay.png").is_file()

    def test_a_prepared_scan_is_not_prepared_again(self, model, study, tmp_path):
        folder, network = model
        place = Place.of(study[0] / "out", QUICK, "s1", "")
        (path,) = attribute_files(folder, [place.image], tmp_path)
        image = torch.from_numpy(read_scan(place.image).scan.image)[None, None]
        assert nib.load(path).get_fdata() == pytest.approx(-network(image)[0, 0].detach().numpy(), abs=1e-5)

    def test_what_is_no_head_is_refused_before_anything_is_written(self, model, tmp_path):
        array, affine = ball()
        write_volume(tmp_path / "flat.nii.gz", array[:, :, :2], affine)
        good = save_head(tmp_path / "good.nii.gz")
        with pytest.raises(Exception, match=r"flat\.nii\.gz"):
            attribute_files(model[0], [good, tmp_path / "flat.nii.gz"], tmp_path / "out")
        assert not (tmp_path / "out").exists()
