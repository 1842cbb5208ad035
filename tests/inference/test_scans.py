"""A study through the preprocessing, its pages, and maps of raw scans."""

import json
import re
from dataclasses import replace
from functools import partial

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from heads import QUICK, save_head
from models import save_random_generator
from vagan.data.preparation import rescale_intensity
from vagan.deformation import warp
from vagan.effect import SIGN, SIGN_INSERTION, Deformation
from vagan.inference.attribution import Attribution
from vagan.inference.attributor import Attributor
from vagan.inference.overlay import Overlays
from vagan.inference.scans import ScanImage
from vagan.model.folder import build_network, load_model, save_model
from vagan.preprocessing import study as preprocessing
from vagan.preprocessing.derivatives import DerivativePaths
from vagan.preprocessing.pipeline import Pipeline, Prepared
from vagan.preprocessing.scan import read_scan
from vagan.preprocessing.steps import CropField
from vagan.reporting.scan_pages import GROUP_PAGE, PAGES, outliers

prepare_study = partial(preprocessing.prepare_study, pages=PAGES)


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
    return root, prepare_study(root / "table.csv", root / "out", QUICK, processes=1)


class TestStudy:
    def test_it_says_what_was_done_and_what_is_next(self, study):
        root, told = study
        assert "9 scans prepared, 0 kept from before, 2 failed" in told
        assert f"vagan train {root / 'out' / 'cohort'} RUN" in told
        failed = pd.read_csv(root / "out" / "failed.csv").set_index("subject")["reason"]
        assert "cannot be read as NIfTI" in failed["s3"]
        assert "same subject and session" in failed["s0"]

    def test_a_page_that_a_kill_prevented_is_made_up_for(self, tmp_path):
        scan = save_head(tmp_path / "a.nii.gz")
        prepare_study(scan, tmp_path / "out", QUICK, processes=1)
        (tmp_path / "out" / "sub-a.html").unlink()
        assert "1 kept" in prepare_study(scan, tmp_path / "out", QUICK, processes=1)
        assert (tmp_path / "out" / "sub-a.html").is_file()

    def test_the_levels_of_a_bids_app(self, study, tmp_path):
        table = study[0] / "table.csv"
        for number in (0, 1, 2, 4, 5, 6, 7, 8, 9):
            prepare_study(table, tmp_path, QUICK, level="participant", participants=[f"sub-s{number}"], processes=1)
        assert not (tmp_path / "cohort").exists()
        assert "cohort of 9 scans" in prepare_study(table, tmp_path, QUICK, level="group")


