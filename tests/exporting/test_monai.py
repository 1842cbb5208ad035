"""MONAI runs the bundle as it is, and writes the files of `vagan attribute`."""

import json
import subprocess
import sys

import imageio.v3 as imageio
import nibabel as nib
import numpy as np
import pytest

from models import save_random_generator
from vagan.data.preparation import Preparation
from vagan.exporting.monai import _metadata, export_monai
from vagan.inference.attributor import Attributor
from vagan.model.folder import load_model

pytest.importorskip("ignite")

# of the bundle specification
MANDATORY = dict.fromkeys(
    ("version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors", "copyright"),
    str,
) | {"copyright": str, "required_packages_version": dict, "network_data_format": dict}
MANDATORY_OF_TENSORS = dict.fromkeys(("type", "format", "modality", "dtype"), str) | {
    "num_channels": int, "spatial_shape": list, "value_range": list, "is_patch_data": bool, "channel_def": dict
}  # fmt: skip
# of inference, which programs that take bundles ask for by these names
PARTS = ["bundle_root", "device", "dataset_dir", "dataset", "evaluator", "network_def", "inferer", "preprocessing"]


def run_bundle(folder, *options):
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def assert_same_maps(found, wanted):
    names = sorted(path.name for path in wanted.iterdir() if path.name.endswith(("_effect.npy", "_effect.nii.gz")))
    assert sorted(path.name for path in found.iterdir()) == names
    for name in names:
        if name.endswith(".npy"):
            ours, theirs = (np.load(folder / name) for folder in (found, wanted))
        else:
            volumes = [nib.load(folder / name) for folder in (found, wanted)]
            np.testing.assert_array_equal(volumes[0].affine, volumes[1].affine)
            ours, theirs = (volume.get_fdata() for volume in volumes)
        assert np.abs(theirs).max() > 0.01
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_metadata_has_what_the_specification_asks_for(exported):
    metadata = json.loads((exported["monai"] / "configs" / "metadata.json").read_text(encoding="utf-8"))
    tensors = metadata["network_data_format"]
    for values, asked in (
        (metadata, MANDATORY),
        (tensors["inputs"]["image"], MANDATORY_OF_TENSORS),
        (tensors["outputs"]["pred"], MANDATORY_OF_TENSORS),
    ):
        assert {name: type(values[name]) for name in asked} == asked
    assert {"ill", "healthy"} <= set(metadata["task"].replace(",", "").split())
    assert "positive: the class made it brighter" in metadata["pred_classes"]
    inference = json.loads((exported["monai"] / "configs" / "inference.json").read_text(encoding="utf-8"))
    assert set(PARTS) < set(inference)
    spec = load_model(exported["run"])[1]
    assert _metadata(spec)["network_data_format"]["outputs"]["pred"]["value_range"] == [-2, 2]


def test_names_of_classes_are_no_expressions(tmp_path):
    run = save_random_generator(tmp_path / "run", classes=("$1/0", "@device", "%x"))
    metadata = json.loads((export_monai(run, tmp_path / "out") / "configs" / "metadata.json").read_text("utf-8"))

    def texts(value):
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        return [value] if isinstance(value, str) else [text for part in parts for text in texts(part)]

    assert "$1/0" in metadata["task"]
    assert not [text for text in texts(metadata) if text.startswith(("$", "@", "%"))]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:::monai")
def test_monai_finds_the_parts_that_it_asks_for(exported, tmp_path):
    from monai.bundle import ConfigWorkflow

    configs = exported["monai"] / "configs"
    workflow = ConfigWorkflow(
        workflow_type="inference",
        config_file=str(configs / "inference.json"),
        meta_file=str(configs / "metadata.json"),
        logging_file=None,
        bundle_root=str(exported["monai"]),
        dataset_dir=str(tmp_path / "fresh"),
    )
    workflow.initialize()
    assert not workflow.check_properties()
    with pytest.raises(Exception, match="fresh must hold images, but has none"):
        workflow.run()


@pytest.mark.long
def test_pictures_that_are_resized(tmp_path):
    """Of three classes, in colour, in any size."""
    rng = np.random.default_rng(3)
    (tmp_path / "images").mkdir()
    for number, shape in enumerate([(31, 22, 3), (24, 20, 3)]):
        imageio.imwrite(tmp_path / "images" / f"{number}.png", rng.integers(0, 256, shape, dtype=np.uint8))
    run = save_random_generator(
        tmp_path / "run",
        channels=3,
        classes=("healthy", "ill", "worse"),
        preparation=Preparation(colour="rgb", size=(24, 20), intensity="per-image"),
    )
    paths = sorted((tmp_path / "images").iterdir())
    Attributor.load(run, class_of_interest="worse").attribute_files(paths, tmp_path / "wanted")
    bundle = export_monai(run, tmp_path / "bundle")
    options = ("--dataset_dir", str(tmp_path / "images"), "--output_dir", str(tmp_path / "found"))
    run_bundle(bundle, *options, "--class_of_interest", "worse")
    assert_same_maps(tmp_path / "found", tmp_path / "wanted")


@pytest.mark.long
def test_volumes_whose_axes_point_elsewhere(tmp_path):
    rng = np.random.default_rng(4)
    (tmp_path / "images").mkdir()
    affine = np.array([[0, 0, 2.0, 5], [-1.5, 0, 0, 7], [0, -1.0, 0, 9], [0, 0, 0, 1]])
    volume = rng.uniform(0, 255, (20, 17, 24)).astype(np.float32)
    nib.save(nib.Nifti1Image(volume, affine), tmp_path / "images" / "scan.nii.gz")
    run = save_random_generator(tmp_path / "run", num_spatial_dims=3, shape=(24, 20, 17), output="warp+add")
    Attributor.load(run).attribute_files([tmp_path / "images" / "scan.nii.gz"], tmp_path / "wanted")
    bundle = export_monai(run, tmp_path / "bundle")
    run_bundle(bundle, "--dataset_dir", str(tmp_path / "images"), "--output_dir", str(tmp_path / "found"))
    assert_same_maps(tmp_path / "found", tmp_path / "wanted")
