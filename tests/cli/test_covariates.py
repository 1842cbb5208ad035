"""Models that must know the age: attribute, evaluate, and what is refused."""

import json

import numpy as np
import pytest
import torch

from models import save_random_generator
from vagan.data.covariates import Covariate
from vagan.data.image_file import read_image
from vagan.inference.attributor import Attributor

AGE, SEX = (
    Covariate(name="age", mean=70, std=8, baseline_range=(55.0, 85.0)),
    Covariate(name="sex", categories=("F", "M")),
)


@pytest.fixture
def model(tmp_path):
    return save_random_generator(tmp_path / "model", shape=(21, 18), covariates=(AGE, SEX))


def test_maps_are_of_an_image_of_that_age(vagan, model, pictures, tmp_path):
    image = pictures / "ill" / "03.png"
    prepared = torch.from_numpy(read_image(image, "grey").array)[None] / 255 * 2 - 1
    maps = {}
    for age in ("70", "91"):
        folder = tmp_path / age
        code, said, _ = vagan("attribute", model, image, "--out", folder, "--covariates", f"age={age},sex=M")
        assert code == 0
        assert ("warning:" in said) == (age == "91")
        maps[age] = np.load(folder / "03_effect.npy")
        expected = Attributor.load(model).effect(prepared, {"sex": "M", "age": age})
        np.testing.assert_allclose(maps[age], expected[0, 0], atol=1e-5)
    assert not np.allclose(maps["70"], maps["91"])
    about = {age: json.loads((tmp_path / age / "03_effect.json").read_text(encoding="utf-8")) for age in maps}
    assert about["70"]["covariates"] == {"age": "70", "sex": "M"}
    assert "covariates_beyond" not in about["70"]
    assert about["91"]["covariates_beyond"] == [
        "age is outside the range of the baseline images, 55 to 85: an extrapolation"
    ]


def test_a_contrast_shows_what_age_does(vagan, refused, model, pictures, tmp_path):
    able = save_random_generator(tmp_path / "able", shape=(21, 18), covariates=(AGE, SEX), intervention=True)
    image, known = pictures / "ill" / "03.png", ("--covariates", "age=64,sex=F")
    for ages in ("60:80", "80:60"):
        folder = tmp_path / ages.replace(":", "-")
        assert vagan("attribute", able, image, "--out", folder, *known, "--intervene", f"age={ages}")[0] == 0
    there, back = (np.load(tmp_path / name / "03_effect.npy") for name in ("60-80", "80-60"))
    np.testing.assert_allclose(there, -back, atol=1e-6)
    assert np.abs(there).max() > 0.01
    about = json.loads((tmp_path / "60-80" / "03_effect.json").read_text(encoding="utf-8"))
    assert about["intervention"] == "age 60 to 80"
    assert about["sign"].startswith("image as if after the intervention - image as if before")
    out = ("--out", tmp_path / "no")
    assert "must read like age=60:80" in refused("attribute", able, image, *out, *known, "--intervene", "age=60")
    assert "preset intervention" in refused("attribute", model, image, *out, *known, "--intervene", "age=60:80")
    assert "an intervention is needed" in refused("attribute", able, image, *out, *known)
    assert "found 'X'" in refused("attribute", able, image, *out, *known, "--intervene", "sex=F:X")