class TestPages:
    def test_pages_show_every_step_and_scan_and_load_nothing(self, study):
        page, group = ((study[0] / "out" / name).read_text(encoding="utf-8") for name in ("sub-s1.html", GROUP_PAGE))
        assert page.count("data:image/png") == len(QUICK.steps) + 1
        assert all(part in page for part in ("data:image/svg", "brain ml"))
        assert not re.search(r"(src|href)=\"(https?:)?//", page)
        assert {int(number) for number in re.findall(r"sub-s(\d)\.html", group)} == set(range(10)) - {3}
        assert all(part in group for part in ("2 failed", "s3.nii.gz cannot be read as NIfTI"))

    def test_outliers_hand_worked(self):
        assert outliers([10.0, 11.0, 12.0, 13.0, 14.0, 30.0, float("nan")]) == [5]
        assert outliers([1.0] * 6) == []
        assert outliers([1.0, 2.0, 100.0]) == []
        assert outliers([1.0, 1.0, 1.0, 1.0, 4.0, 5.0], least_spread=1.0) == [5]
        assert outliers([-20.0, 1.0, 2.0, 3.0, 4.0, 30.0], suspect="low") == [0]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A generator of random weights that knows how its scans were prepared."""
    about = {"num_spatial_dims": 3, "shape": QUICK.grid.shape, "width": 2}
    about |= {"preparation": {"low": -1.0, "high": 1.0}, "pipeline": QUICK.model_dump(mode="json")}
    folder = save_random_generator(tmp_path_factory.mktemp("model"), classes=("CN", "AD"), **about)
    return folder, load_model(folder)[0]


def effect_of(network, image):
    """What the network takes from an image, within the range of images."""
    return image - (image + network(torch.from_numpy(image)[None, None])[0, 0].detach().numpy()).clip(-1, 1)


def save_shift(like, folder):
    """Save a deforming generator that shows what is two voxels farther to the front."""
    facts = load_model(like)[1].model_copy(update={"output": "warp"})
    network = build_network(facts)
    torch.nn.init.zeros_(network.last.weight)
    network.last.bias.data = torch.tensor([0.0, 2.0, 0.0])
    save_model(folder, network, facts)


class TestMapsOfRawScans:
    @pytest.mark.parametrize("codes", ["RAS", "PIL"])
    def test_a_map_lies_on_the_scans_own_grid_and_in_the_templates_space(self, codes, model, tmp_path):
        folder, network = model
        scan = save_head(tmp_path / "my scan.nii.gz", seed=4, codes=codes)
        path = Attributor.load(folder).attribute_files([scan], tmp_path / "out")[0].path
        written, own = nib.load(path), nib.load(scan)
        assert written.shape == own.shape
        np.testing.assert_allclose(written.affine, own.affine)
        in_template = nib.load(tmp_path / "out" / "my scan_space-template_effect.nii.gz")
        np.testing.assert_allclose(in_template.affine, QUICK.grid.affine)
        prepared = QUICK.run(read_scan(scan))
        want = effect_of(network, prepared.scan.image)
        assert in_template.get_fdata() == pytest.approx(want, abs=1e-5)
        assert read_scan(path).scan.image == pytest.approx(prepared.to_raw(want), abs=1e-5)
        about = json.loads((tmp_path / "out" / "my scan_effect.json").read_text(encoding="utf-8"))
        assert about["class_of_interest"] == "AD"
        assert [step["step"] for step in about["preprocessing"]] == ["read", "strip-skull", "conform", "rescale"]
        assert (tmp_path / "out" / "my scan_overlay.png").is_file()

    def test_a_deforming_generator_says_in_mm_what_moved_and_how_much_it_shrank(self, model, study, tmp_path):
        """The network shifts everything by two voxels, in a scan that lies on the template's grid already."""
        save_shift(model[0], tmp_path / "model")
        scan = DerivativePaths.of(study[0] / "out", QUICK, "s1", "").image
        path = Attributor.load(tmp_path / "model").attribute_files([scan], tmp_path / "out")[0].path
        stem = path.name.removesuffix("_effect.nii.gz")
        shift_mm = QUICK.grid.affine[:3, :3] @ (0.0, 2.0, 0.0)
        for space in ("", "_space-template"):
            displacement = nib.load(tmp_path / "out" / f"{stem}{space}_displacement.nii.gz")
            assert displacement.shape == (*QUICK.grid.shape, 1, 3)
            np.testing.assert_allclose(displacement.get_fdata()[5, 5, 5, 0], shift_mm, atol=1e-4)
            log_jacobian = nib.load(tmp_path / "out" / f"{stem}{space}_log-jacobian.nii.gz")
            np.testing.assert_allclose(log_jacobian.affine, QUICK.grid.affine)
            assert np.abs(log_jacobian.get_fdata()).max() < 1e-4
        about = json.loads((tmp_path / "out" / f"{stem}_effect.json").read_text(encoding="utf-8"))
        assert about["deformation"]["largest_displacement"] == pytest.approx(np.linalg.norm(shift_mm), rel=1e-3)
        image, effect = nib.load(scan).get_fdata(), nib.load(path).get_fdata()
        shown = image - effect  # y shows what is two voxels farther to the front
        np.testing.assert_allclose(shown[:, :-2], image[:, 2:], atol=1e-4)

    def test_a_deformation_is_applied_at_the_scans_own_resolution(self, model, tmp_path):
        """Two voxels of 8 mm are four of 4 mm; an interpolated map would lack the texture of single voxels."""
        save_shift(model[0], tmp_path / "model")
        scan = save_head(tmp_path / "a.nii.gz", codes="PIL", shape=(40, 40, 40), spacing=(4.0, 4.0, 4.0))
        path = Attributor.load(tmp_path / "model").attribute_files([scan], tmp_path / "out")[0].path
        about = json.loads((tmp_path / "out" / "a_effect.json").read_text(encoding="utf-8"))
        found = next(step["found"] for step in about["preprocessing"] if step["step"] == "rescale")
        raw, effect, changed = (read_scan(tmp_path / name).scan.image for name in
                                ("a.nii.gz", f"out/{path.name}", "out/a_counterfactual.nii.gz"))  # fmt: skip
        image = rescale_intensity(raw, found["low"], found["high"])
        inside = (slice(6, -6), slice(6, 30), slice(6, -6))
        np.testing.assert_allclose(changed[inside], image[6:-6, 10:34, 6:-6], atol=1e-3)
        np.testing.assert_allclose((image - effect)[inside], changed[inside], atol=1e-3)

    @pytest.mark.parametrize("sign", [SIGN, SIGN_INSERTION])
    @pytest.mark.parametrize(("moved", "added"), [(0.0, 0.0), (0.0, 0.5), (1.0, 0.5)])
    def test_image_and_effect_on_the_raw_grid_give_the_counterfactual(self, moved, added, sign, tmp_path):
        """Of a scan that is larger than the common grid, beyond which nothing has an effect."""
        raw = read_scan(save_head(tmp_path / "a.nii.gz", shape=(40, 30, 30)))
        source = ScanImage(raw, QUICK)
        images = torch.from_numpy(source.prepared())[None]
        displacement = torch.full((1, 3, *images.shape[2:]), moved)
        changed = (warp(images, displacement) + added).clip(-1, 1)
        inserts = sign == SIGN_INSERTION
        one = Attribution(
            images, changed - images if inserts else images - changed, "", "intensity", "signed", sign,
            counterfactual=changed, deformation=Deformation(displacement, images, displacement),
        )  # fmt: skip
        with Overlays() as overlays:
            _, effect = source.write_effect(tmp_path / "a", one, overlays)
        prepared = QUICK.run(raw)
        shown = prepared.to_raw(prepared.fine.image, prepared.fine.grid, outside=-1.0)
        counterfactual = nib.load(tmp_path / "a_counterfactual.nii.gz").get_fdata()
        np.testing.assert_allclose(shown + effect[0] if inserts else shown - effect[0], counterfactual, atol=1e-6)
        assert counterfactual[0, 0, 0] == -1
        assert np.abs(effect).max() == 0 if moved == added == 0 else np.abs(effect).max() > 0.1

    def test_steps_after_the_common_grid_leave_no_scan_at_its_own_resolution(self, tmp_path):
        raw = read_scan(save_head(tmp_path / "a.nii.gz"))
        assert QUICK.run(raw).fine.image.shape == raw.scan.image.shape
        later = Pipeline(steps=(*QUICK.steps, CropField(height_mm=1000, margin_mm=1000)))
        assert later.run(raw).fine is None

    @pytest.mark.parametrize("turn", [0, 90])
    def test_on_the_raw_grid_displacements_point_as_the_head_lies_there(self, turn, tmp_path):
        """A head that lay turned about the vertical: what points to the front in the template points aside in it."""
        raw = read_scan(save_head(tmp_path / "a.nii.gz", seed=4))
        cosine, sine = round(np.cos(np.deg2rad(turn)), 9), round(np.sin(np.deg2rad(turn)), 9)
        centre = raw.scan.grid.affine @ (*(np.array(raw.scan.grid.shape) / 2), 1)
        move, back = np.eye(4), np.eye(4)
        move[:3, 3], back[:3, 3] = -centre[:3], centre[:3]
        rotation = np.eye(4)
        rotation[:2, :2] = [[cosine, -sine], [sine, cosine]]
        scan = replace(raw.scan, template_from_scanner=back @ rotation @ move)
        field = np.zeros((3, *scan.grid.shape), np.float32)
        field[1] = 1.0
        image = ScanImage(raw, QUICK)
        vars(image)["_prepared"] = Prepared(scan, raw.scan.grid, [])  # in place of the pipeline's result
        image.write_displacement(tmp_path / "a", field)
        written = nib.load(tmp_path / "a_displacement.nii.gz").get_fdata()[:, :, :, 0]
        step = raw.scan.grid.spacing_mm[1]
        middle = tuple(extent // 2 for extent in raw.scan.grid.shape)
        expected = (0, step, 0) if turn == 0 else (step, 0, 0)
        np.testing.assert_allclose(written[middle], expected, atol=1e-5)

    def test_a_prepared_scan_is_not_prepared_again(self, model, study, tmp_path):
        folder, network = model
        place = DerivativePaths.of(study[0] / "out", QUICK, "s1", "")
        path = Attributor.load(folder).attribute_files([place.image], tmp_path)[0].path
        want = effect_of(network, read_scan(place.image).scan.image)
        assert nib.load(path).get_fdata() == pytest.approx(want, abs=1e-5)
