"""What is written and answered, checked by other programs; `make test-long` installs them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import pytest

from models import save_random_generator
from vagan.cli.app import main

pytestmark = pytest.mark.long
TRUTH = "derivatives/truth"


def program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    return found or pytest.skip(f"{name} is not installed")


def verb(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert not ended.value.code


def bids_errors(folder: Path) -> list[tuple[str, str]]:
    command = [program("bids-validator-deno"), str(folder), "--format", "json", "--recursive"]
    found = json.loads(subprocess.run(command, capture_output=True, encoding="utf-8", check=False).stdout)
    reports = [found, *found.get("derivativesSummary", {}).values()]
    assert len(reports) == 1 + (folder / TRUTH).is_dir()
    issues = [issue for report in reports for issue in report["issues"]["issues"]]
    return [(issue["code"], issue["location"]) for issue in issues if issue["severity"] == "error"]


def test_raw_scans_and_derivatives_are_valid_bids(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "prepared"
    size = ["--subjects", 20, "--spacing-mm", 5.2, "--raw-spacing-mm", 4, "--jobs", 1]
    verb("atrophy", tmp_path / "cohort", "--raw", raw, *size)
    assert bids_errors(raw) == []
    converter = next(raw.glob(f"{TRUTH}/sub-*")).name
    few = ["--participant-label", converter, *[path.name for path in raw.glob("sub-*") if path.name != converter][:1]]
    verb("preprocess", raw, out, "--strip", "none", "--spacing", 4, "--size", "40x48x40", "--jobs", 1, *few)
    assert bids_errors(out) == []
    images = list(out.rglob("*.nii.gz"))
    assert images
    for path in images:  # in MNI space, by both ways to say so
        header = nib.load(path).header
        assert (int(header["qform_code"]), int(header["sform_code"])) == (4, 4)
        assert (header.get_qform() == header.get_sform()).all()
        sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text(encoding="utf-8"))
        assert {"Sources", "Resolution", "SpatialReference"} < set(sidecar)
        assert all((raw / source.removeprefix("bids:raw:")).is_file() for source in sidecar["Sources"])
        assert sidecar.get("Type") == "Brain" or sidecar["SkullStripped"] is True


def test_answers_of_the_server_are_those_of_its_description(tmp_path):
    command = [program("schemathesis"), "run", "--max-examples", "15", "--seed", "1"]
    serve = ["serve", str(save_random_generator(tmp_path / "model")), "--port", "0", "--device", "cpu"]
    server = subprocess.Popen([sys.executable, "-m", "vagan", *serve], stdout=subprocess.PIPE, text=True)
    try:
        address, token = server.stdout.readline().split()[-1].split("/?token=")
        command += [f"{address}/api/openapi.json", "--header", f"X-Vagan-Token: {token}"]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, cwd=tmp_path)
    finally:
        server.terminate()
        server.communicate(timeout=60)
    assert done.returncode == 0, done.stdout
    assert "Tested: 6" in done.stdout
