"""Out-of-distribution images are flagged."""

import json

import imageio.v3 as imageio
import numpy as np

from trainings import TINY


def test_an_image_of_another_kind_is_flagged(vagan, pictures, tmp_path):
    assert vagan("import", "folder", pictures, tmp_path / "cohort", "--range", 0, 255)[0] == 0
    assert vagan("train", tmp_path / "cohort", tmp_path / "run", *TINY)[0] == 0
    measured = (tmp_path / "run" / "model" / "ood.safetensors").read_bytes()
    assert vagan("train", tmp_path / "cohort", tmp_path / "run", *TINY)[0] == 0  # nothing left to do
    assert (tmp_path / "run" / "model" / "ood.safetensors").read_bytes() == measured
    imageio.imwrite(tmp_path / "checks.png", (np.indices((21, 18)).sum(0) % 2 * 255).astype(np.uint8))
    images = [pictures / "ill" / f"{number:02d}.png" for number in range(12)]
    code, printed, error = vagan(
        "attribute", tmp_path / "run", tmp_path / "checks.png", *images, "--out", tmp_path / "maps"
    )
    assert code == 0, error
    warned = [line for line in printed.splitlines() if line.startswith("warning: ")]
    assert f"warning: {tmp_path / 'checks.png'} is out of distribution" in warned[0]
    assert len(warned) < 5
    about = json.loads((tmp_path / "maps" / "checks_effect.json").read_text(encoding="utf-8"))
    assert about["is_ood"]
    assert about["ood_score"] > 2 * about["ood_threshold"]

    (tmp_path / "run" / "model" / "ood.safetensors").unlink()
    code, printed, error = vagan("attribute", tmp_path / "run", tmp_path / "checks.png", "--out", tmp_path / "again")
    assert "warning" not in printed
    assert "is_ood" not in json.loads((tmp_path / "again" / "checks_effect.json").read_text(encoding="utf-8"))
